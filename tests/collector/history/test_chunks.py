"""Frames and chunks: what goes in comes out, and an outlier is never averaged away."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.history import chunk
from collector.history.frame import EMPTY, Frame, between, fold, merged, of_reports, split
from collector.history.series import MOST_SERIES
from shared.codes import Code, Trouble

MINUTE = 60_000
HOUR = 60 * MINUTE
START = 1_777_636_800_000  # 2026-05-01T12:00:00Z


def same(one: Frame, other: Frame) -> bool:
    equal = one.names == other.names and np.array_equal(one.times, other.times)
    equal = equal and np.array_equal(one.count, other.count)
    return equal and all(
        np.array_equal(getattr(one, part), getattr(other, part), equal_nan=True) for part in ("low", "mean", "high")
    )


numbers = st.one_of(
    st.integers(-(2**62), 2**62).map(float),
    st.decimals(-(10**6), 10**6, places=2).map(float),
    st.floats(allow_nan=False, allow_infinity=False, min_value=-1e299, max_value=1e299),
    st.sampled_from([0.0, -0.0, 1.0, 0.1, 1 / 3, 2.0**53 + 2, 1e18]),
)
rows = st.lists(
    st.dictionaries(st.sampled_from(["a.b", "a.c[x]", "a.c[y]", "d.e[[1],2]", "f.g"]), numbers, max_size=5), max_size=30
)


@settings(max_examples=200)
@given(rows, st.integers(1, 10**6))
def test_every_number_of_every_report_comes_back_bit_by_bit(reports, step):
    """Whole numbers, decimals, and whatever else a float can be."""
    frame, _ = of_reports([START + step * at for at in range(len(reports))], reports)
    found = chunk.decode(chunk.encode(frame, {"ob": [(1, 3)]}))
    assert same(found.frame, frame if len(frame.times) else EMPTY)
    assert found.covered == {"ob": [(1, 3)]}


@settings(max_examples=200)
@given(rows)
def test_a_bucket_has_the_least_and_the_greatest_of_its_reports_exactly(reports):
    """Also after it was kept; its mean lies between them."""
    frame, _ = of_reports([START + 7_000 * at for at in range(len(reports))], reports)
    found = chunk.decode(chunk.encode(fold(frame, MINUTE), {})).frame
    for series, name in enumerate(found.names):
        for moment, start in enumerate(found.times.tolist()):
            values = [
                one[name]
                for at, one in enumerate(reports)
                if name in one and start <= START + 7_000 * at < start + MINUTE
            ]
            assert found.count[series, moment] == len(values)
            if values:
                assert (found.low[series, moment], found.high[series, moment]) == (min(values), max(values))
            else:
                assert math.isnan(found.mean[series, moment])


def usual(hours: int = 1, seed: int = 1) -> Frame:
    dice = random.Random(seed)
    times = [START + 15_000 * at + dice.randrange(5_000) for at in range(240 * hours)]
    made = [{"cpu.use_percent": round(dice.uniform(0, 100), 1), "memory.total_bytes": 2.0**36} for _ in times]
    return of_reports(times, made)[0]


def test_the_mean_is_kept_to_two_places_more_than_the_readings():
    """Half a hundredth of the reading's last place is what the mean may lose."""
    frame = fold(usual(), MINUTE)
    found = chunk.decode(chunk.encode(frame, {})).frame
    assert np.abs(found.mean - frame.mean).max() <= 0.0005 + 1e-9
    assert np.all((found.low <= found.mean) & (found.mean <= found.high))


def test_buckets_of_buckets_are_buckets_of_the_reports():
    """A quarter of an hour made of minutes is the one made of the reports."""
    frame = usual(3)
    direct, in_steps = fold(frame, 15 * MINUTE), fold(fold(frame, MINUTE), 15 * MINUTE)
    assert np.array_equal(direct.count, in_steps.count)
    assert np.array_equal(direct.low, in_steps.low)
    assert np.array_equal(direct.high, in_steps.high)
    assert np.allclose(direct.mean, in_steps.mean, rtol=1e-12)


def test_what_comes_late_is_merged_as_if_it_had_come_in_time():
    """In any order, with series of its own, into the same minute."""
    times = [START + 10_000 * at for at in range(60)]
    made = [{"a.b": float(at), "late.one" if at % 3 else "a.c": at / 10} for at in range(60)]
    whole = fold(of_reports(times, made)[0], MINUTE)
    late = [at for at in range(60) if at % 4 == 1]
    first = of_reports(
        [times[at] for at in range(60) if at not in late], [made[at] for at in range(60) if at not in late]
    )
    second = of_reports([times[at] for at in late], [made[at] for at in late])
    found = merged([fold(first[0], MINUTE), fold(second[0], MINUTE)])
    assert found.names == whole.names
    assert np.array_equal(found.count, whole.count)
    assert np.array_equal(found.low, whole.low, equal_nan=True)
    assert np.allclose(found.mean, whole.mean, equal_nan=True)


def test_a_frame_is_split_where_its_spans_begin_and_nothing_is_lost():
    """The pieces together are the whole."""
    frame = usual(3)
    pieces = dict(split(frame, HOUR))
    assert list(pieces) == [START, START + HOUR, START + 2 * HOUR]
    assert same(merged(list(pieces.values())), frame)
    assert between(frame, START + HOUR, START + HOUR).empty


def test_only_the_series_that_are_wanted_are_read():
    """They are what they are in the whole."""
    frame = usual()
    raw = chunk.encode(frame, {})
    found = chunk.decode(raw, lambda names: [names.index("memory.total_bytes")]).frame
    assert found.names == ("memory.total_bytes",)
    assert np.array_equal(found.low[0], frame.low[1])


def test_what_does_not_change_takes_no_room():
    """A hundred steady series cost an hour little more than their names."""
    plain = usual()
    steady = [{f"disks.size_bytes[/mnt/{number}]": 10.0**12 + number for number in range(100)}] * len(plain.times)
    more = merged([plain, of_reports(plain.times.tolist(), steady)[0]])
    assert len(chunk.encode(more, {})) - len(chunk.encode(plain, {})) < 1_000


@pytest.mark.parametrize("at", [0, 3, 5, 20, 100, -1])
def test_a_damaged_chunk_is_told_with_its_code(at):
    """Whatever byte it is; and so is one that is cut off."""
    raw = bytearray(chunk.encode(usual(), {}))
    raw[at] ^= 0x41
    for broken in (bytes(raw), bytes(raw[:at]), b"", chunk.MAGIC):
        with pytest.raises(Trouble) as caught:
            chunk.decode(broken)
        assert caught.value.code is Code.HISTORY_UNREADABLE


def test_a_machine_cannot_make_endless_series():
    """New names with every report: the first are kept, and the rest is told."""
    rows = [{f"a.b[{report}-{number}]": 1.0 for number in range(1_000)} for report in range(10)]
    frame, left_out = of_reports(range(10), rows)
    assert (len(frame.names), left_out) == (MOST_SERIES, 10_000 - MOST_SERIES)
    assert int(frame.count.sum()) == MOST_SERIES
