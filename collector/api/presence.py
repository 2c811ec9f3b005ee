"""Who is online, since when, and how much of the time."""

from collections.abc import Callable
from datetime import datetime, timedelta

from aiohttp import web
from msgspec import Struct

from collector.api.ranges import BEGINNING, only, time_in
from collector.api.records import MOST_ROWS, cursor_of, key_in, numbered_page_in
from collector.api.routing import OWNERS, Answer, Caller, Route
from collector.links.uptime import By, Period, Uptime, away, rows, uptime
from collector.store import presence, runs
from collector.store.engine import Connection, Database
from collector.store.presence import LedgerEntry, LiveRow
from shared.codes import Code, Trouble

MOST_UPTIME_ROWS = 400
LONGEST_DAYS = {By.DAY: 1, By.MONTH: 31}
USUAL = {By.DAY: timedelta(days=30), By.MONTH: timedelta(days=365)}
MOST_AWAY = 400
FROM_TO = {"from": "not before this: a day in UTC or a time with its offset", "to": "before this; now when left out"}


class PresenceShown(Struct, frozen=True, kw_only=True):
    """
    A machine's presence.

    Attributes:
        now: What holds.
        items: Its ledger, newest first.
        next: The cursor of older entries; null when there are none.
        away: When no collector listened, over the time of these entries; that is no machine's downtime.
    """

    now: LiveRow
    items: tuple[LedgerEntry, ...]
    next: str | None
    away: tuple[Period, ...]


class UptimeShown(Struct, frozen=True, kw_only=True):
    """A machine's uptime: a row for each day or month in UTC, and one for the whole time."""

    by: By
    items: tuple[Uptime, ...]
    total: Uptime


class PresenceLedger:
    """
    Serves presence.

    Args:
        database: Holds the ledger.
        now: The clock.
    """

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def routes(self) -> list[Route]:
        """Return the operations on presence."""
        return [
            Route(
                method="GET",
                path="/v1/machines/{key}/presence",
                handler=self.presence,
                roles=OWNERS,
                summary="A machine's presence now, and its ledger of changes with their causes, newest first.",
                answers=PresenceShown,
                query={**FROM_TO, "limit": f"entries at once, 1 to {MOST_ROWS}", "cursor": "next of the page before"},
            ),
            Route(
                method="GET",
                path="/v1/machines/{key}/uptime",
                handler=self.uptime,
                roles=OWNERS,
                summary="How much of each day or month a machine could be heard, in UTC.",
                answers=UptimeShown,
                query={**FROM_TO, "by": f"day or month; at most {MOST_UPTIME_ROWS} rows"},
            ),
        ]

    async def presence(self, request: web.Request, _caller: Caller) -> Answer:
        """Show a machine's presence."""
        only(request, ("from", "to", "limit", "cursor"))
        key, now, (limit, before) = key_in(request), self._now(), numbered_page_in(request)
        since, until = time_in(request, "from", BEGINNING), time_in(request, "to", now)
        async with self._database.read() as conn:
            live = await _seen(conn, key)
            found = await presence.events(conn, key, limit + 1, since=since, until=until, before=before)
            shown = found[:limit]
            first = max(since, shown[-1].at) if shown else until
            listened = await runs.between(conn, first, until)
        later = cursor_of(str(shown[-1].event_id)) if len(found) > limit else None
        gone = away(listened, first, min(until, now), now)[-MOST_AWAY:]
        return Answer(body=PresenceShown(now=live, items=tuple(shown), next=later, away=tuple(gone)))

    async def uptime(self, request: web.Request, _caller: Caller) -> Answer:
        """Show a machine's uptime."""
        only(request, ("from", "to", "by"))
        key, now, by = key_in(request), self._now(), by_in(request)
        until = min(time_in(request, "to", now), now)
        since = time_in(request, "from", until - USUAL[by])
        periods = periods_of(since, until, by)
        async with self._database.read() as conn:
            await _seen(conn, key)
            entries = await presence.ledger(conn, key, since, until)
            gone = away(await runs.between(conn, since, until), since, until, now)
        (total,) = uptime(entries, gone, [Period(start_at=since, end_at=until)])
        return Answer(body=UptimeShown(by=by, items=tuple(uptime(entries, gone, periods)), total=total))


async def _seen(conn: Connection, key: str) -> LiveRow:
    """
    Return what holds of a machine.

    Raises:
        Trouble: `not_found`.
    """
    live = await presence.find(conn, key)
    if live is None:
        raise Trouble(Code.NOT_FOUND, f"no machine {key}")
    return live


def by_in(request: web.Request) -> By:
    """
    Return what a row is to be about.

    Raises:
        Trouble: `invalid`.
    """
    text = request.query.get("by", By.DAY)
    if text not in set(By):
        raise Trouble(Code.INVALID, "by is day or month")
    return By(text)


def periods_of(since: datetime, until: datetime, by: By) -> list[Period]:
    """
    Return the days or months of a time.

    Raises:
        Trouble: `invalid`: none, or too many.
    """
    if since >= until:
        raise Trouble(Code.INVALID, "from is before to, and before now")
    made = rows(since, until, by) if until - since <= MOST_UPTIME_ROWS * timedelta(days=LONGEST_DAYS[by]) else []
    if not 1 <= len(made) <= MOST_UPTIME_ROWS:
        raise Trouble(Code.INVALID, f"that is more than {MOST_UPTIME_ROWS} rows", "ask for less, or by=month")
    return made
