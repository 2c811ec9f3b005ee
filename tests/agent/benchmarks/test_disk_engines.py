"""Disk benchmark on real files: every engine, what cheats it, what refuses it, and kills."""

import contextlib
import ctypes
import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from agent.benchmarks import Request, Unmeasured, disk
from agent.engines.disk import Job, aio, device, fio, place, proof, threads
from agent.engines.disk.buffers import PAGE, Buffers
from agent.engines.disk.phases import Phases
from shared.codes import Code, Trouble
from shared.marks import Mark
from tests.system.harness import children, wait_for

ENGINES = {one.name: one for one in disk.ENGINES}
SIZE = 48 * 2**20
OURS = {name: ENGINES[name] for name in ("aio", "threads")}


def quiet(_step: str, _done: int, _of: int) -> None:
    return None


@pytest.fixture
def engine(request, missing):
    """The engine named by the test's parameter."""
    found = ENGINES[request.param]
    if found.version() is None:
        missing(f"this machine has no {request.param} (Debian: fio)")
    return found


every_engine = pytest.mark.parametrize("engine", ENGINES, indirect=True)
our_engines = pytest.mark.parametrize("engine", OURS, indirect=True)
"""fio opens the file itself, for direct I/O; ours take what they are given."""


@pytest.fixture
def folder(missing) -> Iterator[Path]:
    """A directory on a real disk, where direct I/O works."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as made:
        try:
            os.close(os.open(made, os.O_RDWR | os.O_TMPFILE | os.O_DIRECT, 0o600))
        except OSError as error:
            missing(f"/var/tmp takes no direct I/O: {error}")
        yield Path(made)


@contextlib.contextmanager
def phases_in(folder: Path, engine, *, cached: bool = False) -> Iterator[Phases]:
    """Phases on a new file; `cached`: through the page cache, as no benchmark would open it."""
    with place.nameless(folder) as descriptor:
        at = place.look(descriptor, folder)
        given = os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR) if cached else os.dup(descriptor)
        os.ftruncate(given, SIZE)
        try:
            yield Phases(given, at, engine, quiet)
        finally:
            os.close(given)


def job(*, write: bool, **other: object) -> Job:
    """A short job: each block once, a second at most."""
    whole = disk.job(SIZE, 1.0, write=write)
    return msgspec.structs.replace(whole, **{"most_bytes": SIZE, **other})


@every_engine
def test_an_engine_moves_every_block_once(folder, engine):
    """All that was asked, by the device; the file is full of pages that are random and all different."""
    with phases_in(folder, engine) as phases:
        wrote = phases.do("write", job(write=True))
        read = phases.do("read", job(write=False))
        assert wrote.moved.total_bytes == read.moved.total_bytes == SIZE
        assert min(wrote.device_share, read.device_share) >= disk.HONEST
        assert proof.packed(phases.descriptor, SIZE) > disk.INCOMPRESSIBLE
        content = os.open(f"/proc/self/fd/{phases.descriptor}", os.O_RDONLY)
        pages = {os.pread(content, PAGE, at) for at in range(0, SIZE, PAGE)}
        os.close(content)
    assert len(pages) == SIZE // PAGE


def test_buffers_are_in_one_piece(missing):
    """Scattered pages halve what a disk behind virtio does, and make it chance."""
    policy = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not policy.exists() or "[never]" in policy.read_text():
        missing("this kernel gives no huge pages")
    count = 32
    buffers = Buffers(count, disk.BLOCK)
    held = next(one for one in Path("/proc/self/smaps").read_text().split("VmFlags") if f"{buffers.address:x}-" in one)
    huge_kb = int(next(line.split()[1] for line in held.splitlines() if line.startswith("AnonHugePages")))
    assert huge_kb * 1024 >= count * disk.BLOCK / 2


@every_engine
def test_an_engine_stops_when_its_time_is_up(folder, engine):
    """And tells a series, its progress, and what it wrote over and over."""
    told = []
    with place.nameless(folder) as descriptor:
        os.ftruncate(descriptor, SIZE)
        endless = job(write=False, most_bytes=2**50, limit_s=2.0)
        moved = engine.move(descriptor, endless, told.append)
    assert 1.5 <= moved.passed_s <= 4
    assert 3 <= len(moved.series_mb_s) <= 4
    assert told == sorted(told)
    assert len(told) >= 2


@every_engine
def test_small_blocks_have_latencies(folder, engine):
    """4 KiB in random order, both ways, done by the device."""
    with phases_in(folder, engine) as phases:
        phases.do("write", job(write=True))
        found = disk.small_blocks(phases, SIZE, 1.0)
    assert found["engine"] == engine.name
    for way in ("read", "write"):
        latency = found[way]["latency_us"]
        assert found[way]["iops"] > 0
        assert 0 < latency["p50"] <= latency["p99"] <= latency["p99_9"]
        assert found[way]["device_share"] >= disk.HONEST


@our_engines
def test_reads_from_the_page_cache_are_seen(folder, engine):
    """The kernel moved nothing for us."""
    with phases_in(folder, engine, cached=True) as phases:
        phases.do("write", job(write=True))
        read = phases.do("read", job(write=False))
    assert read.device_share < 0.05
    assert Mark.CACHED in disk.marks((read,), None)


@our_engines
def test_writes_into_the_page_cache_are_seen(folder, engine):
    """The process's own counter believes them; the device's does not."""
    with phases_in(folder, engine, cached=True) as phases:
        # Away from the moment at which the kernel writes dirty pages back by itself.
        wrote = phases.do("write", job(write=True))
    assert wrote.device_share < disk.HONEST
    assert Mark.CACHED in disk.marks((wrote,), None)


@every_engine
def test_reads_of_blocks_that_were_never_written_are_seen(folder, engine):
    """Allocated, never written: the kernel gives zeros and asks no disk."""
    with phases_in(folder, engine) as phases:
        os.posix_fallocate(phases.descriptor, 0, SIZE)
        read = phases.do("read", job(write=False))
        assert proof.packed(phases.descriptor, SIZE) < 0.05
    assert read.device_share < 0.05
    assert Mark.CACHED in disk.marks((read,), None)


@every_engine
def test_data_that_a_device_could_pack_gives_no_figure(folder, engine):
    """Really written and really read, but zeros."""
    with phases_in(folder, engine, cached=True) as phases:
        for at in range(0, SIZE, disk.BLOCK):
            os.pwrite(phases.descriptor, bytes(disk.BLOCK), at)
        os.fsync(phases.descriptor)
        packed = proof.packed(phases.descriptor, SIZE)
    whole = disk.Phase(moved=disk.Moved(total_bytes=SIZE, passed_s=1.0, series_mb_s=()), device_share=1.0)
    with pytest.raises(Unmeasured, match="shrink"):
        disk.judged(disk.Measured(write=whole, read=whole, written_bytes=SIZE, flush_s=0.0, packed=packed), None, {})


@every_engine
def test_a_quick_look_has_both_figures(folder, engine):
    """With the engine's name and version beside them, and no file in the directory."""
    steps = []
    found = disk.measure(Request(quick=True, directory=str(folder)), lambda *one: steps.append(one), engine)
    assert set(found.figures) == {"disk_read_mb_s", "disk_write_mb_s"}
    assert min(found.figures.values()) > 0
    assert found.details["engine"] == engine.name
    assert found.details["engine_version"] == engine.version()
    assert {name for name, _, _ in steps} == {"write", "read"}
    assert steps[-1][1:] == (100, 100)
    assert list(folder.iterdir()) == []


def test_without_fio_an_engine_of_our_own_measures(folder, monkeypatch):
    """The next one that this machine has."""
    monkeypatch.setenv("PATH", str(folder))
    assert fio.available() is None
    expected = aio.ENGINE if aio.available() else threads.ENGINE
    assert disk.available(disk.ENGINES)[0] is expected
    with pytest.raises(Trouble, match="no fio"):
        disk.available((fio.ENGINE,))


@pytest.mark.parametrize(
    ("script", "words"),
    [("exit 3", "ended with 3"), ("echo broken >&2; exit 1", "broken"), ("echo '{'; echo '}'", "read")],
)
def test_a_fio_that_says_nonsense_is_a_reason(folder, monkeypatch, script, words):
    """And no figure."""
    (folder / "fio").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "fio").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    with place.nameless(folder) as descriptor, pytest.raises(Trouble, match=words) as told:
        fio.move(descriptor, job(write=True), lambda _: None)
    assert told.value.code is Code.BENCHMARK_FAILED


# --- file systems


@contextlib.contextmanager
def mounted(folder: Path, *make: str, sector_bytes: int = 512, size_bytes: int = 2**28) -> Iterator[tuple[Path, str]]:
    """A file system of its own on a loop device whose image is in memory; gives its directory and the device."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        image = Path(memory, "image")
        with image.open("wb") as file:
            file.truncate(size_bytes)
        attach = ["losetup", "--find", "--show", "--sector-size", str(sector_bytes), str(image)]
        loop = subprocess.run(attach, check=True, capture_output=True, text=True).stdout.strip()
        point = folder / "mounted"
        point.mkdir()
        try:
            subprocess.run([*make, loop], check=True, capture_output=True)
            subprocess.run(["mount", loop, point], check=True)
            try:
                yield point, loop.rpartition("/")[2]
            finally:
                subprocess.run(["umount", point], check=True)
        finally:
            subprocess.run(["losetup", "--detach", loop], check=True)
            point.rmdir()


@pytest.fixture
def root(missing):
    """Root, who may mount."""
    if os.geteuid() != 0:
        missing("mounting needs root")
    if not Path("/dev/loop-control").exists():
        missing("this machine has no loop devices")


EXT4 = ("mkfs.ext4", "-q", "-m", "0")


@pytest.mark.root
@every_engine
def test_sectors_of_4_kib_are_served(folder, root, engine):
    """Every block and every buffer is aligned to them; a loop device proves nothing of what is below it."""
    with mounted(folder, *EXT4, sector_bytes=4096) as (point, loop), phases_in(point, engine) as phases:
        wrote = phases.do("write", job(write=True))
        found = disk.small_blocks(phases, SIZE, 1.0)
        below = device.below((loop,))
    assert wrote.device_share >= disk.HONEST
    assert found["read"]["iops"] > 0
    assert below is not None
    assert below.logical_block_bytes == 4096
    assert Mark.UNPROVEN in disk.marks((wrote,), below)


@pytest.mark.root
@every_engine
def test_direct_io_that_is_refused_at_the_transfer_is_a_reason(folder, root, engine):
    """It was accepted at the opening: here for blocks smaller than a sector."""
    small = job(write=False, block_bytes=1024, most_bytes=2**20)
    with mounted(folder, *EXT4, sector_bytes=4096) as (point, _), phases_in(point, engine) as phases:
        phases.do("write", job(write=True))
        try:
            phases.do("read", small)
        except OSError as error:
            told = error
    assert disk.reason(told, folder).code is Code.NO_DIRECT_IO


@pytest.mark.root
@every_engine
def test_a_disk_that_fills_up_is_a_reason(folder, root, engine):
    """In the middle of a write: no figure, and the space is back."""
    with mounted(folder, *EXT4, size_bytes=2**26) as (point, _):
        free = os.statvfs(point).f_bfree
        with place.nameless(point) as descriptor:
            phases = Phases(descriptor, place.look(descriptor, point), engine, quiet)
            with pytest.raises(OSError, match="No space left") as told:
                disk.sequential(phases, 2**27, 5.0)
        assert os.statvfs(point).f_bfree == free
    assert told.value.errno == errno.ENOSPC
    assert disk.reason(told.value, folder).code is Code.NO_SPACE


@pytest.mark.root
def test_a_small_disk_is_left_alone(folder, root):
    """With the numbers, and no file."""
    with mounted(folder, *EXT4) as (point, _), pytest.raises(Trouble, match=r"0\.2 GiB are free") as told:
        disk.measure(Request(quick=True, directory=str(point)), quiet)
    assert told.value.code is Code.NO_SPACE


@pytest.mark.root
@our_engines
def test_the_devices_of_a_btrfs_are_found(folder, root, engine, missing):
    """Its own device number names none; they count what it moves all the same."""
    if shutil.which("mkfs.btrfs") is None:
        missing("no mkfs.btrfs (Debian: btrfs-progs)")
    with mounted(folder, "mkfs.btrfs", "-q") as (point, loop):
        with place.nameless(point) as descriptor:
            assert place.look(descriptor, point).carriers == (loop,)
        with phases_in(point, engine) as phases:
            wrote, read = phases.do("write", job(write=True)), phases.do("read", job(write=False))
    assert wrote.device_share is not None
    assert read.device_share is not None


@pytest.mark.root
def test_a_read_only_file_system_is_a_reason(folder, root):
    """In the kernel's words."""
    with mounted(folder, *EXT4) as (point, _):
        subprocess.run(["mount", "-o", "remount,ro", point], check=True)
        with pytest.raises(Trouble, match="Read-only file system") as told:
            disk.measure(Request(quick=True, directory=str(point)), quiet)
    assert told.value.code is Code.BENCHMARK_FAILED


@pytest.mark.root
def test_layers_of_a_container_are_refused(folder, root):
    """The words name a directory that would do."""
    for name in ("lower", "upper", "work", "merged"):
        (folder / name).mkdir()
    options = f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, folder / "merged"], check=True)
    try:
        with pytest.raises(Trouble, match="name a directory on the disk that tenants get, below /") as told:
            disk.measure(Request(quick=True, directory=str(folder / "merged")), quiet)
    finally:
        subprocess.run(["umount", folder / "merged"], check=True)
        shutil.rmtree(folder / "work")
    assert told.value.code is Code.NO_DIRECT_IO


def test_memory_is_refused():
    """Also where the kernel takes it for direct I/O."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as made, pytest.raises(Trouble) as told:
        disk.measure(Request(quick=True, directory=made), quiet)
    assert told.value.code is Code.NO_DIRECT_IO


def test_a_file_system_without_nameless_files_gets_one_all_the_same(folder):
    """The name is gone before the first block."""
    descriptor = place.unnamed(folder)
    try:
        assert list(folder.iterdir()) == []
        assert os.fstat(descriptor).st_nlink == 0
        os.ftruncate(descriptor, SIZE)
        assert aio.move(descriptor, job(write=False), lambda _: None).total_bytes == SIZE
    finally:
        os.close(descriptor)


# --- kills

PROGRAM = """
import sys
from agent.benchmarks import Request, disk
engine = next(one for one in disk.ENGINES if one.name == sys.argv[2])
disk.measure(Request(quick=False, directory=sys.argv[1]), lambda *one: print(*one, flush=True), engine)
"""


@pytest.fixture
def orphans():
    """Have this process inherit what its children leave behind. Source: prctl(2), PR_SET_CHILD_SUBREAPER."""
    ctypes.CDLL(None).prctl(36, 1)
    yield
    ctypes.CDLL(None).prctl(36, 0)


@every_engine
@pytest.mark.parametrize("number", range(4))
def test_kill_9_leaves_no_process_no_file_and_no_space(folder, engine, number, orphans):
    """At a random moment of either phase; fio is killed by the kernel, and not by a pipe that nobody reads any more."""
    free = os.statvfs(folder).f_bavail
    program = subprocess.Popen([sys.executable, "-c", PROGRAM, folder, engine.name], stdout=subprocess.PIPE)
    assert program.stdout.readline() == b"write 0 100\n"
    time.sleep(random.Random(number).uniform(0.2, 2.5))
    started = children(program.pid)
    program.kill()
    program.wait()
    program.stdout.close()
    assert [os.waitstatus_to_exitcode(os.waitpid(one, 0)[1]) for one in started] == [-signal.SIGKILL] * len(started)
    assert bool(started) == (engine.name == "fio")
    assert program.returncode == -signal.SIGKILL
    assert list(folder.iterdir()) == []
    # Other programs write to this disk too; the GiB of the file would show.
    block = os.statvfs(folder).f_frsize
    wait_for(lambda: (free - os.statvfs(folder).f_bavail) * block < 2**28, 3, "the space to come back")
