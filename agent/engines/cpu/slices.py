"""Which slices count, and what they make: no I/O, no clock."""

from collections.abc import Sequence
from statistics import geometric_mean, median

from msgspec import Struct

SLICE_S = 0.05
"""Longer than a scheduler tick, so that losing the CPU shows in its share."""
CLEAN_SHARE = 0.97
"""A slice counts if its process had the CPU for at least this share of it."""
NEEDED = 10
"""Clean slices of a process without which there is no figure: the least for a median worth anything."""
UNIT_THREADS, UNIT_POINTS = 8, 1000
"""So many threads, each at the kernels' reference rates, have so many points."""


class Slice(Struct, frozen=True, array_like=True):
    """
    One slice of one process.

    Attributes:
        rate: Work a second of wall time, in the kernel's unit.
        share: How much of that time the process had a CPU, 0 to 1.
    """

    rate: float
    share: float


class Rates(Struct, frozen=True, kw_only=True):
    """
    What one kernel's slices make, over all processes.

    Attributes:
        total: The sum of the processes' rates, each the median of its clean slices.
        least: The same sum of each one's slowest clean slice.
        most: The same sum of each one's fastest.
        lowest: The slowest process's rate.
        highest: The fastest process's.
    """

    total: float
    least: float
    most: float
    lowest: float
    highest: float


def is_clean(one: Slice) -> bool:
    """Return whether nothing else had the process's CPU."""
    return one.share >= CLEAN_SHARE


def clean(slices: Sequence[Slice]) -> list[float]:
    """Return the rates of the slices that count."""
    return [one.rate for one in slices if is_clean(one)]


def rates(processes: Sequence[Sequence[Slice]]) -> Rates | None:
    """Return what the slices make; None where a process has too few clean ones: a sum over some would be wrong."""
    counted = [clean(one) for one in processes]
    if not counted or min(map(len, counted)) < NEEDED:
        return None
    medians = [median(one) for one in counted]
    return Rates(
        total=sum(medians),
        least=sum(map(min, counted)),
        most=sum(map(max, counted)),
        lowest=min(medians),
        highest=max(medians),
    )


def mean_share(processes: Sequence[Sequence[Slice]]) -> float:
    """Return how much of the time the processes had their CPUs, 0 to 1."""
    shares = [one.share for many in processes for one in many]
    return sum(shares) / len(shares) if shares else 0.0


def points(totals: Sequence[float], references: Sequence[float]) -> float:
    """
    Return the score, with two decimals.

    Args:
        totals: Each kernel's rate, over all the threads that are to be counted.
        references: One thread's reference rate for each.

    Returns:
        1000 x the geometric mean of total / (8 x reference).
    """
    ratios = [total / (UNIT_THREADS * one) for total, one in zip(totals, references, strict=True)]
    return round(UNIT_POINTS * geometric_mean(ratios), 2)


def least_disturbed(processes: Sequence[Sequence[Slice]], among: Sequence[int]) -> int:
    """Return which of some processes, by their places, had the CPU most; the first of equals."""
    return max(among, key=lambda place: (mean_share([processes[place]]), -place))
