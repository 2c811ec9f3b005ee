"""Comparing figures: medians that one liar does not move, percentiles with their n, never across method versions."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from collector.benchmarks.comparison import Point, differences, newest, robust_z, standing, trend
from tests.collector.known import NOW

POINT = Point(
    benchmark_id="bmk_1",
    hardware_id="hw_1",
    figure="cpu_score",
    value=1000.0,
    model="AMD EPYC 9354",
    method_version="cpu/1",
    received_at=NOW,
    unmarked=True,
    counts=True,
    least=990.0,
    most=1010.0,
)


def changed(**changes) -> Point:
    return structs.replace(POINT, **changes)


@pytest.mark.parametrize(
    ("value", "digits", "significant"),
    [
        (8123.45, "8.12345e3", 6),
        (8123.4512, "8.12345e3", 6),
        (8123.45999, "8.12346e3", 6),
        (9.3, "9.3e0", 2),
        (100.0, "1e2", 1),
        (0.00123456, "1.23456e-3", 6),
        (0.0, "0e0", 1),
    ],
)
def test_digits_are_six_at_the_most_and_without_zeros_at_the_end(value, digits, significant):
    """So that a rounded figure is known to have few."""
    point = changed(value=value)
    assert (point.digits, point.significant) == (digits, significant)


def test_a_robust_z_is_not_moved_by_liars():
    """Two of ten machines say ten times the truth; the truth is still the median, and they are far from it."""
    others = [1000.0, 1010.0, 990.0, 1005.0, 995.0, 1002.0, 998.0, 1008.0, 10_000.0, 10_000.0]
    assert robust_z(10_000.0, others) > 100
    assert robust_z(1004.0, others) < 1
    assert robust_z(1004.0, others[:7]) is None


def test_machines_that_agree_to_the_last_digit_make_nobody_odd_for_a_trifle():
    """A deviation of nothing would make every difference infinite."""
    assert robust_z(1030.0, [1000.0] * 8) == pytest.approx(3.0)
    assert robust_z(0.0, [0.0] * 8) is None


def test_a_percentile_comes_with_its_n():
    """Third of four: two below, itself half."""
    stand = standing(POINT, (800.0, 900.0, 1100.0))
    assert (stand.n, stand.percentile, stand.median) == (4, 62.5, 900.0)
    alone = standing(POINT, ())
    assert (alone.n, alone.percentile, alone.median) == (1, None, None)


@given(st.floats(0, 1e6), st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_a_percentile_is_one(value, others):
    """Between 0 and 100, whatever is compared."""
    percentile = standing(changed(value=value), others).percentile
    assert percentile is not None
    assert 0 <= percentile <= 100


@pytest.mark.parametrize(
    ("after", "percent", "beyond"),
    [
        ({"value": 1100.0, "least": 1090.0, "most": 1110.0}, 10.0, True),
        ({"value": 1005.0, "least": 985.0, "most": 1020.0}, 0.5, False),
        ({"value": 900.0, "least": 880.0, "most": 989.0}, -10.0, True),
        ({"value": 900.0, "least": None, "most": None}, -10.0, None),
    ],
)
def test_two_runs_differ_by_percent_and_beyond_their_spread_or_not(after, percent, beyond):
    """Beyond it when not one slice of one was as fast as any of the other."""
    (found,) = differences([POINT], [changed(**after)])
    assert (found.percent, found.beyond_spread, found.reason) == (percent, beyond, None)


def test_two_method_versions_are_not_compared():
    """The values are told, the difference is not."""
    (found,) = differences([POINT], [changed(value=500.0, method_version="cpu/2")])
    assert (found.before, found.after, found.percent, found.beyond_spread) == (1000.0, 500.0, None, None)
    assert found.reason == "cpu/1 and cpu/2 are not compared"
    assert differences([POINT], [changed(figure="disk_read_mb_s")]) == ()


def test_each_machine_is_compared_by_its_newest():
    """Whatever it said before."""
    old = changed(value=1.0, received_at=NOW - timedelta(days=1))
    assert newest([POINT, changed(hardware_id="hw_2"), old]) == [POINT, changed(hardware_id="hw_2")]


def test_months_have_a_median_and_their_change_since_the_first():
    """Marked points are left out; another version begins anew."""
    may, june = NOW, NOW + timedelta(days=31)
    points = [
        changed(value=1100.0, received_at=june),
        changed(value=1020.0, received_at=may),
        changed(value=980.0, received_at=may),
        changed(value=5.0, received_at=may, unmarked=False),
        changed(value=500.0, received_at=june, method_version="cpu/2"),
    ]
    found = [(one.month, one.method_version, one.n, one.median, one.percent) for one in trend(points)]
    assert found == [
        ("2026-05", "cpu/1", 2, 1000.0, 0.0),
        ("2026-06", "cpu/1", 1, 1100.0, 10.0),
        ("2026-06", "cpu/2", 1, 500.0, 0.0),
    ]
