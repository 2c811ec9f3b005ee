"""Who is online, and since when exactly: pure functions of receive times."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec.structs import replace

from collector.links.presence import (
    APART,
    BEATS_TO_RETURN,
    GONE,
    MASS_HOLD,
    MASS_LEAST,
    OFFLINE_AFTER,
    OVERDUE_AFTER,
    STALE_AFTER,
    Cause,
    Change,
    Outlook,
    Presence,
    Watch,
)

_EXACT = frozenset({Cause.STOPPED, Cause.REVOKED})
"""Endings that are themselves the last thing heard, or done."""


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
