"""Who is online, and since when exactly, from receive times alone."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.links.presence import (
    APART,
    BEATS_TO_RETURN,
    GONE,
    MASS_HOLD,
    OFFLINE_AFTER,
    OVERDUE_AFTER,
    STALE_AFTER,
    Cause,
    Change,
    Ending,
    Outlook,
    Presence,
    Watch,
    status,
)
from collector.links.transitions import after, assess, hear, look
from shared.records import ProviderAgentStatus

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=1)
EARS = Outlook(listening_since=LONG_AGO)
S = timedelta(seconds=1)


def watch(state: Presence, silent_s: float | None, since_s: float | None = None, name: str = "hw_1") -> Watch:
    heard_at = None if silent_s is None else NOW - silent_s * S
    since = NOW - since_s * S if since_s is not None else heard_at
    entered = Presence.ONLINE if state is Presence.STALE else state
    return Watch(hardware_id=name, presence=state, entered=entered, heard_at=heard_at, since=since)


def gone(silent_s: float = 600) -> Watch:
    """A machine that was called offline."""
    return watch(Presence.OFFLINE, silent_s)


def beats(known: Watch, *at_s: float, ears: Outlook = EARS) -> tuple[Watch, list[Change]]:
    """Have a machine heard at these seconds from now."""
    told: list[Change] = []
    for second in at_s:
        known, changes = hear(known, NOW + second * S, ears)
        told += changes
    return known, told


@pytest.mark.parametrize(
    ("state", "silent_s", "expected"),
    [
        (Presence.NEVER, None, Presence.NEVER),
        (Presence.ONLINE, 44.9, Presence.ONLINE),
        (Presence.ONLINE, 45, Presence.STALE),
        (Presence.STALE, 10, Presence.STALE),
        (Presence.STALE, 89.9, Presence.STALE),
        (Presence.STALE, 90, Presence.OFFLINE),
        (Presence.ONLINE, 90, Presence.OFFLINE),
        (Presence.OFFLINE, 1799, Presence.OFFLINE),
        (Presence.OFFLINE, 1800, Presence.OVERDUE),
        (Presence.OVERDUE, 1800, Presence.OVERDUE),
    ],
)
def test_the_state_follows_from_the_silence(state, silent_s, expected):
    """45 s stale, 90 s offline, 30 min overdue; silence makes nothing better."""
    assert assess(watch(state, silent_s), NOW, LONG_AGO) is expected


def test_after_a_restart_the_silence_before_it_does_not_count():
    """It was the collector that was away: everybody who was online has 90 s from its start."""
    quiet = watch(Presence.ONLINE, 600)
    assert assess(quiet, NOW, NOW - 10 * S) is Presence.ONLINE
    assert assess(quiet, NOW, NOW - 90 * S) is Presence.OFFLINE


def test_offline_counts_from_the_last_thing_heard():
    """However late it is told."""
    (change,), _ = look([watch(Presence.STALE, 97)], NOW, EARS)
    assert (change.at, change.told_at) == (NOW - 97 * S, NOW)
    assert (change.from_state, change.to_state, change.cause) == (Presence.ONLINE, Presence.OFFLINE, Cause.SILENCE)
    assert change.words == "nothing heard for 97 s"


def test_overdue_counts_from_the_same():
    """Half an hour after the last thing heard, whatever came of a lone report meanwhile."""
    lone, told = beats(gone(600), -60)
    assert told == []
    (change,), _ = look([lone], NOW + 1200 * S, EARS)
    assert (change.to_state, change.at) == (Presence.OVERDUE, NOW - 600 * S + OVERDUE_AFTER)


def test_a_goodbye_is_the_last_thing_heard():
    """A planned stop is told by its own cause and moment, with the agent's words."""
    ending = Ending(cause=Cause.STOPPED, at=NOW - 95 * S, words="the agent stops")
    left = Watch(
        hardware_id="hw_1",
        presence=Presence.STALE,
        entered=Presence.ONLINE,
        since=LONG_AGO,
        heard_at=NOW - 100 * S,
        ending=ending,
    )
    (change,), _ = look([left], NOW, EARS)
    assert (change.at, change.cause) == (ending.at, Cause.STOPPED)
    assert change.words.startswith("the agent stops; ")


@pytest.mark.parametrize("cause", [Cause.LINK_CLOSED, Cause.CLONE])
def test_what_nobody_signed_moves_no_time(cause):
    """That a connection ended is a cause, and no sign of life."""
    ending = Ending(cause=cause, at=NOW - 91 * S)
    (change,), _ = look([Watch(**{**_fields(watch(Presence.STALE, 100)), "ending": ending})], NOW, EARS)
    assert (change.at, change.cause) == (NOW - 100 * S, cause)


def _fields(known: Watch) -> dict[str, object]:
    return {name: getattr(known, name) for name in known.__struct_fields__}


def test_a_revoked_machine_is_gone_at_once():
    """Also in a mass silence: it is known for certain."""
    ending = Ending(cause=Cause.REVOKED, at=NOW - 1 * S)
    revoked = Watch(**{**_fields(watch(Presence.ONLINE, 3)), "ending": ending})
    (change,), _ = look([revoked], NOW, EARS)
    assert (change.to_state, change.at, change.cause) == (Presence.OFFLINE, ending.at, Cause.REVOKED)


def test_a_machine_appears_with_its_first_report():
    """There is nothing to flap yet."""
    known, (change,) = beats(Watch(hardware_id="hw_1"), 0)
    assert (change.at, change.from_state, change.to_state) == (NOW, Presence.NEVER, Presence.ONLINE)
    assert change.cause is Cause.FIRST_REPORT
    assert known.presence is Presence.ONLINE


def test_a_return_takes_two_reports_and_counts_from_the_first():
    """It is told late and says since when."""
    assert BEATS_TO_RETURN == 2
    known, told = beats(gone(), 0)
    assert (known.presence, told) == (Presence.OFFLINE, [])
    known, (change,) = beats(known, 15)
    assert (change.at, change.told_at, change.cause) == (NOW, NOW + 15 * S, Cause.REPORTS_AGAIN)
    assert change.words == "back after 600 s"
    assert known.presence is Presence.ONLINE


def test_a_burst_of_kept_reports_is_one_beat():
    """What an agent kept while it was away does not make it return; the next report in its time does."""
    known, told = beats(gone(), *(number / 100 for number in range(50)))
    assert told == []
    _, (change,) = beats(known, APART.total_seconds() + 1)
    assert change.at == NOW


def test_a_report_and_silence_again_is_no_return():
    """The count begins anew after a silence, and so does the time."""
    known, told = beats(gone(), 0, 60, 180)
    assert (told, known.back_at) == ([], NOW + 180 * S)


def test_an_outage_between_two_looks_is_told():
    """Two seconds after the ninetieth would be too late to see it."""
    known, (change,) = beats(watch(Presence.STALE, 90.5), 0)
    assert (change.to_state, change.at) == (Presence.OFFLINE, NOW - 90.5 * S)
    assert (known.presence, known.beats) == (Presence.OFFLINE, 1)


@pytest.mark.parametrize("cause", [Cause.REBOOTED, Cause.AGENT_RESTARTED])
def test_a_restart_too_short_to_be_an_outage_is_in_the_ledger(cause):
    """From online to online, once."""
    back = Watch(**{**_fields(watch(Presence.ONLINE, 40, since_s=5000)), "came": cause})
    known, (change,) = beats(back, 0, 15)
    assert (change.from_state, change.to_state, change.cause) == (Presence.ONLINE, Presence.ONLINE, cause)
    assert (change.at, change.words) == (NOW, "back after 40 s")
    assert known.since == NOW - 5000 * S


@pytest.mark.parametrize("cause", [Cause.REBOOTED, Cause.AGENT_RESTARTED])
def test_a_return_tells_what_happened_meanwhile(cause):
    """By the boot and the process that came back."""
    _, (change,) = beats(Watch(**{**_fields(gone()), "came": cause}), 0, 15)
    assert (change.cause, change.at) == (cause, NOW)


def test_a_few_missed_reports_are_told_and_not_entered():
    """The ledger is of outages."""
    (worse,), _ = look([watch(Presence.ONLINE, 50)], NOW, EARS)
    _, (better,) = beats(watch(Presence.STALE, 50), 0)
    assert [(one.to_state, one.entered) for one in (worse, better)] == [
        (Presence.STALE, False),
        (Presence.ONLINE, False),
    ]


def fleet(silent: int, heard: int, silent_s: float = 100) -> list[Watch]:
    lost = [watch(Presence.STALE, silent_s, name=f"hw_s{number}") for number in range(silent)]
    return lost + [watch(Presence.ONLINE, 5, name=f"hw_h{number}") for number in range(heard)]


@pytest.mark.parametrize(
    ("silent", "heard", "suspected"),
    [(3, 2, True), (5, 0, True), (2, 3, False), (4, 0, False), (50, 50, False), (51, 49, True)],
)
def test_more_than_half_of_five_or_more_is_suspicious(silent, heard, suspected):
    """Fewer than five machines prove nothing, nor does half of them."""
    assert look(fleet(silent, heard), NOW, EARS)[1].held is suspected


def suspecting(for_: timedelta) -> Outlook:
    return Outlook(listening_since=LONG_AGO, suspected_since=NOW - for_, suspected_at=NOW - 2 * S, held=True)


def test_a_mass_silence_makes_nobody_offline_until_it_is_believed():
    """The ledger calls them stale from when they fell silent; after ten minutes of it they are called offline."""
    due, ears = look(fleet(6, 2), NOW, EARS)
    assert {(one.to_state, one.cause, one.at, one.entered) for one in due} == {
        (Presence.STALE, Cause.MASS_SILENCE, NOW - 100 * S, True)
    }
    assert ears.held
    told = [after(one, change) for one, change in zip(fleet(6, 0), due, strict=True)] + fleet(0, 2)
    due, ears = look(told, NOW, suspecting(MASS_HOLD))
    assert {(one.from_state, one.to_state, one.at) for one in due} == {
        (Presence.STALE, Presence.OFFLINE, NOW - 100 * S)
    }
    assert not ears.held


def test_those_who_are_slow_to_return_from_a_mass_silence_have_their_time():
    """When half is back the suspicion ends; the others may still be in their back-off, as after a restart."""
    due, ears = look(fleet(4, 6), NOW, suspecting(300 * S))
    assert due == []
    assert ears.listening_since == NOW
    returned = [watch(Presence.ONLINE, -80, name=f"hw_h{number}") for number in range(6)]
    due, _ = look(fleet(4, 0) + returned, NOW + OFFLINE_AFTER, ears)
    assert [one.to_state for one in due] == [Presence.OFFLINE] * 4


def test_wavering_around_the_half_is_one_suspicion():
    """Else a fleet of which half is gone would never be believed to be."""
    _, ears = look(fleet(4, 6), NOW, suspecting(MASS_HOLD - 60 * S))
    _, ears = look(fleet(6, 4, silent_s=200), NOW + 100 * S, ears)
    assert not ears.held


def test_machines_that_were_gone_before_are_no_sign_of_an_outage():
    """A fleet of which most have been switched off for days is no mass silence."""
    old = [watch(Presence.OVERDUE, 10_000, name=f"hw_{number}") for number in range(20)]
    assert not look(old + fleet(2, 4), NOW, EARS)[1].held


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
    watch,
    st.sampled_from([Presence.ONLINE, Presence.STALE, *GONE]),
    st.integers(0, 5000),
    st.none(),
    st.uuids().map(str),
)


@given(st.lists(watches, max_size=12), st.integers(0, 5000))
def test_telling_the_changes_leaves_nothing_to_tell(many, started_s):
    """Once every change is applied, the same moment gives only what follows from it, and never the way back."""
    due, ears = look(many, NOW, Outlook(listening_since=NOW - started_s * S))
    told = {one.hardware_id: one for one in due}
    applied = [after(one, told[one.hardware_id]) if one.hardware_id in told else one for one in many]
    again, _ = look(applied, NOW, ears)
    assert [one for one in again if one.to_state is not Presence.OVERDUE] == []


@given(st.lists(st.floats(0.5, 400), min_size=1, max_size=40), st.lists(st.integers(0, 40), max_size=5))
def test_the_ledger_never_goes_back(gaps_s, looks):
    """Whatever comes when: times grow, each entry begins where the last one ended, and none repeats it."""
    known, told, at = Watch(hardware_id="hw_1"), [], NOW
    for number, gap_s in enumerate(gaps_s):
        at += gap_s * S
        if number in looks:
            due, _ = look([known], at, EARS)
            known, told = (after(known, due[0]), told + due) if due else (known, told)
        else:
            known, changes = hear(known, at, EARS)
            told += changes
    entered = [one for one in told if one.entered]
    assert [one.at for one in entered] == sorted(one.at for one in entered)
    assert all(one.at <= one.told_at for one in entered)
    for earlier, later in itertools.pairwise(entered):
        assert later.from_state is earlier.to_state
        assert later.to_state is not later.from_state


@given(st.integers(0, 5000), st.integers(0, 5000), st.sampled_from([Presence.ONLINE, Presence.STALE]))
def test_longer_silence_never_looks_better(one_s, other_s, state):
    """The state is monotonic in the silence."""
    order = [Presence.ONLINE, Presence.STALE, Presence.OFFLINE, Presence.OVERDUE]
    less, more = sorted((one_s, other_s))
    first, second = (assess(watch(state, silent), NOW, LONG_AGO) for silent in (less, more))
    assert order.index(first) <= order.index(second)
    assert STALE_AFTER < OFFLINE_AFTER < OVERDUE_AFTER
