"""
Disk: sequential throughput with direct I/O, on the file system that tenants use.

`disk/1`: 1 MiB blocks, 32 in flight, of random bytes of which no two pages of 4 KiB are equal, into a file without a
name, by fio where it is installed and else by an engine of our own that does the same. The file is written from its
start to its end, `PASSES` times or for `sequential_s`, whichever comes first; what was written is then read in the same
way. A full look does 4 KiB blocks in random order after that, which are details and no figures.

A phase's figure is the median of its slices of 0.5 s, without the first one (the ramp) and the last one (in which time
or bytes ran out); of fewer than three such slices (or a median of 0), all bytes over the whole time. Beside it: the
*burst*, the mean of the first 2 s, and what is *sustained*, the median of the last half of the slices, where a phase
lasted 4 s or longer.
"""

import errno
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from agent.benchmarks import Benchmark, Found, Progress, Request, Unmeasured
from agent.engines.disk import SLICE_S, Engine, Job, Moved, aio, device, fio, place, proof, threads
from agent.engines.disk.device import Device
from agent.engines.disk.phases import Phase, Phases
from shared.codes import Code, Trouble
from shared.documents import BenchmarkName
from shared.marks import Mark

METHOD = "disk/1"
ENGINES = (fio.ENGINE, aio.ENGINE, threads.ENGINE)
"""The one that people know first, then the one that does as well on one CPU, then the one that always works."""
BLOCK, PAGE = 2**20, 4096
IN_FLIGHT = 32
PASSES = 4
"""Over the file, so that a fast disk is measured for some seconds and yet not worn: 32 GiB are written at most."""
MOST_RANDOM_BYTES = 2**40
SHARE_OF_FREE = 0.05
RESERVE_BYTES, RESERVE_SHARE = 10 * 2**30, 0.10
"""Space that is left alone: a benchmark must never be what fills a disk."""
LEAST_BYTES = 32 * 2**20
LEAST_SLICES = 3
BURST_SLICES = int(2 / SLICE_S)
CLIFF = 0.7
"""Sustained over burst; below it the fast part of the disk was used up."""
HONEST = 0.95
"""Share of the bytes asked for that a device must have moved; less came from a cache."""
INCOMPRESSIBLE = 0.95
FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT})


class Look(Struct, frozen=True, kw_only=True):
    """How long a look is: the file's size at most, and seconds of each sequential and each random phase."""

    most_file_bytes: int
    sequential_s: float
    random_s: float


QUICK = Look(most_file_bytes=2**30, sequential_s=3.0, random_s=0.0)
FULL = Look(most_file_bytes=8 * 2**30, sequential_s=20.0, random_s=4.0)


class Measured(Struct, frozen=True, kw_only=True):
    """
    The sequential phases.

    Attributes:
        write: The first one.
        read: The second one, of what the first one wrote.
        written_bytes: How much of the file that is.
        flush_s: How long the disk took between them to say that everything is safe.
        packed: As in `proof.packed`.
    """

    write: Phase
    read: Phase
    written_bytes: int
    flush_s: float
    packed: float


def rate_mb_s(moved: Moved) -> float:
    """Return a phase's figure in MB/s (10^6), as this file's head defines it."""
    slices = moved.series_mb_s[1:]
    median = statistics.median(slices) if len(slices) >= LEAST_SLICES else 0.0
    # Also where a disk stalls in most slices: it is slow then, and not at 0.
    return round(median or moved.total_bytes / 1e6 / moved.passed_s, 1)


def burst_and_sustained_mb_s(series_mb_s: Sequence[float]) -> tuple[float, float] | None:
    """Return MB/s of the start and of the end of a phase; None where it was too short to have both."""
    if len(series_mb_s) < 2 * BURST_SLICES:
        return None
    return statistics.fmean(series_mb_s[:BURST_SLICES]), statistics.median(series_mb_s[len(series_mb_s) // 2 :])


def size_for(free_bytes: int, total_bytes: int, most_bytes: int) -> int:
    """
    Return the file's size in bytes, whole blocks.

    Raises:
        Trouble: `no_space`: what is free is needed.
    """
    reserve = max(RESERVE_BYTES, int(total_bytes * RESERVE_SHARE))
    size = min(most_bytes, int(free_bytes * SHARE_OF_FREE), free_bytes - reserve) // BLOCK * BLOCK
    if size < LEAST_BYTES:
        raise Trouble(
            Code.NO_SPACE,
            f"{free_bytes / 2**30:.1f} GiB are free, of which {reserve / 2**30:.1f} GiB are left alone: too little to "
            "measure without harm",
        )
    return size


def marks(phases: Sequence[Phase], below: Device | None) -> tuple[Mark, ...]:
    """Return what a reader must know of the two sequential phases."""
    shares = [one.device_share for one in phases]
    ends = [both for one in phases if (both := burst_and_sustained_mb_s(one.moved.series_mb_s))]
    found: Mapping[Mark, bool] = {
        Mark.CACHED: any(one is not None and one < HONEST for one in shares),
        Mark.UNPROVEN: None in shares or below is None or below.software,
        Mark.VIRTUALIZED: below is not None and below.virtual,
        Mark.CLIFF: any(sustained < CLIFF * burst for burst, sustained in ends),
    }
    return tuple(mark for mark, there in found.items() if there)


def judged(measured: Measured, below: Device | None, details: Mapping[str, Any]) -> Found:
    """
    Return the figures with their marks.

    Raises:
        Unmeasured: `benchmark_failed`: the file does not hold what was to be written.
    """
    found = marks((measured.write, measured.read), below)
    told = {
        **details,
        "flush_s": round(measured.flush_s, 3),
        "packed": round(measured.packed, 3),
        "write": described(measured.write),
        "read": described(measured.read),
    }
    if measured.packed < INCOMPRESSIBLE:
        words = f"the file was to hold random bytes, and samples of it shrink to {measured.packed:.0%}"
        raise Unmeasured(Code.BENCHMARK_FAILED, words, found, **told)
    figures = {"disk_write_mb_s": rate_mb_s(measured.write.moved), "disk_read_mb_s": rate_mb_s(measured.read.moved)}
    return Found(figures=figures, marks=found, details=told)


def described(phase: Phase) -> dict[str, Any]:
    """Return a phase for `details`; `spread` is (most - least) / median of the slices that count."""
    moved = phase.moved
    told: dict[str, Any] = {
        "bytes": moved.total_bytes,
        "seconds": round(moved.passed_s, 3),
        "device_share": rounded(phase.device_share),
        "series_mb_s": [round(one) for one in moved.series_mb_s],
    }
    if slices := moved.series_mb_s[1:]:
        least, most, median = min(slices), max(slices), statistics.median(slices)
        told |= {"least_mb_s": round(least, 1), "most_mb_s": round(most, 1)}
        told["spread"] = round((most - least) / median, 3) if median else None
    if ends := burst_and_sustained_mb_s(moved.series_mb_s):
        told |= {"burst_mb_s": round(ends[0], 1), "sustained_mb_s": round(ends[1], 1)}
    return told


def measure(request: Request, progress: Progress, engine: Engine | None = None) -> Found:
    """
    Write a file, read it back, and say how much of it a device really moved.

    Args:
        request: Where, and how long a look.
        progress: Told in percent of a phase.
        engine: Which one; the first of `ENGINES` that this machine has when left out.

    Raises:
        Trouble: `no_direct_io`, `no_space` or `benchmark_failed`.
    """
    folder, look = Path(request.directory), QUICK if request.quick else FULL
    engine, version = available((engine,) if engine else ENGINES)
    with place.nameless(folder) as descriptor:
        at = place.look(descriptor, folder)
        space = os.fstatvfs(descriptor)
        size = size_for(space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize, look.most_file_bytes)
        below = device.below(at.carriers)
        details: dict[str, Any] = {
            "engine": engine.name,
            "engine_version": version,
            "directory": str(folder)[:200],
            "file_system": at.kind,
            "mount_options": at.options[:200],
            "device": msgspec.to_builtins(below),
            "file_bytes": size,
            "block_bytes": BLOCK,
            "in_flight": IN_FLIGHT,
        }
        phases = Phases(descriptor, at, engine, progress)
        try:
            measured = sequential(phases, size, look.sequential_s)
            if look.random_s:
                details["random"] = small_blocks(phases, measured.written_bytes, look.random_s)
        except OSError as error:
            raise reason(error, folder) from error
    return judged(measured, below, details)


def available(engines: Sequence[Engine]) -> tuple[Engine, str]:
    """
    Return the first engine that this machine has, and its version.

    Raises:
        Trouble: `benchmark_failed`: it has none of them.
    """
    for one in engines:
        if version := one.version():
            return one, version
    raise Trouble(Code.BENCHMARK_FAILED, f"this machine has no {' and no '.join(one.name for one in engines)}")


def reason(error: OSError, folder: Path) -> Trouble:
    """Return what a failed transfer means; EINVAL: direct I/O was accepted at the opening, and is not done."""
    if error.errno in FULL_DISK:
        return Trouble(Code.NO_SPACE, f"{folder} filled up while it was measured: {error.strerror}")
    code = Code.NO_DIRECT_IO if error.errno == errno.EINVAL else Code.BENCHMARK_FAILED
    return Trouble(code, f"{folder}: a transfer failed: {error.strerror}")


def sequential(phases: Phases, size_bytes: int, limit_s: float) -> Measured:
    """Write and read; raises `OSError` with what the kernel said, or `Trouble`."""
    # Its length first: a write that makes a file longer is done alone, whatever is in flight.
    os.ftruncate(phases.descriptor, size_bytes)
    write = phases.do("write", job(size_bytes, limit_s, write=True))
    flush_s = phases.flush()
    # A slow disk has not come to the file's end: what was not written is never read.
    written = min(size_bytes, write.moved.total_bytes // BLOCK * BLOCK)
    packed = proof.packed(phases.descriptor, written)
    read = phases.do("read", job(written, limit_s, write=False))
    return Measured(write=write, read=read, flush_s=flush_s, packed=packed, written_bytes=written)


def job(size_bytes: int, limit_s: float, *, write: bool) -> Job:
    """Return the job that is the figure."""
    return Job(
        write=write,
        block_bytes=BLOCK,
        in_flight=IN_FLIGHT,
        size_bytes=size_bytes,
        most_bytes=PASSES * size_bytes,
        limit_s=limit_s,
    )


def small_blocks(phases: Phases, size_bytes: int, limit_s: float) -> dict[str, Any]:
    """Return operations a second and latencies of 4 KiB blocks in random order; what fails is told in words."""
    told: dict[str, Any] = {"engine": phases.engine.name, "block_bytes": PAGE, "in_flight": IN_FLIGHT}
    for step in ("read", "write"):
        scattered = Job(
            write=step == "write",
            random=True,
            block_bytes=PAGE,
            in_flight=IN_FLIGHT,
            size_bytes=size_bytes,
            most_bytes=MOST_RANDOM_BYTES,
            limit_s=limit_s,
        )
        try:
            phase = phases.do(f"random {step}", scattered)
        except OSError as error:
            told[step] = {"reason": error.strerror}
            continue
        told[step] = {
            "iops": round(phase.moved.total_bytes / PAGE / phase.moved.passed_s),
            "latency_us": dict(phase.moved.latency_us),
            "device_share": rounded(phase.device_share),
        }
    return told


def rounded(share: float | None) -> float | None:
    """Return a share to three places."""
    return None if share is None else round(share, 3)


BENCHMARK = Benchmark(name=BenchmarkName.DISK, method_version=METHOD, deadline_s=75.0, run=measure)
