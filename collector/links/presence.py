"""Who is online: a pure function of receive times."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct

from shared.records import ProviderAgentStatus

STALE_AFTER = timedelta(seconds=45)
"""Three heartbeats of 15 s: one lost report is no news."""
OFFLINE_AFTER = timedelta(seconds=90)
"""Above the agents' longest back-off of 30 s with room for two tries."""
OVERDUE_AFTER = timedelta(minutes=30)
BEATS_TO_RETURN = 2
"""So that a machine that connects and falls silent again does not flap."""
MASS_LEAST = 5
"""Below this many machines, all of them vanishing proves nothing about the collector."""
MASS_HOLD = timedelta(minutes=10)
"""How long a mass outage is suspected to be our own; then it is believed."""


class Presence(StrEnum):
    """The finer state beside online and offline. never: enrolled, but not heard yet."""

    NEVER = "never"
    ONLINE = "online"
    STALE = "stale"
    OFFLINE = "offline"
    OVERDUE = "overdue"


GONE = frozenset({Presence.OFFLINE, Presence.OVERDUE})
_WORSE = (Presence.OFFLINE, Presence.OVERDUE)


class Watch(Struct, frozen=True, kw_only=True):
    """
    What is known of one machine.

    Attributes:
        hardware_id: Which.
        presence: The state told last.
        heard_at: When something authenticated was received from it last; the collector's clock.
        beats: How many since it was last gone.
    """

    hardware_id: str
    presence: Presence
    heard_at: datetime | None
    beats: int


class Change(Struct, frozen=True, kw_only=True):
    """A transition with its cause, for the ledger."""

    hardware_id: str
    at: datetime
    from_state: Presence
    to_state: Presence
    cause: str


def status(presence: Presence) -> ProviderAgentStatus:
    """Return the record's word: a stale machine still counts as online, one never heard as offline."""
    heard = presence in {Presence.ONLINE, Presence.STALE}
    return ProviderAgentStatus.ONLINE if heard else ProviderAgentStatus.OFFLINE


def assess(watch: Watch, now: datetime, started_at: datetime) -> Presence:
    """
    Return a machine's state.

    Only the collector's receive times count, never the agent's clock. After a collector's start nobody's silence
    counts before `started_at`: it was the collector that was away.
    """
    if watch.heard_at is None:
        return watch.presence
    gone = Presence.OVERDUE if now - watch.heard_at >= OVERDUE_AFTER else Presence.OFFLINE
    if watch.presence in GONE:
        back = now - watch.heard_at < STALE_AFTER and watch.beats >= BEATS_TO_RETURN
        return Presence.ONLINE if back else max(gone, watch.presence, key=_WORSE.index)
    silent = now - max(watch.heard_at, started_at)
    if silent >= OFFLINE_AFTER:
        return gone
    if silent >= STALE_AFTER:
        return Presence.STALE if watch.presence is not Presence.NEVER else Presence.NEVER
    return Presence.ONLINE if watch.beats else watch.presence


def suspects_itself(watches: Iterable[Watch], now: datetime, started_at: datetime) -> bool:
    """
    Return whether so many machines fell silent together that the fault is more likely here.

    Silent means more than `STALE_AFTER` without a word from a machine not yet called offline.

    Source: a server's own outage must not offline its fleet (dstackai/dstack issue 2531); the half-of-five rule is
    Lium's.
    """
    watched = [one for one in watches if one.heard_at is not None and one.presence not in GONE]
    silent = [one for one in watched if one.heard_at and now - max(one.heard_at, started_at) >= STALE_AFTER]
    return len(watched) >= MASS_LEAST and 2 * len(silent) > len(watched)


def changes(
    watches: Iterable[Watch], now: datetime, started_at: datetime, suspected_since: datetime | None
) -> tuple[list[Change], datetime | None]:
    """
    Return every transition that is due, and since when the collector suspects itself.

    While it does, and for at most `MASS_HOLD`, nobody is called offline; they stay stale.
    """
    everyone = list(watches)
    suspected = suspects_itself(everyone, now, started_at)
    since = (suspected_since or now) if suspected else None
    held = since is not None and now - since < MASS_HOLD
    due: list[Change] = []
    for watch in everyone:
        state = assess(watch, now, started_at)
        if held and state in GONE and watch.presence not in GONE:
            state = Presence.STALE if watch.presence is not Presence.NEVER else Presence.NEVER
        if state is not watch.presence:
            due.append(
                Change(
                    hardware_id=watch.hardware_id,
                    at=now,
                    from_state=watch.presence,
                    to_state=state,
                    cause=_cause(watch, state, now),
                )
            )
    return due, since


def _cause(watch: Watch, state: Presence, now: datetime) -> str:
    if state is Presence.ONLINE:
        return "first report" if watch.presence is Presence.NEVER else "reports again"
    silent_s = int((now - watch.heard_at).total_seconds()) if watch.heard_at else 0
    return f"nothing heard for {silent_s} s"
