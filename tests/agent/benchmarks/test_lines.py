"""What a benchmark's process says, as the agent reads it: figures, and nonsense."""

import json

import msgspec
import pytest

from agent.benchmarking import Line, figures
from shared.documents import BenchmarkName, Component


def test_a_figure_that_was_not_measured_is_null():
    """Never 0."""
    components = (Component(name=BenchmarkName.CPU, method_version="x", figures={"cpu_score": 1.5}),)
    found = figures(components)
    assert found["cpu_score"] == 1.5
    assert {value for name, value in found.items() if name != "cpu_score"} == {None}


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "-1.0", "1e999", '"5"', "true"])
def test_nonsense_is_no_figure(word):
    """What a child prints is read strictly: NaN, infinity, negative numbers and text end there."""
    component = {"name": "cpu", "method_version": "x", "figures": {"cpu_score": 1.25}}
    raw = json.dumps({"component": component}).replace("1.25", word)
    with pytest.raises(msgspec.MsgspecError):
        msgspec.json.decode(raw, type=Line)
