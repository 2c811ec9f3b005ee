"""
Whether a benchmark can be true: pure rules, each a function that yields flags; an admin decides, never a rule.

A rule is silent about what the details do not tell. Thresholds stand beside their rule, with the reason.
"""

from collections import Counter

from msgspec import structs

from collector.benchmarks.comparison import Point
from collector.benchmarks.plausibility import disk, fleet, gpu, network, timing
from collector.benchmarks.plausibility.seen import COMPARED, Context, Rule, Seen, amount, flag
from shared.documents import BenchmarkName, BenchmarkOutcome, Component
from shared.flags import Flag, FlagCode
from shared.records import FIGURES

CEILINGS = {
    "gpu_throughput_fp16": 1e5,
    "gpu_throughput_fp32": 1e5,
    "cpu_score": 1e7,
    "disk_read_mb_s": 1e6,
    "disk_write_mb_s": 1e6,
    "network_bandwidth_gbps": 1e4,
}
"""In each figure's unit: at least ten times what the largest machine of this decade does. More is no measurement."""

FIGURE_NAMES = tuple(COMPARED)
"""Figures that are compared: the record's, and one thread's score."""

MOST_ALIKE = 8
"""Flags of one code about one figure: 64 GPUs can raise many, and must not push those of other rules out."""


def owns(component: BenchmarkName, figure: str) -> bool:
    """Return whether a figure is this component's to measure: it is called after it."""
    return figure.startswith(f"{component}_")


def _explained(seen: Seen) -> list[Flag]:
    """See that the record's figures are those of its components."""
    measured = {
        name: value for part in seen.parts.values() for name, value in part.figures.items() if owns(part.name, name)
    }
    told = {name: getattr(seen.outcome, name) for name in FIGURES}
    return [
        flag(FlagCode.UNEXPLAINED, f"{amount(value, name)}; its component: {measured.get(name)}", name)
        for name, value in told.items()
        if value is not None and value != measured.get(name)
    ]


RULES: tuple[Rule, ...] = (
    _explained,
    timing.order,
    timing.duration,
    gpu.bound,
    gpu.name,
    gpu.ratio,
    gpu.total,
    gpu.record,
    gpu.elsewhere,
    disk.link,
    disk.platters,
    disk.memory,
    disk.proof,
    disk.data,
    network.link,
    network.witness,
    fleet.single,
    fleet.threads,
    fleet.outlier,
    fleet.jump,
    fleet.replay,
    timing.challenge,
)
"""Every rule, in the order in which its flags are shown."""


def judge(outcome: BenchmarkOutcome, points: tuple[Point, ...], context: Context) -> tuple[Flag, ...]:
    """
    Return what is odd about a benchmark.

    Args:
        outcome: What the machine says, without absurd figures.
        points: Its figures.
        context: What is known beside it.
    """
    seen = Seen(outcome, points, context)
    alike: Counter[tuple[FlagCode, str | None, bool]] = Counter()
    kept = []
    for one in (one for rule in RULES for one in rule(seen)):
        kind = (one.code, one.figure, one.shadow)
        alike[kind] += 1
        if alike[kind] <= MOST_ALIKE:
            kept.append(one)
    return tuple(kept)


def without_absurd(outcome: BenchmarkOutcome) -> tuple[BenchmarkOutcome, tuple[Flag, ...]]:
    """Return an outcome in which figures beyond any hardware are null, and a flag with the number for each of them."""
    absurd = [name for name in FIGURES if (getattr(outcome, name) or 0.0) > CEILINGS[name]]
    flags = tuple(
        flag(
            FlagCode.ABSURD,
            f"{getattr(outcome, name):.6g}; {amount(CEILINGS[name], name)} is beyond any hardware",
            name,
        )
        for name in absurd
    )
    components = tuple(_measured(one) for one in outcome.components)
    return structs.replace(outcome, components=components, **dict.fromkeys(absurd)), flags


def _measured(component: Component) -> Component:
    absurd = {name: value for name, value in component.figures.items() if value > CEILINGS.get(name, 1e9)}
    if not absurd:
        return component
    words = "; ".join(f"{name} = {value:.6g} is beyond any hardware" for name, value in absurd.items())
    kept = {name: value for name, value in component.figures.items() if name not in absurd}
    return structs.replace(component, figures=kept, code=component.code or FlagCode.ABSURD, reason=words[:300])


__all__ = ["CEILINGS", "FIGURE_NAMES", "RULES", "Context", "judge", "owns", "without_absurd"]
