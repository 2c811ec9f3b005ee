"""How much of a day a machine could be heard."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.links.presence import Presence
from collector.links.uptime import By, Entry, Period, Run, away, rows, uptime

DAY = datetime(2026, 5, 1, tzinfo=UTC)
H = timedelta(hours=1)
S = timedelta(seconds=1)


def entry(hours: float, state: Presence) -> Entry:
    return Entry(at=DAY + hours * H, to_state=state)


def period(from_h: float, to_h: float) -> Period:
    return Period(start_at=DAY + from_h * H, end_at=DAY + to_h * H)


def figures(entries, gone=(), until_h: float = 24):
    (row,) = uptime(entries, gone, rows(DAY, DAY + until_h * H, By.DAY))
    return row.online_s / 3600, row.offline_s / 3600, row.unknown_s / 3600, row.online_percent


def test_a_day_is_shared_out_by_the_ledger():
    """Overdue is offline too."""
    entries = [
        entry(-5, Presence.ONLINE),
        entry(6, Presence.OFFLINE),
        entry(6.5, Presence.OVERDUE),
        entry(12, Presence.ONLINE),
    ]
    assert figures(entries) == (18, 6, 0, 75)


def test_what_the_collector_slept_through_is_no_downtime():
    """Neither where the machine was up nor where it was down."""
    entries = [entry(0, Presence.ONLINE), entry(12, Presence.OFFLINE)]
    assert figures(entries, [period(6, 8), period(11, 14)]) == (9, 10, 5, round(900 / 19, 4))


def test_a_silence_that_the_collector_suspects_is_known_to_be_nothing():
    """Stale in the ledger."""
    entries = [entry(0, Presence.ONLINE), entry(3, Presence.STALE), entry(4, Presence.ONLINE)]
    assert figures(entries) == (23, 0, 1, 100)


def test_before_it_was_first_heard_nothing_is_known():
    """A machine of which nothing is known has no percentage."""
    assert figures([]) == (0, 0, 24, None)
    assert figures([entry(20, Presence.ONLINE)]) == (4, 0, 20, 100)


def test_days_and_months_are_utc_and_are_cut_at_the_ends():
    """Wherever the one who asks is."""
    east = timezone(timedelta(hours=9))
    days = rows(datetime(2026, 2, 28, 20, tzinfo=east), datetime(2026, 3, 1, 12, tzinfo=UTC), By.DAY)
    assert [one.start_at.isoformat()[:13] for one in days] == ["2026-02-28T11", "2026-03-01T00"]
    months = rows(datetime(2026, 1, 31, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC), By.MONTH)
    assert [(one.start_at.day, one.end_at.month, one.end_at.day) for one in months] == [
        (31, 2, 1),
        (1, 3, 1),
        (1, 3, 2),
    ]


def run(from_h: float, alive_h: float, *, stopped: bool = True) -> Run:
    alive_at = DAY + alive_h * H
    return Run(started_at=DAY + from_h * H, alive_at=alive_at, stopped_at=alive_at if stopped else None)


def test_the_collector_was_away_where_no_run_was():
    """Before the first, between two, and after one that wrote nothing any more."""
    now = DAY + 20 * H
    runs = [run(2, 5), run(6, 8), run(7, 9), run(10, 12, stopped=False)]
    assert away(runs, DAY, now, now) == [period(0, 2), period(5, 6), period(9, 10), period(12, 20)]


def test_a_run_that_wrote_lately_goes_on():
    """It writes that it is alive a few times a minute, not all the time."""
    now = DAY + 20 * H
    assert away([run(-1, 20 - 20 / 3600, stopped=False)], DAY, now, now) == []


@given(
    st.lists(st.tuples(st.floats(-30, 80), st.sampled_from(Presence)), max_size=12),
    st.lists(st.tuples(st.floats(-10, 80), st.floats(0.01, 9)), max_size=6),
    st.floats(1, 70),
)
def test_every_second_is_in_one_sum_of_one_row(told, slept, until_h):
    """Online, offline and unknown make up each row, and the rows make up the whole."""
    entries = [entry(hours, state) for hours, state in sorted(told, key=lambda one: one[0])]
    listened = [run(from_h, from_h + for_h) for from_h, for_h in slept]
    until = DAY + until_h * H
    gone = away(listened, DAY, until, until)
    days = uptime(entries, gone, rows(DAY, until, By.DAY))
    (total,) = uptime(entries, gone, [Period(start_at=DAY, end_at=until)])
    for row in (*days, total):
        assert min(row.online_s, row.offline_s, row.unknown_s) >= 0
        whole_s = (row.end_at - row.start_at).total_seconds()
        assert row.online_s + row.offline_s + row.unknown_s == pytest.approx(whole_s, abs=0.01)
    for name in ("online_s", "offline_s", "unknown_s"):
        assert sum(getattr(row, name) for row in days) == pytest.approx(getattr(total, name), abs=0.01)
