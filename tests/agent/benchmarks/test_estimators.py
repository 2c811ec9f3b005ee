"""The benchmarks' pure parts: which slices count, what a quota means."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.benchmarking import Line, figures
from agent.benchmarks import Unmeasured
from agent.benchmarks.cpu import CLEAN_SHARE, NEEDED, Slice, clean_rate, judged, parse_cpu_max, usable_cpus
from shared.codes import Code
from shared.documents import BenchmarkName, Component
from shared.marks import Mark

clean = st.builds(Slice, st.floats(1, 1e4), st.floats(CLEAN_SHARE, 1))
dirty = st.builds(Slice, st.floats(0, 1e5), st.floats(0, CLEAN_SHARE, exclude_max=True))


@given(st.lists(clean, min_size=NEEDED, max_size=30), st.lists(dirty, max_size=30), st.randoms())
def test_disturbed_slices_do_not_move_the_rate(good, bad, dice):
    """However many slices a neighbour spoiled, the figure is that of the others."""
    mixed = good + bad
    dice.shuffle(mixed)
    assert clean_rate(mixed) == clean_rate(good)
    assert min(one.mb_s for one in good) <= clean_rate(good) <= max(one.mb_s for one in good)


@given(st.lists(clean, max_size=NEEDED - 1), st.lists(dirty, max_size=30))
def test_too_few_clean_slices_give_no_rate(good, bad):
    """A median of a handful is no figure."""
    assert clean_rate(good + bad) is None


def test_one_disturbed_process_spoils_the_score_and_says_so():
    """A sum over some of the CPUs would be a wrong figure, not a lower one."""
    quiet, busy = [Slice(100.0, 1.0)] * 20, [Slice(100.0, 0.5)] * 20
    with pytest.raises(Unmeasured, match="20 of 40 slices") as told:
        judged(quiet, [quiet, busy])
    assert (told.value.code, told.value.marks) == (Code.DISTURBED, (Mark.DISTURBED,))


def test_the_score_is_the_sum_over_all_processes():
    """Two CPUs of 895 MB/s are the reference of 1,790 MB/s: 1000 points."""
    quiet = [Slice(895.0, 1.0)] * 20
    assert judged(quiet, [quiet, quiet]).figures == {"cpu_score": 1000.0}


@pytest.mark.parametrize(
    ("text", "quota"), [("max 100000", None), ("150000 100000\n", 1.5), ("", None), ("x 1", None), ("1 0", None)]
)
def test_a_cgroups_quota_in_cpus(text, quota):
    """As cpu.max writes it; nonsense is no limit."""
    assert parse_cpu_max(text) == quota


@pytest.mark.parametrize(
    ("affinity", "quota", "expected"),
    [((0, 1, 2, 3), None, 4), ((0, 1, 2, 3), 2.5, 2), ((5,), 8.0, 1), ((0, 1), 0.2, 1)],
)
def test_no_more_cpus_are_used_than_are_paid_for(affinity, quota, expected):
    """A quota of half a CPU still runs one process."""
    assert len(usable_cpus(affinity, quota)) == expected


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
