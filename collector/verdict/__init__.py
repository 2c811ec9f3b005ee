"""Whether a machine is well: pure functions of its reports over time. Thresholds are data, each with its source."""

from enum import StrEnum

from msgspec import Struct

from shared.records import Moment


class HealthState(StrEnum):
    """What a machine is, by its worst reason; unknown while nothing recent is known of it."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


RANK = {HealthState.HEALTHY: 0, HealthState.DEGRADED: 1, HealthState.UNKNOWN: 2, HealthState.UNHEALTHY: 3}
"""Which state outranks which: what is known to be broken counts more than what is not known."""

HEALTH = "health"
"""The code of an event about the machine's state as a whole."""


class Reason(Struct, frozen=True, kw_only=True):
    """
    Why a machine is not healthy.

    Attributes:
        code: Stable name, for programs.
        state: What it makes of the machine.
        item: Which GPU, disk, link or mount; empty for the machine itself.
        words: What was seen, with value and limit.
        remedy: What to do about it.
        shadow: Told, and does not count yet: the threshold is new and on trial.
        since: Since when it is told.
    """

    code: str
    state: HealthState
    words: str
    item: str = ""
    remedy: str = ""
    shadow: bool = False
    since: Moment | None = None


class Event(Struct, frozen=True, kw_only=True):
    """
    A reason that came, changed or went, or the machine's state as a whole that changed.

    Attributes:
        hardware_id: Which machine.
        at: When the report was made that showed it.
        code: The reason's; "health" for the machine as a whole.
        item: Which GPU, disk, link or mount.
        from_state: What the reason made of the machine before.
        to_state: What it makes of it now; healthy: it has gone.
        words: What was seen.
        shadow: The reason does not count yet.
    """

    hardware_id: str
    at: Moment
    code: str
    item: str
    from_state: HealthState
    to_state: HealthState
    words: str
    shadow: bool = False


class HealthVerdict(Struct, frozen=True, kw_only=True):
    """
    What a machine is now, and why.

    `gpus_expected`: the most GPUs that stood on its PCI bus for an hour; null before one did.
    """

    hardware_id: str
    state: HealthState
    since: Moment
    reasons: tuple[Reason, ...]
    gpus_expected: int | None = None
