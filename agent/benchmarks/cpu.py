"""
CPU: how fast all usable threads hash, from slices in which nobody else had the CPU.

`cpu/0`: SHA-256 of 1 MiB, one pinned process for each usable CPU. Version 0 is a provisional definition: one kernel of
four, and a reference not yet measured on a quiet machine.
"""

import hashlib
import math
import multiprocessing
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from msgspec import Struct

from agent.benchmarks import Benchmark, Found, Progress, Request, Unmeasured
from agent.processes import die_with_parent
from shared.codes import Code
from shared.documents import BenchmarkName
from shared.marks import Mark

METHOD = "cpu/0"
REFERENCE_MB_S = 1790.0
"""Rate that scores 1000: eight threads of a Zen 4 EPYC, each at 224 MB/s or so. Provisional."""
BLOCK = bytes(range(256)) * 4096
SLICE_S = 0.05
"""Longer than a scheduler tick, so that losing the CPU shows in its share."""
CLEAN_SHARE = 0.97
"""A slice counts if its process had the CPU for at least this share of it."""
WANTED, NEEDED = 20, 10
"""Clean slices of each process: enough, and the least for a median worth anything."""
QUICK_S, FULL_S = 3.0, 6.0


class Slice(Struct, frozen=True):
    """One slice: megabytes hashed a second of wall time, and the share of it that the process had the CPU."""

    mb_s: float
    share: float


def clean_rate(slices: Sequence[Slice]) -> float | None:
    """Return the median rate of the clean slices in MB/s; None when there are too few of them."""
    rates = sorted(one.mb_s for one in slices if one.share >= CLEAN_SHARE)
    if len(rates) < NEEDED:
        return None
    middle = len(rates) // 2
    return rates[middle] if len(rates) % 2 else (rates[middle - 1] + rates[middle]) / 2


def usable_cpus(affinity: Sequence[int], quota: float | None) -> tuple[int, ...]:
    """Return the CPUs to use: those this process may run on, no more of them than its cgroup's quota pays for."""
    count = len(affinity) if quota is None else max(1, min(len(affinity), math.floor(quota)))
    return tuple(sorted(affinity)[:count])


def parse_cpu_max(text: str) -> float | None:
    """
    Return a cgroup's quota in CPUs; None for no limit.

    Args:
        text: "max 100000" or "150000 100000" (microseconds of quota and period).

    Source: Linux, Documentation/admin-guide/cgroup-v2.rst, "cpu.max".
    """
    quota, _, period = text.strip().partition(" ")
    if quota == "max" or not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return None
    return int(quota) / int(period)


def cgroup_quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Return the tightest quota of this process's cgroup and those above it, in CPUs; None for no limit."""
    quotas: list[float | None] = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, _, rest = line.partition(":")
        _, _, path = rest.partition(":")
        if number != "0":
            continue
        place = root / path.lstrip("/")
        files = [folder / "cpu.max" for folder in (place, *place.parents)]
        quotas += [parse_cpu_max(file.read_text()) for file in files if file.is_file()]
    limits = [one for one in quotas if one is not None]
    return min(limits, default=None)


def run(request: Request, progress: Progress) -> Found:
    """Measure one CPU alone, then all of them together."""
    limit_s = QUICK_S if request.quick else FULL_S
    cpus = usable_cpus(tuple(os.sched_getaffinity(0)), cgroup_quota())
    progress("one cpu", 0, 2)
    alone = _measure(cpus[:1], limit_s / 3)[0]
    progress("all cpus", 1, 2)
    together = _measure(cpus, limit_s)
    progress("all cpus", 2, 2)
    return judged(alone, together)


def judged(alone: Sequence[Slice], together: Sequence[Sequence[Slice]]) -> Found:
    """Return a score where every process had enough clean slices; else raise `disturbed` with the shares."""
    rates = [clean_rate(one) for one in together]
    single = clean_rate(alone)
    every = [one for many in together for one in many]
    details = {
        "cpus": len(together),
        "clean_slices": sum(one.share >= CLEAN_SHARE for one in every),
        "slices": len(every),
        "reference_mb_s": REFERENCE_MB_S,
        "mean_share": round(sum(one.share for one in every) / len(every), 3) if every else 0.0,
        "openssl": hashlib.sha256().name,
    }
    if single is not None:
        details["cpu_score_single"] = round(1000 * single / REFERENCE_MB_S, 1)
    clean = [one for one in rates if one is not None]
    if len(clean) < len(rates) or not rates:
        words = f"other work took the CPU: {details['clean_slices']} of {len(every)} slices were undisturbed"
        raise Unmeasured(Code.DISTURBED, words, (Mark.DISTURBED,), **details)
    details["mb_s"] = round(sum(clean), 1)
    return Found(figures={"cpu_score": round(1000 * sum(clean) / REFERENCE_MB_S, 1)}, details=details)


def _measure(cpus: Sequence[int], limit_s: float) -> list[list[Slice]]:
    """Run one process for each CPU at the same time, kept to it where that is allowed; return each one's slices."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(len(cpus))
    started = []
    for cpu in cpus:
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(cpu, barrier, limit_s, theirs, os.getpid()), daemon=True)
        process.start()
        theirs.close()
        started.append((process, mine))
    try:
        return [mine.recv() for _, mine in started]
    finally:
        for process, mine in started:
            mine.close()
            process.join(5)


def _work(
    cpu: int, barrier: "multiprocessing.synchronize.Barrier", limit_s: float, out: Connection, parent: int
) -> None:
    die_with_parent(parent)
    # The shipped unit does not allow it: the scheduler then spreads as many processes as there are CPUs by itself, and
    # what it does not spread is seen in the slices' shares.
    with suppress(PermissionError):
        os.sched_setaffinity(0, {cpu})
    hashlib.sha256(BLOCK).digest()
    barrier.wait(30)
    ends = time.perf_counter() + limit_s
    slices: list[Slice] = []
    while time.perf_counter() < ends and sum(one.share >= CLEAN_SHARE for one in slices) < WANTED:
        slices.append(_slice())
    out.send(slices)


def _slice() -> Slice:
    blocks = 0
    wall, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < SLICE_S:
        hashlib.sha256(BLOCK).digest()
        blocks += 1
    passed_s = time.perf_counter() - wall
    return Slice(mb_s=blocks * len(BLOCK) / 1e6 / passed_s, share=(time.process_time() - cpu) / passed_s)


BENCHMARK = Benchmark(name=BenchmarkName.CPU, method_version=METHOD, deadline_s=40.0, run=run)
