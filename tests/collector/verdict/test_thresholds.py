"""The thresholds as data: complete, and about readings that exist."""

import pytest

import agent.indicators
from agent.indicators import Indicator
from agent.plugins import load
from collector.verdict import own
from collector.verdict.thresholds import THRESHOLDS, parse

TOLD = {one.name: set(one.describes) for one in load(agent.indicators, "INDICATOR", Indicator)}
TOLD[own.NAME] = set(own.DESCRIBES)


def named() -> set[str]:
    readings = {f"{one.indicator}.{one.reading}" for one in THRESHOLDS}
    readings |= {f"{one.indicator}.{one.other}" for one in THRESHOLDS if one.other}
    return readings | {f"{one.indicator}.{one.busy}" for one in THRESHOLDS if one.busy}


def test_every_reading_that_is_judged_is_one_that_an_indicator_tells() -> None:
    """A threshold for a reading that nobody sends would stay silent for ever."""
    there = {f"{indicator}.{reading}" for indicator, readings in TOLD.items() for reading in readings}
    assert named() - there == set()


GOOD = """
[[threshold]]
code = "a"
indicator = "cpu"
reading = "x"
test = "above"
degraded = 1
words = "w"
remedy = "r"
source = "s"
"""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("degraded = 1", ""), "needs a limit"),
        (("degraded = 1", 'degraded = 1\nstate = "degraded"'), "needs a state, or must have none"),
        (('"above"', '"grown"'), "needs a window"),
        (('"above"', '"short"'), "needs another reading"),
        (('"above"', '"sideways"'), "sideways"),
        (('source = "s"', 'source = ""'), "a source"),
        (("degraded = 1", "degraded = 1\ngone_s = 1"), "gone"),
        (("degraded = 1", "degradet = 1"), "degradet"),
        (("[[threshold]]", GOOD + "[[threshold]]"), "told twice: a"),
    ],
)
def test_an_entry_that_cannot_be_judged_is_refused(change, words) -> None:
    """The words name what is wrong."""
    assert [one.code for one in parse(GOOD)] == ["a"]
    with pytest.raises(ValueError, match=words):
        parse(GOOD.replace(*change))
