"""The benchmarks' pure parts: how large a file may be, what a figure is."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.benchmarking import Line, figures
from agent.benchmarks.disk import (
    BLOCK,
    LEAST_BYTES,
    QUICK_BYTES,
    RESERVE_BYTES,
    SLICE_S,
    Phase,
    file_system,
    rate_mb_s,
    size_for,
    slices,
)
from shared.codes import Code, Trouble
from shared.documents import BenchmarkName, Component


@given(st.integers(0, 2**45), st.integers(0, 2**46), st.booleans())
def test_a_benchmark_never_fills_a_disk(free, total, quick):
    """A twentieth of what is free, never into the reserve, in whole blocks; or a refusal."""
    try:
        size = size_for(free, total, quick=quick)
    except Trouble as trouble:
        assert trouble.code is Code.NO_SPACE
        return
    assert LEAST_BYTES <= size <= free * 0.05
    assert free - size >= RESERVE_BYTES
    assert size % BLOCK == 0
    assert not quick or size <= QUICK_BYTES


@given(st.lists(st.floats(0, 20), min_size=1, max_size=200))
def test_slices_count_each_block_at_most_once(moments):
    """Their sum is never more than what was moved."""
    counted = sum(round(one * 1e6 * SLICE_S / BLOCK) for one in slices(moments, 0.0))
    assert counted <= len(moments)


def test_a_short_phase_uses_all_of_its_time():
    """Fewer than three full slices: bytes over seconds."""
    phase = Phase(asked_bytes=50_000_000, passed_s=0.5, slices_mb_s=(80.0,), device_share=1.0)
    assert rate_mb_s(phase) == 100.0
    longer = Phase(asked_bytes=1, passed_s=9.0, slices_mb_s=(1.0, 90.0, 80.0), device_share=1.0)
    assert rate_mb_s(longer) == 80.0


def test_the_file_system_is_found_by_its_device():
    """Optional fields before the dash vary in number."""
    text = "22 1 0:21 / /proc rw - proc proc rw\n30 1 8:1 / / rw shared:1 master:2 - ext4 /dev/sda1 rw\n"
    assert file_system(text, "8:1") == "ext4"
    assert file_system(text, "9:9") == ""


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
