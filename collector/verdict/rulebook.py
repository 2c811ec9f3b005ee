"""The rules of all thresholds, made once, by the indicator that they are about."""

from collections.abc import Callable, Iterable, Mapping

from collector.verdict import growth, levels
from collector.verdict.sightings import Rule
from collector.verdict.thresholds import THRESHOLDS, Test, Threshold

MAKERS: Mapping[Test, Callable[[Threshold], Rule]] = {
    Test.ABOVE: levels.above,
    Test.BELOW: levels.below,
    Test.BEYOND: levels.beyond,
    Test.TRUE: levels.true,
    Test.FALSE: levels.false,
    Test.TEXT: levels.text,
    Test.SHORT: levels.short,
    Test.SHARE: levels.share,
    Test.FALLEN: levels.fallen,
    Test.GROWN: growth.grown,
    Test.LASTING: growth.lasting,
    Test.TOLD: levels.told,
}

Rulebook = Mapping[str, tuple[tuple[Threshold, Rule], ...]]
"""By indicator: its thresholds with their rules."""


def rulebook(thresholds: Iterable[Threshold]) -> Rulebook:
    """Make the rules of some thresholds."""
    made: dict[str, list[tuple[Threshold, Rule]]] = {}
    for one in thresholds:
        made.setdefault(one.indicator, []).append((one, MAKERS[one.test](one)))
    return {indicator: tuple(rules) for indicator, rules in made.items()}


RULES = rulebook(THRESHOLDS)
BY_CODE = {one.code: one for one in THRESHOLDS}
