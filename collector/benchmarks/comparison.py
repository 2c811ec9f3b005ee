"""Comparing figures: with the same model's in the fleet, with a machine's own before. Pure; never across versions."""

import statistics
from collections.abc import Iterable, Sequence
from datetime import datetime

from msgspec import Struct

FEWEST_PEERS = 8
"""Below this many machines of a model a median says nothing about who is odd."""
FLOOR = 0.01
"""Least scale of a robust z, as a share of the median: machines that agree within it are not told apart."""
LONG_DIGITS = 6
"""Significant digits by which another machine's figure is known again: in a large fleet shorter ones meet by chance."""


class Point(Struct, frozen=True, kw_only=True):
    """
    One measured figure of one benchmark.

    Attributes:
        benchmark_id: Whose.
        hardware_id: Of which machine.
        figure: A benchmark's attribute, or "cpu_score_single".
        value: In the figure's unit.
        model: What was measured, the machine's word for its CPU, GPUs, disk or link; "" when it is not known.
        method_version: Figures of two versions are never compared.
        received_at: By the collector's clock.
        unmarked: Its component bears no mark.
        counts: It is compared with others: unmarked and not flagged, or approved by an admin all the same.
        least: Of its slices, where that is known.
        most: Of its slices.
    """

    benchmark_id: str
    hardware_id: str
    figure: str
    value: float
    model: str
    method_version: str
    received_at: datetime
    unmarked: bool
    counts: bool
    least: float | None = None
    most: float | None = None

    @property
    def digits(self) -> str:
        """The value to six significant digits, without zeros at the end."""
        mantissa, _, exponent = f"{self.value:.5e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"

    @property
    def significant(self) -> int:
        """How many significant digits the value has, six at the most."""
        return sum(sign.isdigit() for sign in self.digits.partition("e")[0])


class Standing(Struct, frozen=True, kw_only=True):
    """
    Where a figure stands among the same model's.

    `n`: machines compared, this one too, each by its newest figure. `percentile`: 0 to 100, the share of them below it,
    those equal to it counting half; null when it is alone.
    """

    figure: str
    value: float
    model: str
    method_version: str
    n: int
    percentile: float | None
    median: float | None


class Difference(Struct, frozen=True, kw_only=True):
    """
    One figure in two runs. `percent`: change from `before` to `after`; null across versions and from 0.

    `beyond_spread`: no slice of one run was as fast as any of the other; null where a run's spread is not known.
    """

    figure: str
    before: float
    after: float
    percent: float | None
    beyond_spread: bool | None
    reason: str | None = None


class Month(Struct, frozen=True, kw_only=True):
    """One month of a machine's figures in one method version. `percent`: of the median, since the first month."""

    month: str
    method_version: str
    n: int
    median: float
    percent: float | None


def newest(points: Iterable[Point]) -> list[Point]:
    """Return each machine's newest point. `points`: newest first."""
    found: dict[str, Point] = {}
    for one in points:
        found.setdefault(one.hardware_id, one)
    return list(found.values())


def robust_z(value: float, others: Sequence[float]) -> float | None:
    """
    Return how far a value is from others, in robust standard deviations; None when they are too few.

    Source: Iglewicz and Hoaglin, "How to Detect and Handle Outliers", 1993; 1.4826 makes the median absolute deviation
    a standard deviation for normal data.
    """
    if len(others) < FEWEST_PEERS:
        return None
    middle = statistics.median(others)
    scale = max(1.4826 * statistics.median(abs(one - middle) for one in others), FLOOR * middle)
    return abs(value - middle) / scale if scale > 0 else None


def standing(point: Point, others: Sequence[float]) -> Standing:
    """Return where a point stands among other machines' values."""
    below = sum(one < point.value for one in others) + (sum(one == point.value for one in others) + 1) / 2
    n = len(others) + 1
    return Standing(
        figure=point.figure,
        value=point.value,
        model=point.model,
        method_version=point.method_version,
        n=n,
        percentile=round(100 * below / n, 1) if others else None,
        median=statistics.median(others) if others else None,
    )


def differences(before: Iterable[Point], after: Iterable[Point]) -> tuple[Difference, ...]:
    """Compare the figures that two runs have in common."""
    earlier = {one.figure: one for one in before}
    return tuple(_difference(earlier[one.figure], one) for one in after if one.figure in earlier)


def _difference(before: Point, after: Point) -> Difference:
    reason = None
    if before.method_version != after.method_version:
        reason = f"{before.method_version} and {after.method_version} are not compared"
    comparable = reason is None
    return Difference(
        figure=after.figure,
        before=before.value,
        after=after.value,
        percent=change_percent(before.value, after.value) if comparable else None,
        beyond_spread=_apart(before, after) if comparable else None,
        reason=reason,
    )


def change_percent(before: float, after: float) -> float | None:
    """Return the change in percent of the first; None from 0."""
    return round(100 * (after / before - 1), 2) if before > 0 else None


def _apart(one: Point, other: Point) -> bool | None:
    if one.least is None or one.most is None or other.least is None or other.most is None:
        return None
    return one.most < other.least or other.most < one.least


def trend(points: Iterable[Point]) -> tuple[Month, ...]:
    """Return the months of one figure's unmarked points, oldest first; each version has a first month of its own."""
    by_month: dict[tuple[str, str], list[float]] = {}
    for one in points:
        if one.unmarked:
            by_month.setdefault((one.method_version, one.received_at.strftime("%Y-%m")), []).append(one.value)
    medians = {key: statistics.median(values) for key, values in sorted(by_month.items())}
    first: dict[str, float] = {}
    for (method_version, _), median in medians.items():
        first.setdefault(method_version, median)
    made = [
        Month(
            month=month,
            method_version=method_version,
            n=len(by_month[method_version, month]),
            median=median,
            percent=change_percent(first[method_version], median),
        )
        for (method_version, month), median in medians.items()
    ]
    return tuple(sorted(made, key=lambda one: (one.month, one.method_version)))
