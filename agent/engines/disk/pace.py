"""Which block is next, how many were moved in each slice of time, and how long they took."""

import math
import random
import time
from collections.abc import Iterator, Sequence

from agent.engines.disk import SLICE_S, Job, Moved, Tell

PERCENTILES = {"p50": 0.50, "p99": 0.99, "p99_9": 0.999}


def offsets(job: Job) -> Iterator[int]:
    """Return where each block of a job lies, in bytes from the file's start."""
    blocks = job.size_bytes // job.block_bytes
    dice = random.Random()  # noqa: S311 - an even spread over the file is all it is for
    for number in range(job.most_bytes // job.block_bytes):
        yield (int(dice.random() * blocks) if job.random else number % blocks) * job.block_bytes


def percentiles(latencies_s: Sequence[float]) -> dict[str, float]:
    """Return latencies in microseconds by percentile: the least one that this share of all does not exceed."""
    ordered = sorted(latencies_s)
    if not ordered:
        return {}
    ranks = {name: math.ceil(share * len(ordered)) - 1 for name, share in PERCENTILES.items()}
    return {name: round(ordered[rank] * 1e6, 1) for name, rank in ranks.items()}


class Meter:
    """
    Counts what one job moves, from the moment it is made. Not for several threads at once.

    Args:
        job: The job.
        tell: Told once a slice.
    """

    def __init__(self, job: Job, tell: Tell) -> None:
        self._job = job
        self._tell = tell
        self._slices = [0] * (int(job.limit_s / SLICE_S) + 1)
        self._told = 0
        self._latencies_s: list[float] = []
        self._total_bytes = 0
        self._began_s = self._last_s = time.perf_counter()

    def is_over(self) -> bool:
        """Return whether the job's time is up."""
        return time.perf_counter() - self._began_s >= self._job.limit_s

    def add(self, blocks: int) -> None:
        """Count blocks that are done by now."""
        self._last_s = time.perf_counter()
        number = int((self._last_s - self._began_s) / SLICE_S)
        self._total_bytes += blocks * self._job.block_bytes
        if number < len(self._slices):
            self._slices[number] += blocks * self._job.block_bytes
        if number > self._told:
            self._told = number
            self._tell(self._total_bytes)

    def add_latency(self, passed_s: float) -> None:
        """Note how long one block took."""
        self._latencies_s.append(passed_s)

    def moved(self) -> Moved:
        """Return what was counted; the slice in which the job's time or its bytes ran out is left out of the series."""
        passed_s = self._last_s - self._began_s
        full = int(min(passed_s, self._job.limit_s) / SLICE_S)
        return Moved(
            total_bytes=self._total_bytes,
            passed_s=passed_s,
            series_mb_s=tuple(one / 1e6 / SLICE_S for one in self._slices[:full]),
            latency_us=percentiles(self._latencies_s),
        )
