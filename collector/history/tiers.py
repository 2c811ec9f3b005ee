"""How finely health is kept, and for how long."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum

from msgspec import Struct

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

CLOSED_AFTER = timedelta(minutes=5)
"""How long after its end an hour is closed: what is on its way by then need not be merged later."""
MINUTES_SPAN = timedelta(hours=4)
"""Of a chunk by the minute: a day is read in half the time that hourly ones take, and each is written four times."""
USUAL_MOMENTS = 1_500
"""Moments of an answer when nobody asks for a resolution: a day by the minute."""


class Resolution(StrEnum):
    """How far apart moments are; raw is every report."""

    RAW = "raw"
    MINUTE = "1m"
    QUARTER = "15m"
    HOUR = "1h"


class Tier(Struct, frozen=True, kw_only=True):
    """
    One resolution. `step`: a bucket's length, zero for every report; `span`: a chunk's; `kept`: for how long.

    `covers`: whether its chunks say which reports they are made of, so that a repeat is told from a late one.
    """

    resolution: Resolution
    step: timedelta
    span: timedelta
    kept: timedelta
    covers: bool = False

    @property
    def step_ms(self) -> int:
        """A bucket's length; one for every report, as two of one millisecond are one moment."""
        return max(1, round(self.step.total_seconds() * 1000))

    @property
    def span_ms(self) -> int:
        """A chunk's length."""
        return round(self.span.total_seconds() * 1000)


def tiers(raw_kept: timedelta) -> tuple[Tier, ...]:
    """Return every tier, the finest first."""
    return (
        Tier(resolution=Resolution.RAW, step=timedelta(0), span=HOUR, kept=raw_kept),
        Tier(resolution=Resolution.MINUTE, step=timedelta(minutes=1), span=MINUTES_SPAN, kept=timedelta(days=7)),
        Tier(resolution=Resolution.QUARTER, step=timedelta(minutes=15), span=DAY, kept=timedelta(days=90), covers=True),
        Tier(resolution=Resolution.HOUR, step=HOUR, span=timedelta(days=10), kept=timedelta(days=731)),
    )


RAW_MOMENT = timedelta(seconds=15)
"""How far apart reports are taken to be when a resolution is chosen."""


def usual(kept: tuple[Tier, ...], start: datetime, end: datetime, now: datetime) -> Tier:
    """Return the finest tier that still has all of a range and shows it in no more than the usual moments."""
    for tier in kept:
        moments = (end - start) / max(tier.step, RAW_MOMENT)
        if moments <= USUAL_MOMENTS and now - start <= tier.kept:
            return tier
    return kept[-1]


def hour_of(at: datetime) -> datetime:
    """Return the start of a time's hour."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def closed_before(now: datetime) -> datetime:
    """Return the time before which every hour is to be closed."""
    return hour_of(now - CLOSED_AFTER)


def to_ms(at: datetime) -> int:
    """Return milliseconds since 1970."""
    return (at - _EPOCH) // timedelta(milliseconds=1)


def of_ms(ms: int) -> datetime:
    """Return the time so many milliseconds after 1970."""
    return _EPOCH + timedelta(milliseconds=ms)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
