"""Whether a machine is well: pure functions of its reports over time. Thresholds are data, each with its source."""

from enum import StrEnum

from msgspec import Struct


class HealthState(StrEnum):
    """What a machine is, by its worst reason; unknown while nothing recent is known of it."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


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
    """

    code: str
    state: HealthState
    words: str
    item: str = ""
    remedy: str = ""
    shadow: bool = False
