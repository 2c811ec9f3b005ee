"""The CPU benchmark on the real machine: what limits it, what disturbs it, and that nothing hangs or stays."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from agent.benchmarking import known, run_benchmarks
from agent.benchmarks import Request
from agent.benchmarks.cpu import Times, memory
from agent.engines.cpu.crew import Crew, Turn, _gather
from agent.engines.cpu.kernels import KERNELS, TRIAD
from agent.engines.cpu.slices import Slice
from shared.codes import Code, Trouble
from shared.documents import Component
from tests.system.harness import children, wait_for

CPUS = sorted(os.sched_getaffinity(0))
ZSTD, SHA256, GEMM, SORT = KERNELS
QUICK = """
import asyncio, sys, msgspec
from agent.benchmarking import run_benchmarks
from agent.benchmarks import Request
(found,) = asyncio.run(run_benchmarks(["cpu"], Request(quick=True, directory="/"), lambda *_: None))
sys.stdout.buffer.write(msgspec.json.encode(found))
"""


def quick(*before: str, program: str = "") -> Component:
    """Run a short look in a process of its own, behind another program or after other Python."""
    done = subprocess.run([*before, sys.executable, "-c", program + QUICK], stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(done.stdout, type=Component)


def looked(found: Component) -> bool:
    """Return whether it gave a score, or none because others were at work on this machine."""
    return found.code == Code.DISTURBED or (found.code is None and found.figures["cpu_score"] > 0)


@contextlib.contextmanager
def burning(cpus: list[int], each: int = 2) -> Iterator[None]:
    """Others at work on some CPUs."""
    program = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"
    others = [subprocess.Popen([sys.executable, "-c", program, str(cpu)]) for cpu in cpus for _ in range(each)]
    try:
        yield
    finally:
        for one in others:
            one.kill()
            one.wait()


async def test_a_quick_look_gives_a_score_and_what_stands_behind_it():
    """Within ten seconds; `disturbed` when others are at work just now."""
    steps = []
    (found,) = await run_benchmarks(["cpu"], Request(quick=True, directory="/"), lambda *one: steps.append(one))
    assert looked(found)
    assert found.took_s <= 10
    assert found.method_version == "cpu/1"
    assert found.details["threads"] == len(CPUS)
    assert len(msgspec.json.encode(found.details)) < 4000
    if found.code is None:
        assert steps[-1][1:] == (8, 8)
        assert set(found.details["kernels"]) == {kernel.name for kernel in KERNELS}


def test_the_agent_loads_none_of_the_libraries_that_do_the_work():
    """They are large; only processes of some seconds have them."""
    program = """
import sys
import agent.__main__, agent.compose, agent.daemon, agent.benchmarking
agent.benchmarking.known()
assert not {"numpy", "zstandard"} & set(sys.modules), "loaded"
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_only_the_cpus_that_it_may_run_on_are_used():
    """As in a container with a set of CPUs."""
    found = quick("taskset", "-c", str(CPUS[-1]))
    assert looked(found)
    assert (found.details["threads"], found.details["affinity"]) == (1, 1)


@pytest.fixture
def group(missing):
    """Make a control group of one quota, in CPUs; gives the beginning of a command line that runs in it."""
    made = []

    def make(quota: float) -> tuple[str, ...]:
        first, second = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
        top = first if (first / "cpu.cfs_period_us").is_file() else second
        folder = top / f"rackproof-{os.getpid()}-{len(made)}"
        try:
            folder.mkdir()
            made.append(folder)
            if top == first:
                (folder / "cpu.cfs_quota_us").write_text(str(int(quota * 100_000)))
            else:
                (folder / "cpu.max").write_text(f"{int(quota * 100_000)} 100000")
        except OSError as error:
            missing(f"no control group can be made: {error}")
        return ("sh", "-c", f'echo $$ > {folder}/cgroup.procs; exec "$@"', "sh")

    yield make
    for folder in made:
        wait_for(lambda folder=folder: not (folder / "cgroup.procs").read_text(), 3, "the group to be empty")
        folder.rmdir()


def test_half_a_cpu_gives_no_score_and_the_quota_is_named(group):
    """In the half of each period that it has, it would look like a whole one."""
    found = quick(*group(0.5))
    assert (found.figures, found.code) == ({}, Code.DISTURBED)
    assert "quota of 0.5 CPUs" in found.reason


def test_a_quota_of_one_and_a_half_cpus_pays_for_one(group):
    """And that one is undisturbed."""
    found = quick(*group(1.5))
    assert looked(found)
    assert (found.details["threads"], found.details["quota_cpus"]) == (1, 1.5)


NOT_PINNED = """
import ctypes, errno, platform, struct
number = {"x86_64": 203, "aarch64": 122}[platform.machine()]
# Load the call's number; if it is sched_setaffinity, return EPERM; else allow. Source: seccomp(2).
rules = struct.pack("=HBBI", 0x20, 0, 0, 0) + struct.pack("=HBBI", 0x15, 0, 1, number)
rules += struct.pack("=HBBI", 0x06, 0, 0, 0x00050000 | errno.EPERM) + struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)
kept = ctypes.create_string_buffer(rules)
filter = struct.pack("HxxxxxxP", 4, ctypes.addressof(kept))
prctl = ctypes.CDLL(None, use_errno=True).prctl
assert prctl(38, 1, 0, 0, 0) == 0 and prctl(22, 2, filter) == 0, ctypes.get_errno()
"""
"""PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP."""


def test_where_pinning_is_not_allowed_it_measures_without():
    """As under the shipped unit, whose filter forbids it."""
    found = quick(program=NOT_PINNED)
    assert looked(found)
    assert found.details.get("pinned", 0) == 0
    assert found.details["threads"] == len(CPUS)


def test_a_busy_machine_gives_no_score():
    """A reason with the shares, and the mark."""
    with burning(CPUS):
        found = quick()
    assert (found.figures, found.code) == ({}, Code.DISTURBED)
    assert "undisturbed" in found.reason
    assert "disturbed" in found.marks
    assert found.details["mean_share"] < 0.9


async def test_one_process_of_many_that_is_killed_is_a_reason():
    """The benchmark ends at once, without a figure; nothing hangs, nothing is left."""
    everyone = []

    def shoot(*_: object) -> None:
        if not everyone:
            (measuring,) = [one for one in children(os.getpid()) if b"agent.benchmarks" in command(one)]
            everyone.extend([measuring, *children(measuring)])
            os.kill(everyone[-1], signal.SIGKILL)

    began = time.monotonic()
    (found,) = await run_benchmarks(["cpu"], Request(quick=False, directory="/"), shoot)
    assert (found.figures, found.code) == ({}, Code.BENCHMARK_FAILED)
    assert found.reason == "a measuring process ended with -9"
    assert time.monotonic() - began < 5
    assert not [one for one in everyone if psutil.pid_exists(one)]


def command(pid: int) -> bytes:
    return Path("/proc", str(pid), "cmdline").read_bytes()


def test_a_process_that_does_not_answer_is_a_reason():
    """One that somebody stopped, say; then too all of them are ended."""
    before = children(os.getpid())
    with Crew(CPUS[:1]) as crew:
        os.kill(crew.workers[0]._process.pid, signal.SIGSTOP)
        crew.workers[0].say({"kernel": "zstd", "work": 1.0, "wanted": 1, "limit_s": 0.1})
        with pytest.raises(Trouble, match="1 of 1 measuring processes do not answer"):
            _gather(crew.workers, str, 0.3)
    assert children(os.getpid()) == before


def test_memory_that_cannot_be_measured_is_a_reason_beside_the_score():
    """A process of it was killed for what it took, say; the four kernels are through by then."""
    with Crew(CPUS[:1]) as crew:
        assert Path(f"/proc/{crew.workers[0]._process.pid}/oom_score_adj").read_text().strip() == "1000"
        os.kill(crew.workers[0]._process.pid, signal.SIGKILL)
        told = memory(crew, Times(quick=True))
    assert told == {"triad": "not measured: a measuring process ended with -9"}


def test_each_process_keeps_to_its_cpu_with_one_thread():
    """A library with threads of its own would take the CPUs of others."""
    before = children(os.getpid())
    with Crew(CPUS) as crew:
        for kernel in (*KERNELS, TRIAD):
            slices = crew.measure(kernel, 2, 1.0)
            assert all(slices), kernel.name
            assert all(one.rate > 0 for many in slices for one in many)
        assert [psutil.Process(one._process.pid).num_threads() for one in crew.workers] == [1] * len(CPUS)
        assert [psutil.Process(one._process.pid).cpu_affinity() for one in crew.workers] == [[cpu] for cpu in CPUS]
        assert all(one.pinned for one in crew.hello)
    assert children(os.getpid()) == before


def test_a_process_that_has_its_slices_works_on_until_it_is_told_to_stop():
    """Else the last would measure on a machine that has grown quiet: a higher clock, more of the shared cache."""
    with Crew(CPUS[:1]) as crew:
        (worker,) = crew.workers
        worker.say(Turn(kernel="sha256", work=1.0, wanted=1, limit_s=0.2))
        assert worker.hear(str) == "ready"
        worker.say("go")
        assert worker.hear(str) == "done"
        measuring = psutil.Process(worker._process.pid)
        used_s = measuring.cpu_times().user
        wait_for(lambda: measuring.cpu_times().user > used_s + 0.3, 10, "it to work on")
        worker.say("stop")
        assert 1 <= len(worker.hear(list[Slice])) <= 5


def test_alone_means_that_the_others_wait(missing):
    """One works, the others use no time."""
    if len(CPUS) < 2:
        missing("two CPUs")
    with Crew(CPUS[:2]) as crew:
        used_s = psutil.Process(crew.workers[0]._process.pid).cpu_times().user
        (slices,) = crew.measure(SHA256, 5, 1.0, only=1)
        assert slices
        assert psutil.Process(crew.workers[0]._process.pid).cpu_times().user - used_s < 0.1


def test_the_deadline_is_above_the_longest_run():
    """Four kernels that just get their slices, four alone, and the memory: 28.5 s and a process's start."""
    assert known()["cpu"].deadline_s == 40
