"""
Disk: sequential throughput with direct I/O, on the file system that tenants use.

`disk/0`: 1 MiB blocks, 8 in flight by threads, into a file without a name: whatever ends this process, the space comes
back. Version 0 is a provisional definition: shorter and with fewer in flight than the final one.
"""

import errno
import itertools
import mmap
import os
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from agent.benchmarks import Benchmark, Found, Progress, Request
from shared.codes import Code, Trouble
from shared.documents import BenchmarkName
from shared.marks import Mark

METHOD = "disk/0"
BLOCK = 2**20
PAGE = 4096
IN_FLIGHT = 8
SLICE_S = 0.25
QUICK_BYTES, FULL_BYTES = 256 * 2**20, 4 * 2**30
QUICK_S, FULL_S = 3.0, 20.0
SHARE_OF_FREE = 0.05
RESERVE_BYTES, RESERVE_SHARE = 2**30, 0.10
"""Space that is left alone: a benchmark must never be what fills a disk."""
LEAST_BYTES = 32 * 2**20
HONEST = 0.95
"""Share of the bytes asked for that the kernel must have moved to or from the device; less came from a cache."""
REFUSED_FILE_SYSTEMS = frozenset({"tmpfs", "ramfs", "devtmpfs", "overlay"})
"""Memory, and layers whose speed depends on what lies below the file that happens to be written."""


class Phase(Struct, frozen=True, kw_only=True):
    """One phase: bytes and seconds, MB/s of each full slice, and the share of the bytes that the device moved."""

    asked_bytes: int
    passed_s: float
    slices_mb_s: tuple[float, ...]
    device_share: float


def rate_mb_s(phase: Phase) -> float:
    """Return a phase's throughput in MB/s (10^6): the median of its slices, or the whole where it was too short."""
    if len(phase.slices_mb_s) >= 3:
        return round(statistics.median(phase.slices_mb_s), 1)
    return round(phase.asked_bytes / 1e6 / phase.passed_s, 1)


def slices(ends_s: Sequence[float], began_s: float) -> tuple[float, ...]:
    """Return MB/s for each full slice, from the moments at which blocks were done."""
    if not ends_s:
        return ()
    full = int((max(ends_s) - began_s) / SLICE_S)
    counts = [0] * full
    for one in ends_s:
        number = int((one - began_s) / SLICE_S)
        if number < full:
            counts[number] += 1
    return tuple(round(count * BLOCK / 1e6 / SLICE_S, 1) for count in counts)


def size_for(free_bytes: int, total_bytes: int, *, quick: bool) -> int:
    """
    Return the file's size in bytes, whole blocks.

    Raises:
        Trouble: `no_space`: what is free is needed.
    """
    spare = free_bytes - max(RESERVE_BYTES, 0 if quick else int(total_bytes * RESERVE_SHARE))
    size = min(QUICK_BYTES if quick else FULL_BYTES, int(free_bytes * SHARE_OF_FREE), spare) // BLOCK * BLOCK
    if size < LEAST_BYTES:
        raise Trouble(Code.NO_SPACE, f"{free_bytes // 2**20} MiB are free, too little to measure without harm")
    return size


def file_system(mountinfo: str, device: str) -> str:
    """Return the type of the file system with this device number ("8:1"); "" when it is not mounted here."""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2] == device:
            return after.split()[0]
    return ""


def run(request: Request, progress: Progress) -> Found:
    """Write a file, read it back, and say how much of it the device really moved."""
    folder = Path(request.directory)
    limit_s = QUICK_S if request.quick else FULL_S
    descriptor, kind, device = _open(folder)
    try:
        space = os.fstatvfs(descriptor)
        size = size_for(space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize, quick=request.quick)
        blocks = size // BLOCK
        wrote = _phase(descriptor, size, _write, "write_bytes", lambda done: progress("write", done, blocks), limit_s)
        written = wrote.asked_bytes
        os.fdatasync(descriptor)
        blocks = written // BLOCK
        read = _phase(descriptor, written, _read, "read_bytes", lambda done: progress("read", done, blocks), limit_s)
    finally:
        os.close(descriptor)
    marks = (Mark.CACHED,) if min(wrote.device_share, read.device_share) < HONEST else ()
    details = {
        "directory": str(folder),
        "file_system": kind,
        "device": device,
        "bytes": written,
        "block_bytes": BLOCK,
        "in_flight": IN_FLIGHT,
        "kernel": os.uname().release,
        "write": _described(wrote),
        "read": _described(read),
    }
    figures = {"disk_write_mb_s": rate_mb_s(wrote), "disk_read_mb_s": rate_mb_s(read)}
    return Found(figures=figures, marks=marks, details=details)


def _described(phase: Phase) -> dict[str, float]:
    told = {"seconds": round(phase.passed_s, 3), "device_share": round(phase.device_share, 3)}
    if phase.slices_mb_s:
        told |= {"least_mb_s": min(phase.slices_mb_s), "most_mb_s": max(phase.slices_mb_s)}
    return told


def _open(folder: Path) -> tuple[int, str, str]:
    """Open a file without a name for direct I/O; return its descriptor, file system type and block device."""
    try:
        flags = os.O_RDWR | os.O_TMPFILE | os.O_DIRECT | os.O_CLOEXEC
        descriptor = os.open(folder, flags, 0o600)
    except OSError as error:
        if error.errno in {errno.EINVAL, errno.EOPNOTSUPP, errno.EISDIR}:
            raise Trouble(Code.NO_DIRECT_IO, f"{folder}: {error.strerror}") from error
        raise Trouble(Code.BENCHMARK_FAILED, f"{folder}: {error.strerror}") from error
    number = os.fstat(descriptor).st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    kind = file_system(Path("/proc/self/mountinfo").read_text(), device)
    if kind in REFUSED_FILE_SYSTEMS:
        os.close(descriptor)
        raise Trouble(Code.NO_DIRECT_IO, f"{folder} is on {kind}; name a directory on the disk that tenants get")
    link = Path("/sys/dev/block", device)
    return descriptor, kind or "unknown", link.resolve().name if link.exists() else device


Transfer = Callable[[int, mmap.mmap, int], int]


def _write(descriptor: int, buffer: mmap.mmap, number: int) -> int:
    # Each 4 KiB differs from every other, so that a device which folds or packs equal blocks gains nothing.
    for at in range(0, BLOCK, PAGE):
        buffer[at : at + 8] = (number * BLOCK + at).to_bytes(8, "little")
    return os.pwritev(descriptor, [buffer], number * BLOCK)


def _read(descriptor: int, buffer: mmap.mmap, number: int) -> int:
    return os.preadv(descriptor, [buffer], number * BLOCK)


def _phase(
    descriptor: int, size: int, transfer: Transfer, counter: str, done: Callable[[int], None], limit_s: float
) -> Phase:
    numbers, lock = itertools.count(), threading.Lock()
    ends: list[float] = []
    broken: list[OSError] = []
    before, began = _moved(counter), time.perf_counter()

    def work() -> None:
        buffer = mmap.mmap(-1, BLOCK)
        buffer[:] = os.urandom(BLOCK)
        while not broken:
            number = next(numbers)
            if number * BLOCK >= size or time.perf_counter() - began > limit_s:
                return
            try:
                if transfer(descriptor, buffer, number) != BLOCK:
                    raise OSError(errno.EIO, "a block was moved in part")
            except OSError as error:
                broken.append(error)
                return
            with lock:
                ends.append(time.perf_counter())
                done(len(ends))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(IN_FLIGHT)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    if broken:
        direct = broken[0].errno == errno.EINVAL
        raise Trouble(Code.NO_DIRECT_IO if direct else Code.BENCHMARK_FAILED, f"disk: {broken[0].strerror}")
    asked = len(ends) * BLOCK
    return Phase(
        asked_bytes=asked,
        passed_s=max(ends, default=began + 1e-9) - began,
        slices_mb_s=slices(ends, began),
        device_share=(_moved(counter) - before) / asked if asked else 0.0,
    )


def _moved(counter: str) -> int:
    """Return the bytes that this process had the block layer move. Source: proc(5), /proc/pid/io."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines[counter])


BENCHMARK = Benchmark(name=BenchmarkName.DISK, method_version=METHOD, deadline_s=90.0, run=run)
