"""What there is to say of who is online: states, causes, and what is known of a machine; values only."""

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
