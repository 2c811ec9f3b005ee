"""How much of a day or month a machine could be heard: a pure function of its ledger and of the collector's own."""

import bisect
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from msgspec import Struct

from collector.links.presence import GONE, Presence

ALIVE_EVERY = timedelta(seconds=60)
"""How often a running collector writes down that it is; where it is killed, the newest report says it more exactly."""


class By(StrEnum):
    """What one row is about, in UTC."""

    DAY = "day"
    MONTH = "month"


class Entry(Struct, frozen=True, kw_only=True):
    """A ledger's entry: from `at` on the state was this."""

    at: datetime
    to_state: Presence


class Period(Struct, frozen=True, kw_only=True):
    """A time, from its start up to its end."""

    start_at: datetime
    end_at: datetime


class Run(Struct, frozen=True, kw_only=True):
    """A collector's run. `alive_at`: when it wrote down last that it is; `stopped_at`: null while nobody said so."""

    started_at: datetime
    alive_at: datetime
    stopped_at: datetime | None


class Uptime(Struct, frozen=True, kw_only=True):
    """
    A row.

    Attributes:
        start_at: The day's or month's first moment that was asked for.
        end_at: Its last, exclusive; not after now.
        online_s: Seconds in which the machine could be heard; a silence of less than 90 s is none.
        offline_s: Seconds of outage.
        unknown_s: Seconds in which the collector was away or suspected itself, or before the machine was first heard.
        online_percent: Of what is known; null when nothing is.
    """

    start_at: datetime
    end_at: datetime
    online_s: float
    offline_s: float
    unknown_s: float
    online_percent: float | None


def away(runs: Iterable[Run], since: datetime, until: datetime, now: datetime) -> list[Period]:
    """
    Return when no collector listened, within a time.

    A run that nobody ended goes on to now as long as it wrote lately; else it ended when it wrote last.
    """
    periods: list[Period] = []
    covered = since
    for run in sorted(runs, key=lambda one: one.started_at):
        lately = now - run.alive_at < 3 * ALIVE_EVERY
        end_at = run.stopped_at or (max(now, run.alive_at) if lately else run.alive_at)
        if run.started_at > covered:
            periods.append(Period(start_at=covered, end_at=min(run.started_at, until)))
        covered = max(covered, end_at)
        if covered >= until:
            return periods
    if covered < until:
        periods.append(Period(start_at=covered, end_at=until))
    return periods


def rows(since: datetime, until: datetime, by: By) -> list[Period]:
    """Return the days or months of a time, in UTC; the first and the last may be cut."""
    made: list[Period] = []
    start_at = since.astimezone(UTC)
    while start_at < until:
        end_at = min(_next(start_at, by), until.astimezone(UTC))
        made.append(Period(start_at=start_at, end_at=end_at))
        start_at = end_at
    return made


def uptime(entries: Sequence[Entry], gone: Sequence[Period], periods: Sequence[Period]) -> list[Uptime]:
    """
    Return a row for each period.

    Args:
        entries: The ledger in its order, beginning with the entry that held at the start, if there was one.
        gone: When the collector was away, in order; that is never a machine's downtime.
        periods: Days or months, in order and without gaps.
    """
    online, offline = [0.0] * len(periods), [0.0] * len(periods)
    edges = [one.end_at for one in periods]
    ends = [*(one.at for one in entries[1:]), periods[-1].end_at] if periods else []
    for entry, end_at in zip(entries, ends, strict=False):
        if (sums := _sums(entry.to_state, online, offline)) is None:
            continue
        for piece in _without(Period(start_at=max(entry.at, periods[0].start_at), end_at=end_at), gone):
            _add(sums, piece, edges)
    return [_row(period, on_s, off_s) for period, on_s, off_s in zip(periods, online, offline, strict=True)]


def _sums(state: Presence, online: list[float], offline: list[float]) -> list[float] | None:
    """Stale in the ledger is a silence that the collector suspects to be its own; that is known to be neither."""
    return online if state is Presence.ONLINE else offline if state in GONE else None


def _without(period: Period, gone: Sequence[Period]) -> Iterable[Period]:
    start_at = period.start_at
    for one in gone:
        if one.end_at <= start_at:
            continue
        if one.start_at >= period.end_at:
            break
        if one.start_at > start_at:
            yield Period(start_at=start_at, end_at=one.start_at)
        start_at = one.end_at
    if start_at < period.end_at:
        yield Period(start_at=start_at, end_at=period.end_at)


def _add(sums: list[float], piece: Period, edges: list[datetime]) -> None:
    start_at, index = piece.start_at, bisect.bisect_right(edges, piece.start_at)
    while start_at < piece.end_at and index < len(edges):
        end_at = min(piece.end_at, edges[index])
        sums[index] += (end_at - start_at).total_seconds()
        start_at, index = end_at, index + 1


def _row(period: Period, online_s: float, offline_s: float) -> Uptime:
    known_s, whole_s = online_s + offline_s, (period.end_at - period.start_at).total_seconds()
    return Uptime(
        start_at=period.start_at,
        end_at=period.end_at,
        online_s=round(online_s, 3),
        offline_s=round(offline_s, 3),
        unknown_s=round(whole_s - known_s, 3),
        online_percent=round(100 * online_s / known_s, 4) if known_s else None,
    )


def _next(at: datetime, by: By) -> datetime:
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    if by is By.DAY:
        return day + timedelta(days=1)
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
