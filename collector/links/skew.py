"""How far a machine's clock is off: shown, and trusted for nothing."""

from datetime import datetime, timedelta

from msgspec import Struct

SAMPLES = 8
"""How many are kept; the best of eight is what NTP takes. Source: RFC 5905 section 10, the clock filter."""
EVERY = timedelta(seconds=5)
"""Reports closer together say the same: what an agent kept while it was away comes in one burst."""


class Clock(Struct, frozen=True, kw_only=True):
    """What is known of a machine's clock: by how many milliseconds it was ahead, the newest last; at least once."""

    samples_ms: tuple[float, ...]
    sampled_at: datetime

    @property
    def ahead_ms(self) -> int:
        """By how much it is ahead of the collector's: the report that was delayed least says it best."""
        return round(max(self.samples_ms))

    @property
    def behind(self) -> timedelta:
        """How far it is behind the collector's; negative while it is ahead."""
        return timedelta(milliseconds=-self.ahead_ms)


def greeted(asked_at: datetime, answered_at: datetime, told_at: datetime) -> Clock:
    """
    Begin anew with a hello: its time lies between the challenge and the answer, so half of that is the error.

    Args:
        asked_at: When the challenge was sent; the collector's clock.
        answered_at: When the hello was received; likewise.
        told_at: The machine's time in it.
    """
    middle = asked_at + (answered_at - asked_at) / 2
    return Clock(samples_ms=(_ms(middle, told_at),), sampled_at=answered_at)


def reported(clock: Clock | None, received_at: datetime, told_at: datetime, age_s: float) -> Clock:
    """
    Add a report: on its way it only grew older, so a clock is never less ahead than a report says.

    Args:
        clock: What is known so far.
        received_at: When the report was received; the collector's clock.
        told_at: The machine's time when it was made.
        age_s: How long it was kept before it was sent, by a clock that only counts.
    """
    if clock is not None and received_at - clock.sampled_at < EVERY:
        return clock
    known = clock.samples_ms if clock is not None else ()
    return Clock(samples_ms=(*known, _ms(received_at, told_at) + age_s * 1000)[-SAMPLES:], sampled_at=received_at)


def _ms(ours: datetime, theirs: datetime) -> float:
    return (theirs - ours).total_seconds() * 1000
