"""Figures against the fleet's and against the machine's own."""

import statistics
from collections.abc import Iterator

from collector.benchmarks.comparison import FEWEST_PEERS, LONG_DIGITS, Point, robust_z
from collector.benchmarks.plausibility.seen import Seen, amount, flag
from shared.flags import Flag, FlagCode

MOST_Z = 4.0
SINGLE_WITHIN = 0.15
"""One thread of one CPU model: cooling and memory move it by less than this."""
THREADS_OVER = 1.05
MOST_JUMP = 0.25
OWN_DIGITS = 4
"""Significant digits that must agree, in two figures at once, for a replay of a machine's own benchmark."""


def single(seen: Seen) -> Iterator[Flag]:
    """See that one thread is as fast as the model's elsewhere."""
    peers, value = seen.context.peers.get("cpu_score_single", ()), seen.cpu.single
    if value is None or len(peers) < FEWEST_PEERS:
        return
    usual = statistics.median(peers)
    if abs(value - usual) > SINGLE_WITHIN * usual:
        words = f"one thread: {value:,.6g} points; the median of {len(peers)} machines with this CPU is {usual:,.6g}"
        yield flag(FlagCode.OFF_MODEL, words, "cpu_score")


def threads(seen: Seen) -> Iterator[Flag]:
    """See that all threads are not more than so many times one."""
    value, one, count = seen.outcome.cpu_score, seen.cpu.single, seen.cpu.threads
    if value is not None and one and count and value > one * count * THREADS_OVER:
        words = f"{value:,.6g} points together, {one:,.6g} alone: {value / one:.1f} x with {count:.0f} threads"
        yield flag(FlagCode.OVER_THREADS, words, "cpu_score")


def outlier(seen: Seen) -> Iterator[Flag]:
    """See that a figure is among its model's."""
    for point in seen.points:
        peers = seen.context.peers.get(point.figure, ())
        z = robust_z(point.value, peers)
        if z is not None and z > MOST_Z and point.figure != "cpu_score_single":
            usual = amount(statistics.median(peers), point.figure)
            words = f"{amount(point.value, point.figure)}, z = {z:.1f}; the median of {len(peers)} machines is {usual}"
            yield flag(FlagCode.OUTLIER, words, point.figure)


def jump(seen: Seen) -> Iterator[Flag]:
    """See that a figure is near the machine's own before, where the hardware is the same."""
    for point in seen.points:
        before = next((one for one in seen.context.own if one.counts and _same_thing(one, point)), None)
        if before is None or not point.unmarked or before.value <= 0:
            continue
        change = point.value / before.value - 1
        if abs(change) > MOST_JUMP:
            words = f"{amount(point.value, point.figure)} after {amount(before.value, point.figure)}: {change:+.0%}"
            yield flag(FlagCode.JUMP, words, _attribute(point.figure))


def replay(seen: Seen) -> Iterator[Flag]:
    """See that the figures are not an earlier benchmark's, digit for digit."""
    told = {one.figure: one for one in seen.points}
    found: dict[tuple[str, str], list[str]] = {}
    for twins, least in ((seen.context.own, OWN_DIGITS), (seen.context.twins, LONG_DIGITS)):
        for one in twins:
            same = told.get(one.figure)
            if same is not None and same.digits == one.digits and one.significant >= least:
                found.setdefault((one.benchmark_id, one.hardware_id), []).append(one.figure)
    for (benchmark_id, hardware_id), figures in sorted(found.items()):
        if len(figures) >= 2:
            words = f"{' and '.join(sorted(figures)[:3])} are those of {benchmark_id} of {hardware_id}"
            yield flag(FlagCode.REPLAYED, words)
            return


def _same_thing(one: Point, other: Point) -> bool:
    return (one.figure, one.model, one.method_version) == (other.figure, other.model, other.method_version)


def _attribute(figure: str) -> str:
    return "cpu_score" if figure == "cpu_score_single" else figure
