"""Who is online, from receive times alone."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.links.presence import (
    GONE,
    MASS_HOLD,
    Presence,
    Watch,
    assess,
    changes,
    status,
    suspects_itself,
)
from shared.records import ProviderAgentStatus

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=1)


def watch(state: Presence, silent_s: float | None, beats: int = 5, name: str = "hw_1") -> Watch:
    heard_at = None if silent_s is None else NOW - timedelta(seconds=silent_s)
    return Watch(hardware_id=name, presence=state, heard_at=heard_at, beats=beats)


@pytest.mark.parametrize(
    ("state", "silent_s", "beats", "expected"),
    [
        (Presence.NEVER, None, 0, Presence.NEVER),
        (Presence.NEVER, 1, 1, Presence.ONLINE),
        (Presence.ONLINE, 44.9, 5, Presence.ONLINE),
        (Presence.ONLINE, 45, 5, Presence.STALE),
        (Presence.STALE, 10, 5, Presence.ONLINE),
        (Presence.STALE, 89.9, 5, Presence.STALE),
        (Presence.STALE, 90, 5, Presence.OFFLINE),
        (Presence.ONLINE, 90, 5, Presence.OFFLINE),
        (Presence.OFFLINE, 1799, 0, Presence.OFFLINE),
        (Presence.OFFLINE, 1800, 0, Presence.OVERDUE),
        (Presence.OFFLINE, 1, 1, Presence.OFFLINE),
        (Presence.OFFLINE, 1, 2, Presence.ONLINE),
        (Presence.OVERDUE, 1, 1, Presence.OVERDUE),
        (Presence.OVERDUE, 1, 2, Presence.ONLINE),
        (Presence.OFFLINE, 60, 2, Presence.OFFLINE),
    ],
)
def test_the_state_follows_from_the_silence(state, silent_s, beats, expected):
    """45 s stale, 90 s offline, 30 min overdue; one beat to appear, two to come back."""
    assert assess(watch(state, silent_s, beats), NOW, LONG_AGO) is expected


def test_after_a_restart_the_silence_before_it_does_not_count():
    """It was the collector that was away: everybody who was online has 90 s from its start."""
    quiet = watch(Presence.ONLINE, 600)
    assert assess(quiet, NOW, NOW - timedelta(seconds=10)) is Presence.ONLINE
    assert assess(quiet, NOW, NOW - timedelta(seconds=90)) is Presence.OFFLINE


def test_after_a_restart_a_machine_that_was_offline_stays_offline():
    """The amnesty is for those who were there."""
    assert assess(watch(Presence.OFFLINE, 3000), NOW, NOW) is Presence.OVERDUE
    assert assess(watch(Presence.OFFLINE, 300), NOW, NOW) is Presence.OFFLINE


def fleet(silent: int, heard: int) -> list[Watch]:
    gone = [watch(Presence.ONLINE, 100, name=f"hw_s{number}") for number in range(silent)]
    return gone + [watch(Presence.ONLINE, 5, name=f"hw_h{number}") for number in range(heard)]


@pytest.mark.parametrize(
    ("silent", "heard", "suspected"),
    [(3, 2, True), (5, 0, True), (2, 3, False), (4, 0, False), (50, 50, False), (51, 49, True)],
)
def test_more_than_half_of_five_or_more_is_suspicious(silent, heard, suspected):
    """Fewer than five machines prove nothing, nor does half of them."""
    assert suspects_itself(fleet(silent, heard), NOW, LONG_AGO) is suspected


def test_a_mass_silence_makes_nobody_offline_until_it_is_believed():
    """They turn stale; after ten minutes of it they are called offline."""
    due, since = changes(fleet(6, 2), NOW, LONG_AGO, None)
    assert since == NOW
    assert {one.to_state for one in due} == {Presence.STALE}
    due, since = changes(fleet(6, 2), NOW, LONG_AGO, NOW - MASS_HOLD)
    assert since == NOW - MASS_HOLD
    assert {one.to_state for one in due} == {Presence.OFFLINE}


def test_machines_that_were_gone_before_are_no_sign_of_an_outage():
    """A fleet of which most have been switched off for days is no mass silence."""
    old = [watch(Presence.OVERDUE, 10_000, name=f"hw_{number}") for number in range(20)]
    assert not suspects_itself(old + fleet(2, 4), NOW, LONG_AGO)


def test_a_change_tells_its_cause():
    """The ledger can be read without the log."""
    (one,), _ = changes([watch(Presence.STALE, 91)], NOW, LONG_AGO, None)
    assert (one.from_state, one.to_state, one.cause) == (Presence.STALE, Presence.OFFLINE, "nothing heard for 91 s")


def test_the_records_word_is_online_until_the_machine_is_gone():
    """One lost report does not turn the record's word."""
    assert [status(one) for one in Presence] == [
        ProviderAgentStatus.OFFLINE,
        ProviderAgentStatus.ONLINE,
        ProviderAgentStatus.ONLINE,
        ProviderAgentStatus.OFFLINE,
        ProviderAgentStatus.OFFLINE,
    ]


watches = st.builds(
    Watch,
    hardware_id=st.uuids().map(str),
    presence=st.sampled_from(Presence),
    heard_at=st.none() | st.integers(-10, 5000).map(lambda silent: NOW - timedelta(seconds=silent)),
    beats=st.integers(0, 3),
)


@given(st.lists(watches, max_size=12), st.integers(0, 5000))
def test_telling_the_changes_leaves_nothing_to_tell(many, started_s):
    """Once every change is applied, the same moment gives no further change: no flapping."""
    started = NOW - timedelta(seconds=started_s)
    due, since = changes(many, NOW, started, None)
    told = {one.hardware_id: one.to_state for one in due}
    after = [
        Watch(
            hardware_id=one.hardware_id,
            presence=told.get(one.hardware_id, one.presence),
            heard_at=one.heard_at,
            beats=0 if told.get(one.hardware_id) in GONE else one.beats,
        )
        for one in many
    ]
    again, _ = changes(after, NOW, started, since)
    assert [(one.from_state, one.to_state) for one in again if one.to_state not in GONE or one.from_state in GONE] == []


@given(st.integers(0, 5000), st.integers(0, 5000), st.sampled_from([Presence.ONLINE, Presence.STALE]))
def test_longer_silence_never_looks_better(one_s, other_s, state):
    """The state is monotonic in the silence."""
    order = [Presence.ONLINE, Presence.STALE, Presence.OFFLINE, Presence.OVERDUE]
    less, more = sorted((one_s, other_s))
    first, second = (assess(watch(state, silent), NOW, LONG_AGO) for silent in (less, more))
    assert order.index(first) <= order.index(second)
