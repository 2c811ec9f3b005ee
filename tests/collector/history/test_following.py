"""When a report was made, and which are missing: decided from numbers, boots and the collector's clock."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from collector.history.following import Arrival, Followed, placed
from collector.history.gaps import GapCause, between, silence, without
from shared.messages import Lost

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
EVERY = timedelta(seconds=15)
HOUR = timedelta(hours=1)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def followed(seq: int = 10, at: datetime = NOW - HOUR, **changes) -> Followed:
    return structs.replace(Followed(outbox_id="ob", seq=seq, boot_id="b1", at=at), **changes)


def arrival(seq: int = 11, **changes) -> Arrival:
    usual = Arrival(
        outbox_id="ob",
        seq=seq,
        boot_id="b1",
        collected_at=NOW,
        age=timedelta(0),
        received_at=NOW,
        behind=timedelta(0),
    )
    return structs.replace(usual, **changes)


def test_a_report_was_made_its_age_before_it_came_in():
    """By a clock that only counts; what the agent's clock says does not matter."""
    for wrong in (timedelta(0), timedelta(days=400), timedelta(days=-400)):
        report = arrival(age=seconds(900), collected_at=NOW + wrong, behind=-wrong)
        assert placed(report, followed(), EVERY) == NOW - seconds(900)


def test_another_boots_report_is_placed_by_the_distance_on_the_agents_clock():
    """A clock that is years off, but steadily, tells how long ago it was."""
    skew = timedelta(days=700)
    report = arrival(age=None, collected_at=NOW + skew - seconds(1800), behind=-skew)
    assert placed(report, followed(), EVERY) == NOW - seconds(1800)


@pytest.mark.parametrize("moved", [timedelta(days=-3), timedelta(days=3)])
def test_where_the_clock_was_moved_only_the_numbers_count(moved):
    """Neither before the report before, nor in the future: one after another at the usual distance."""
    report = arrival(13, age=None, collected_at=NOW + moved)
    assert placed(report, followed(10), EVERY) == NOW - HOUR + 3 * EVERY


def test_the_first_report_of_all_is_never_placed_in_the_future():
    """With nothing to hold it against, it was made when it came in."""
    assert placed(arrival(1, age=None, collected_at=NOW + HOUR), None, EVERY) == NOW
    assert placed(arrival(1, age=timedelta(days=10_000)), None, EVERY) == NOW


@given(
    st.integers(1, 2**40),
    st.one_of(st.none(), st.floats(0, 1e9)),
    st.integers(1971, 9997),
    st.floats(-1e9, 1e9),
)
def test_no_report_is_placed_before_the_one_before_it_or_after_its_receipt(seq, age_s, clock, behind_s):
    """Whatever an agent says."""
    report = arrival(
        seq,
        age=None if age_s is None else seconds(age_s),
        collected_at=NOW.replace(year=clock),
        behind=timedelta(0) if abs(clock - 2026) > 1900 else seconds(behind_s if 2100 > clock > 2010 else 0),
    )
    before = followed(5)
    at = placed(report, before, EVERY)
    assert at <= NOW
    assert seq <= 5 or at >= before.at


def missing(before, newer, *told):
    return [(gap.first_seq, gap.last_seq, gap.cause) for gap in between("hw_1", before, newer, told, EVERY)]


def test_an_hour_that_was_kept_in_the_outbox_leaves_no_gap():
    """The reports come one after another at their own times."""
    before = followed(10)
    for seq in range(11, 251):
        newer = followed(seq, before.at + EVERY)
        assert missing(before, newer) == []
        before = newer


def test_numbers_that_do_not_come_are_missing_exactly():
    """From the report before to the report after."""
    (gap,) = between("hw_1", followed(10), followed(15, NOW), (), EVERY)
    assert (gap.first_seq, gap.last_seq, gap.missing, gap.cause) == (11, 14, 4, GapCause.UNKNOWN)
    assert (gap.started_at, gap.ended_at) == (NOW - HOUR, NOW)


def test_what_the_agent_tells_explains_its_part_and_no_more():
    """Two losses with a number between them that nobody explains."""
    told = (Lost(first=12, last=13, reason="disk_full"), Lost(first=15, last=40, reason="outbox_full"))
    assert missing(followed(10), followed(18, NOW), *told) == [
        (11, 11, GapCause.UNKNOWN),
        (12, 13, GapCause.DISK_FULL),
        (14, 14, GapCause.UNKNOWN),
        (15, 17, GapCause.OUTBOX_FULL),
    ]
    assert missing(followed(10), followed(12, NOW), Lost(first=11, last=11, reason="eaten")) == [
        (11, 11, GapCause.UNKNOWN)
    ]


def test_pieces_of_a_gap_follow_each_other_within_it():
    """Each begins before it ends, and the last ends with the gap."""
    told = (Lost(first=12, last=13, reason="disk_full"),)
    found = between("hw_1", followed(10), followed(18, NOW), told, EVERY)
    assert (found[0].started_at, found[-1].ended_at) == (NOW - HOUR, NOW)
    for one, other in itertools.pairwise(found):
        assert one.started_at < other.started_at < one.ended_at < other.ended_at


def test_a_pause_without_missing_numbers_has_the_boots_cause():
    """Nothing was made: the agent stood still, or the machine did."""
    assert missing(followed(10), followed(11, NOW)) == [(11, 10, GapCause.AGENT_STOPPED)]
    assert missing(followed(10), followed(11, NOW, boot_id="b2")) == [(11, 10, GapCause.MACHINE_DOWN)]
    assert missing(followed(10, NOW - 2 * EVERY), followed(11, NOW, boot_id="b2")) == []


def test_an_agent_that_was_never_told_its_pace_is_not_called_late():
    """However quick the heartbeat that the collector asks for, nothing is missing at the usual one."""
    quick = timedelta(seconds=0.5)
    assert between("hw_1", followed(10, NOW - EVERY), followed(11, NOW), (), quick) == ()
    assert silence("hw_1", followed(10, NOW - EVERY), quick, NOW) is None


def test_another_outbox_means_that_the_old_one_is_lost():
    """Also where the collector began anew between the hello and the first report."""
    assert missing(followed(10), followed(1, NOW, outbox_id="ob2")) == [(1, 0, GapCause.OUTBOX_LOST)]
    assert missing(followed(-1, outbox_id="ob2"), followed(1, NOW, outbox_id="ob2")) == [(1, 0, GapCause.OUTBOX_LOST)]
    assert missing(followed(10), followed(4, NOW, outbox_id="ob2")) == [(1, 3, GapCause.OUTBOX_LOST)]
    assert missing(followed(10, NOW - EVERY), followed(1, NOW, outbox_id="ob2")) == []


def test_the_first_report_of_a_machine_follows_nothing():
    """Unless it says itself that there were others."""
    assert missing(None, followed(1, NOW)) == []
    assert missing(None, followed(4, NOW), Lost(first=1, last=3, reason="outbox_full")) == [
        (1, 3, GapCause.OUTBOX_FULL)
    ]


def test_a_silent_machine_has_an_open_gap():
    """From its last report on, once one is missing."""
    assert silence("hw_1", followed(10, NOW - 2 * EVERY), EVERY, NOW) is None
    assert silence("hw_1", None, EVERY, NOW) is None
    gap = silence("hw_1", followed(10), EVERY, NOW)
    assert gap is not None
    assert (gap.cause, gap.started_at, gap.ended_at, gap.missing) == (GapCause.SILENT, NOW - HOUR, None, 0)


def test_what_comes_in_after_all_leaves_the_rest_of_the_gap():
    """In the middle, at the ends, all of it, and others' numbers."""
    (gap,) = between("hw_1", followed(10), followed(16, NOW), (), EVERY)

    def left(*seqs):
        return [(one.first_seq, one.last_seq) for one in without(gap, seqs, [NOW - HOUR + seq * EVERY for seq in seqs])]

    assert left(13) == [(11, 12), (14, 15)]
    assert left(11, 15) == [(12, 14)]
    assert left(11, 12, 13, 14, 15) == []
    assert left(3, 99) == [(11, 15)]
