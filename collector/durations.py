"""How long something took, many times over: counts by upper bound, for a histogram."""

from bisect import bisect_left
from itertools import accumulate

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of a transaction's length, from a read by key to the longest wait for a lock."""


class Durations:
    """Counts lengths of time, in seconds. Only the event loop's thread touches it."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self.total_s = 0.0

    def observe(self, took_s: float) -> None:
        """Count one."""
        self._counts[bisect_left(BOUNDS_S, took_s)] += 1
        self.total_s += took_s

    def buckets(self) -> list[tuple[str, int]]:
        """Return how many took at most each bound, the last without one ("+Inf")."""
        return list(zip([*map(str, BOUNDS_S), "+Inf"], accumulate(self._counts), strict=True))
