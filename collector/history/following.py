"""When a report was made, by the collector's clock: the agent's own is never trusted."""

from datetime import datetime, timedelta

from msgspec import Struct

LONGEST_AGE = timedelta(days=365)
"""Older than this no outbox is."""


class Followed(Struct, frozen=True, kw_only=True):
    """
    The newest report that is known of a machine.

    Attributes:
        outbox_id: Whose numbers `seq` is one of.
        seq: Its number; below 1 where nothing of this outbox is known yet.
        boot_id: The boot in which it was made.
        at: When.
    """

    outbox_id: str
    seq: int
    boot_id: str
    at: datetime


class Arrival(Struct, frozen=True, kw_only=True):
    """
    A report as it comes in.

    Attributes:
        outbox_id: Whose numbers `seq` is one of.
        seq: Its number.
        boot_id: The boot in which it was made.
        collected_at: When, by the agent's clock.
        age: How long before it was sent, by a clock that only counts; None where that was in another boot.
        received_at: When it came in, by the collector's clock.
        behind: The agent's clock is behind the collector's by so much at the moment; only differences of it count.
    """

    outbox_id: str
    seq: int
    boot_id: str
    collected_at: datetime
    age: timedelta | None
    received_at: datetime
    behind: timedelta


def placed(report: Arrival, before: Followed | None, every: timedelta) -> datetime:
    """
    Return when a report was made.

    The age that a counting clock gives is taken; for another boot's reports the difference of the agent's clock
    between then and now. What would lie before the report before, or in the future, shows that the clock was moved:
    then only the numbers count, one report after another at the usual distance.
    """
    oldest = LONGEST_AGE
    follows = before is not None and (report.outbox_id != before.outbox_id or report.seq > before.seq)
    if before is not None and follows:
        oldest = max(timedelta(0), min(oldest, report.received_at - before.at))
    # Ages, not times: they cannot leave the calendar, whatever a clock says.
    age = report.age if report.age is not None else report.received_at - report.behind - report.collected_at
    if before is not None and follows and before.outbox_id == report.outbox_id and not timedelta(0) <= age <= oldest:
        beats = min((report.seq - before.seq) * every.total_seconds(), oldest.total_seconds())
        age = oldest - timedelta(seconds=beats)
    return report.received_at - max(timedelta(0), age if age <= oldest else oldest if follows else timedelta(0))
