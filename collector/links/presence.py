"""Who is online, and since when exactly: pure functions of receive times."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from shared.records import ProviderAgentStatus

STALE_AFTER = timedelta(seconds=45)
"""Three heartbeats of 15 s: one lost report is no news."""
OFFLINE_AFTER = timedelta(seconds=90)
"""Above the agents' longest back-off of 30 s with room for two tries."""
OVERDUE_AFTER = timedelta(minutes=30)
BEATS_TO_RETURN = 2
"""So that a machine that connects and falls silent again does not flap."""
APART = timedelta(seconds=5)
"""Reports closer together are one beat: what an agent kept while it was away comes in one burst."""
MASS_LEAST = 5
"""Below this many machines, all of them vanishing proves nothing about the collector."""
MASS_HOLD = timedelta(minutes=10)
"""How long a mass outage is suspected to be our own; then it is believed."""


class Presence(StrEnum):
    """
    The finer state beside online and offline.

    never: enrolled, but not heard yet. stale: silent, and not yet called offline; in the ledger it stands only for a
    silence that the collector suspects to be its own fault.
    """

    NEVER = "never"
    ONLINE = "online"
    STALE = "stale"
    OFFLINE = "offline"
    OVERDUE = "overdue"


GONE = frozenset({Presence.OFFLINE, Presence.OVERDUE})


class Cause(StrEnum):
    """
    Why a state changed; the ledger's words beside it say more.

    Of going: stopped: the agent said goodbye. link_closed: the connection ended without one, as when the agent is
    killed. silence: nothing came any more, as when power or network fail. mass_silence: so many fell silent together
    that the collector suspects itself. revoked: an admin stopped trusting its keys. clone: a copy of its disk was
    refused, or it was itself.

    Of coming: first_report. rebooted: with another boot id. agent_restarted: in the same boot, as another process.
    reports_again: the same process, so it was the way to it that was broken.
    """

    FIRST_REPORT = "first_report"
    REPORTS_AGAIN = "reports_again"
    AGENT_RESTARTED = "agent_restarted"
    REBOOTED = "rebooted"
    STOPPED = "stopped"
    LINK_CLOSED = "link_closed"
    SILENCE = "silence"
    MASS_SILENCE = "mass_silence"
    REVOKED = "revoked"
    CLONE = "clone"


class Ending(Struct, frozen=True, kw_only=True):
    """What was seen of a link's end after the last report: why, when by the collector's clock, and words for it."""

    cause: Cause
    at: datetime
    words: str = ""


_EXACT = frozenset({Cause.STOPPED, Cause.REVOKED})
"""Endings that are themselves the last thing heard, or done."""


class Watch(Struct, frozen=True, kw_only=True):
    """
    What is known of one machine.

    Attributes:
        hardware_id: Which.
        presence: The state told last.
        entered: The state that the ledger holds; it does not know the staleness of a few missed reports.
        since: When that began.
        heard_at: When a report was received from it last; the collector's clock.
        back_at: While gone: the first of the beats with which it may be returning.
        beat_at: The last of them.
        beats: How many they are.
        ending: What was seen of its link's end, since it was heard last.
        came: What its last join told of the time between, until the ledger has it.
    """

    hardware_id: str
    presence: Presence = Presence.NEVER
    entered: Presence = Presence.NEVER
    since: datetime | None = None
    heard_at: datetime | None = None
    back_at: datetime | None = None
    beat_at: datetime | None = None
    beats: int = 0
    ending: Ending | None = None
    came: Cause | None = None


class Change(Struct, frozen=True, kw_only=True):
    """
    A transition with its cause.

    Attributes:
        hardware_id: Whose.
        at: When it was in truth: offline counts from the last thing heard, a return from its first report.
        told_at: When it was decided.
        from_state: The state before; where it is entered, the ledger's.
        to_state: The state from then on; the one before, for a restart too short to be an outage.
        cause: Why.
        words: The cause in words, with times.
        entered: Whether it is for the ledger.
    """

    hardware_id: str
    at: datetime
    told_at: datetime
    from_state: Presence
    to_state: Presence
    cause: Cause
    words: str = ""
    entered: bool = True


class Outlook(Struct, frozen=True, kw_only=True):
    """
    What the collector thinks of its own ears.

    Attributes:
        listening_since: Nobody's silence before this counts: it was the collector that was away.
        suspected_since: When a run of mass silences began.
        suspected_at: When the last one was seen.
        held: Whether nobody is called offline now.
    """

    listening_since: datetime
    suspected_since: datetime | None = None
    suspected_at: datetime | None = None
    held: bool = False


def status(presence: Presence) -> ProviderAgentStatus:
    """Return the record's word: a stale machine still counts as online, one never heard as offline."""
    heard = presence in {Presence.ONLINE, Presence.STALE}
    return ProviderAgentStatus.ONLINE if heard else ProviderAgentStatus.OFFLINE


def assess(watch: Watch, now: datetime, listening_since: datetime) -> Presence:
    """
    Return what a machine's silence makes of it; only being heard again makes it better.

    Only the collector's receive times count, never the agent's clock.
    """
    if watch.heard_at is None:
        return watch.presence
    if watch.presence in GONE:
        over = watch.since is not None and now - watch.since >= OVERDUE_AFTER
        return Presence.OVERDUE if over else watch.presence
    if watch.ending is not None and watch.ending.cause is Cause.REVOKED:
        return Presence.OFFLINE
    silent = now - max(watch.heard_at, listening_since)
    if silent >= OFFLINE_AFTER:
        return Presence.OFFLINE
    return Presence.STALE if silent >= STALE_AFTER else watch.presence


def hear(watch: Watch, now: datetime, outlook: Outlook) -> tuple[Watch, tuple[Change, ...]]:
    """
    Take one report of a machine, received now; return the watch after it and what there is to tell.

    An outage that began and ended between two looks is told too.
    """
    told: list[Change] = []
    if watch.presence is not Presence.ONLINE or watch.came is not None or now - (watch.heard_at or now) >= STALE_AFTER:
        if watch.presence not in GONE and assess(watch, now, outlook.listening_since) is Presence.OFFLINE:
            told += [change for change in (_worse(watch, now, outlook),) if change is not None]
            watch = after(watch, told[-1]) if told else watch
        watch = _beat(watch, now) if watch.presence in GONE else watch
        if (change := _rise(watch, now)) is not None:
            told.append(change)
            watch = after(watch, change)
    # The cause of an outage stays until it is over.
    return replace(watch, heard_at=now, ending=watch.ending if watch.presence in GONE else None), tuple(told)


def look(watches: Iterable[Watch], now: datetime, outlook: Outlook) -> tuple[list[Change], Outlook]:
    """
    Return every transition that silence has made due, and what the collector now thinks of its own ears.

    While it suspects itself, and for at most `MASS_HOLD`, nobody is called offline; they stay stale. When that ends
    because machines are heard again, the others have as long as after a start to be heard too.

    Source: a server's own outage must not offline its fleet (dstackai/dstack issue 2531); the half-of-five rule is
    Lium's.
    """
    fresh, quiet, stale_at = 0, [], now - STALE_AFTER
    for watch in watches:
        if (heard_at := watch.heard_at) is None:
            continue
        if heard_at > stale_at and watch.presence is Presence.ONLINE and watch.ending is None:
            fresh += 1
        else:
            quiet.append(watch)
    there = [one for one in quiet if one.presence not in GONE]
    silent = sum(_silent(one, now, outlook) >= STALE_AFTER for one in there)
    outlook = _outlook(outlook, now, suspected=fresh + len(there) >= MASS_LEAST and 2 * silent > fresh + len(there))
    due = [change for one in quiet if (change := _worse(one, now, outlook)) is not None]
    return due, outlook


def rewound(watch: Watch, now: datetime) -> Watch:
    """Return the watch after the collector's clock was set back: what would lie in the future is of now."""
    return replace(
        watch,
        heard_at=min(watch.heard_at, now) if watch.heard_at is not None else None,
        back_at=min(watch.back_at, now) if watch.back_at is not None else None,
        beat_at=min(watch.beat_at, now) if watch.beat_at is not None else None,
    )


def after(watch: Watch, change: Change) -> Watch:
    """Return the watch once a change is told."""
    if not change.entered:
        return replace(watch, presence=change.to_state)
    since = change.at if change.to_state is not change.from_state else watch.since
    told = replace(watch, presence=change.to_state, entered=change.to_state, since=since)
    if change.to_state in GONE and watch.presence not in GONE:
        return replace(told, beats=0, back_at=None, beat_at=None)
    return told if change.to_state in GONE else replace(told, came=None)


def _silent(watch: Watch, now: datetime, outlook: Outlook) -> timedelta:
    return now - max(watch.heard_at or now, outlook.listening_since)


def _outlook(before: Outlook, now: datetime, *, suspected: bool) -> Outlook:
    recent = before.suspected_at is not None and now - before.suspected_at < MASS_HOLD
    since = before.suspected_since if recent else None
    if suspected:
        # A fleet of which just over half is truly gone wavers around the half: that is one suspicion, not many.
        since = since or now
        return replace(before, suspected_since=since, suspected_at=now, held=now - since < MASS_HOLD)
    return replace(
        before, suspected_since=since, held=False, listening_since=now if before.held else before.listening_since
    )


def _worse(watch: Watch, now: datetime, outlook: Outlook) -> Change | None:
    state = assess(watch, now, outlook.listening_since)
    if state is watch.presence:
        return None
    if state is Presence.OVERDUE:
        assert watch.since is not None
        return _change(watch, now, state, watch.since + OVERDUE_AFTER, *_why(watch, now))
    if state is Presence.OFFLINE and not (outlook.held and _cause(watch) is not Cause.REVOKED):
        return _fall(watch, now)
    if state is Presence.OFFLINE and watch.entered is not Presence.STALE:
        assert watch.heard_at is not None
        words = f"more than half of the fleet fell silent together; {_why(watch, now)[1]}"
        return _change(watch, now, Presence.STALE, watch.heard_at, Cause.MASS_SILENCE, words)
    if watch.presence is Presence.STALE:
        return None
    return replace(_change(watch, now, Presence.STALE, now, *_why(watch, now)), entered=False)


def _fall(watch: Watch, now: datetime) -> Change:
    assert watch.heard_at is not None
    at = watch.ending.at if watch.ending is not None and watch.ending.cause in _EXACT else watch.heard_at
    return _change(watch, now, Presence.OFFLINE, at, *_why(watch, now))


def _cause(watch: Watch) -> Cause:
    return watch.ending.cause if watch.ending is not None else Cause.SILENCE


def _why(watch: Watch, now: datetime) -> tuple[Cause, str]:
    silent_s = round((now - (watch.heard_at or now)).total_seconds())
    words = watch.ending.words if watch.ending is not None else ""
    return _cause(watch), f"{words}; nothing heard for {silent_s} s".removeprefix("; ")


def _beat(watch: Watch, now: datetime) -> Watch:
    """Count a report of a machine that is gone; after a silence the count begins anew."""
    if watch.beat_at is None or watch.heard_at is None or now - watch.heard_at >= STALE_AFTER:
        return replace(watch, beats=1, back_at=now, beat_at=now)
    return replace(watch, beats=watch.beats + 1, beat_at=now) if now - watch.beat_at >= APART else watch


def _rise(watch: Watch, now: datetime) -> Change | None:
    match watch.presence:
        case Presence.NEVER:
            return _change(watch, now, Presence.ONLINE, now, Cause.FIRST_REPORT, "")
        case Presence.OFFLINE | Presence.OVERDUE:
            if watch.beats < BEATS_TO_RETURN:
                return None
            return _change(watch, now, Presence.ONLINE, watch.back_at or now, *_return(watch, watch.back_at or now))
        case Presence.STALE if watch.entered is Presence.STALE:
            return _change(watch, now, Presence.ONLINE, now, *_return(watch, now))
        case _ if watch.came is not None:
            return _change(watch, now, Presence.ONLINE, now, *_return(watch, now))
        case Presence.STALE:
            return replace(_change(watch, now, Presence.ONLINE, now, Cause.REPORTS_AGAIN, ""), entered=False)
        case _:
            return None


def _return(watch: Watch, at: datetime) -> tuple[Cause, str]:
    away_from = watch.since if watch.entered is not Presence.ONLINE else watch.heard_at
    words = watch.ending.words if watch.ending is not None and watch.presence not in GONE else ""
    away_s = round((at - (away_from or at)).total_seconds())
    return watch.came or Cause.REPORTS_AGAIN, f"{words}; back after {away_s} s".removeprefix("; ")


def _change(watch: Watch, now: datetime, state: Presence, at: datetime, cause: Cause, words: str) -> Change:
    return Change(
        hardware_id=watch.hardware_id,
        # The ledger never goes back behind what it says already.
        at=max(at, watch.since) if watch.since is not None else at,
        told_at=now,
        from_state=watch.entered,
        to_state=state,
        cause=cause,
        words=words,
    )
