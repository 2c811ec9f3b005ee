"""Benchmarks that really run: figures, refusals, and nothing left behind."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from agent.benchmarking import run_benchmarks
from agent.benchmarks import Request
from shared.codes import Code
from tests.system.harness import children, wait_for


def request(directory: object, *, quick: bool) -> Request:
    return Request(quick=quick, directory=str(directory))


def quiet(_step: str, _done: int, _of: int) -> None:
    return None


@pytest.fixture
def disk(missing):
    """A directory on a real disk, where direct I/O works."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        try:
            os.close(os.open(folder, os.O_RDWR | os.O_TMPFILE | os.O_DIRECT, 0o600))
        except OSError as error:
            missing(f"/var/tmp takes no direct I/O: {error}")
        yield Path(folder)


async def test_the_disk_benchmark_measures_the_device(disk):
    """Both figures are there, and the kernel moved every byte to and from the device."""
    steps = []
    (found,) = await run_benchmarks(["disk"], request(disk, quick=True), lambda *one: steps.append(one))
    assert found.code is None
    assert set(found.figures) == {"disk_read_mb_s", "disk_write_mb_s"}
    assert found.details["write"]["device_share"] >= 0.95
    assert found.details["read"]["device_share"] >= 0.95
    assert "cached" not in found.marks
    assert steps[-1][1] == steps[-1][2]
    assert found.took_s > 0
    assert found.details["conditions"]["boot_id"]
    assert list(disk.iterdir()) == []


async def test_memory_is_not_a_disk():
    """Tmpfs is refused with a reason and no figure."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        (found,) = await run_benchmarks(["disk"], request(Path(folder), quick=True), quiet)
    assert (found.figures, found.code) == ({}, Code.NO_DIRECT_IO)


async def test_a_directory_that_is_not_there_is_a_reason():
    """The others would still run."""
    cpu, disk = await run_benchmarks(["cpu", "disk"], request(Path("/nowhere"), quick=True), quiet)
    assert (disk.figures, disk.code) == ({}, Code.BENCHMARK_FAILED)
    assert cpu.figures or cpu.code == Code.DISTURBED


async def test_canceling_ends_the_child_within_a_second(disk):
    """As when a booking starts: nothing runs on, nothing is left."""
    task = asyncio.create_task(run_benchmarks(["cpu"], request(disk, quick=False), quiet))
    while not (mine := measuring()):
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)
    everyone = mine + [one for child in mine for one in children(child)]
    began = time.monotonic()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 1.0
    wait_for(lambda: not [one for one in everyone if running(one)], 1, "every process to end")


def measuring() -> list[int]:
    """This process's benchmark children; the tests' servers are children of it too."""
    return [
        one for one in children(os.getpid()) if b"agent.benchmarks" in Path("/proc", str(one), "cmdline").read_bytes()
    ]


def running(pid: int) -> bool:
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


PROGRAM = """
import asyncio, sys
from pathlib import Path
from agent.benchmarking import run_benchmarks
from agent.benchmarks import Request
asyncio.run(run_benchmarks(["disk", "cpu"], Request(quick=False, directory=sys.argv[1]), lambda *a: print("on", flush=True)))
"""


@pytest.mark.parametrize("number", range(4))
def test_kill_9_of_the_agent_leaves_no_process_and_no_file(disk, number):
    """At a random moment: the children die with it, and the file had no name."""
    dice = random.Random(number)
    free = os.statvfs(disk).f_bavail
    parent = subprocess.Popen([sys.executable, "-c", PROGRAM, str(disk)], stdout=subprocess.PIPE)
    assert parent.stdout.readline() == b"on\n"
    time.sleep(dice.uniform(0.0, 1.0))
    everyone = children(parent.pid)
    everyone += [one for child in everyone for one in children(child)]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert everyone
    wait_for(lambda: not [one for one in everyone if running(one)], 3, "every child to end")
    assert list(disk.iterdir()) == []
    # Other programs write to this disk too; the 4 GiB of the benchmark's file would show.
    wait_for(
        lambda: (free - os.statvfs(disk).f_bavail) * os.statvfs(disk).f_frsize < 2**29, 3, "the space to come back"
    )


async def test_a_child_that_crashes_is_a_reason(tmp_path):
    """Its benchmark has no figure; the agent lives."""

    async def shoot() -> None:
        while not (mine := measuring()):
            await asyncio.sleep(0.02)
        os.kill(mine[0], signal.SIGSEGV)

    shot = asyncio.create_task(shoot())
    (found,) = await run_benchmarks(["cpu"], request(tmp_path, quick=True), quiet)
    await shot
    assert (found.figures, found.code) == ({}, Code.BENCHMARK_FAILED)
    assert "-11" in (found.reason or "")
