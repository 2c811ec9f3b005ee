"""A machine's health: now, over time, and what of it is missing."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct

from collector.api.ranges import Wanted, only, range_in, wanted_in
from collector.api.records import FOREIGN, MOST_ROWS, cursor_of, key_in, page_in
from collector.api.routing import OWNERS, Answer, Caller, Page, Route, truth, whole
from collector.api.timelines import GapShown, SeriesName, Timeline, opened, shown, timeline
from collector.history.gaps import Gap, silence
from collector.history.series import parts
from collector.history.tiers import DAY, Tier
from collector.store import gaps, health, history
from collector.store.engine import Connection, Database
from collector.store.gaps import GapRow, Place
from collector.store.health import Newest
from collector.store.history import Logged
from shared.codes import Code, Trouble
from shared.messages import storable

MOST_SAMPLES = 1_000
MOST_GAPS = 1_000
MOST_BYTES = 64 * 2**20
"""Of chunks that are read for one answer; a week of an eight-GPU server by the minute has 2 MB."""
MOST_NAMES = 50_000
"""Series that are named in one answer; a machine has some hundreds."""
RANGE = {
    "from": "start of the range, ISO 8601 with a zone; a day before its end unless given",
    "to": "end of the range, excluded; now unless given",
}


class Latest(Struct, frozen=True, kw_only=True):
    """A machine's newest report; null throughout where it has sent none. `at`: by the collector's clock."""

    hardware_id: str
    at: datetime | None
    age_s: float | None
    received_at: datetime | None
    seq: int | None
    boot_id: str | None
    indicators: Any


class Sample(Struct, frozen=True, kw_only=True):
    """A whole report. `collected_at`: by the machine's clock; `at`: the same by the collector's."""

    hardware_id: str
    outbox_id: str
    seq: int
    boot_id: str
    collected_at: datetime
    received_at: datetime
    at: datetime
    indicators: Any


class Samples(Struct, frozen=True, kw_only=True):
    """A machine's whole reports; those of closed hours are in its history."""

    items: tuple[Sample, ...]


class History:
    """
    Serves health over time.

    Args:
        database: Holds it.
        now: The clock.
        kept: The tiers, the finest first.
        every: The usual distance of reports.
    """

    def __init__(
        self, database: Database, now: Callable[[], datetime], kept: tuple[Tier, ...], every: timedelta
    ) -> None:
        self._database = database
        self._now = now
        self._kept = kept
        self._every = every

    def routes(self) -> list[Route]:
        """Return the operations on health."""
        samples = {"hours": "how far back, 1 to 48", "limit": f"at most, 1 to {MOST_SAMPLES}"}
        fine = {"resolution": "raw, 1m, 15m, 1h; auto unless given", "series": "names with commas between; * is any"}
        missing = {
            "limit": f"gaps at once, 1 to {MOST_ROWS}; the silence that goes on stands before those of the first page",
            "cursor": "next of the page before",
            "filled": "true to show also what came in after all",
        }
        return [
            _route(
                "",
                self.samples,
                "A machine's whole reports of the hour that is not closed, newest first.",
                samples,
                Samples,
            ),
            _route("/latest", self.latest, "A machine's newest health report.", {}, Latest),
            _route("/history", self.history, "A machine's health over time, in columns.", RANGE | fine, Timeline),
            _route("/series", self.series, "The series that a machine has in a range.", RANGE, Page[SeriesName]),
            _route(
                "/gaps", self.gaps, "Which reports of a machine are missing, and why.", RANGE | missing, Page[GapShown]
            ),
        ]

    async def samples(self, request: web.Request, _caller: Caller) -> Answer:
        """Show a machine's recent reports."""
        only(request, ("hours", "limit"))
        hours, limit = whole(request, "hours", 1, 48), whole(request, "limit", 100, MOST_SAMPLES)
        key, until = key_in(request), self._now() + timedelta(seconds=1)
        async with self._database.read() as conn:
            await _known(conn, key)
            rows = await health.history(conn, key, until - timedelta(hours=hours), until, limit)
        return Answer(body=Samples(items=tuple(Sample(**row) for row in rows)))

    async def latest(self, request: web.Request, _caller: Caller) -> Answer:
        """Show a machine's newest report."""
        only(request, ())
        async with self._database.read() as conn:
            row = await _known(conn, key_in(request))
        reported = row.at is not None
        return Answer(
            body=Latest(
                hardware_id=row.hardware_id,
                at=row.at,
                age_s=round((self._now() - row.at).total_seconds(), 3) if row.at is not None else None,
                received_at=row.received_at,
                seq=row.seq if reported else None,
                boot_id=row.boot_id,
                indicators=row.indicators,
            )
        )

    async def history(self, request: web.Request, _caller: Caller) -> Answer:
        """Show series over time."""
        now = self._now()
        wanted = wanted_in(request, now, self._kept, DAY)
        async with self._database.read() as conn:
            row = await _known(conn, key_in(request))
            logged, chunks = await self._stored(conn, row.hardware_id, wanted)
            missing = await gaps.of(conn, row.hardware_id, wanted.start, wanted.end, MOST_GAPS, filled=False)
        kept_since = now - wanted.tier.kept
        found: list[Gap | GapRow] = [*self._open(row, wanted.end), *missing]
        body = await asyncio.to_thread(timeline, row.hardware_id, wanted, kept_since, logged, chunks, found)
        return Answer(body=body)

    async def series(self, request: web.Request, _caller: Caller) -> Answer:
        """Show which series there are."""
        only(request, tuple(RANGE))
        wanted = wanted_in(request, self._now(), self._kept, DAY)
        names: set[str] = set()

        def look(found: Sequence[str]) -> Sequence[int]:
            names.update(found)
            return ()

        async with self._database.read() as conn:
            row = await _known(conn, key_in(request))
            logged, chunks = await self._stored(conn, row.hardware_id, wanted)
        await asyncio.to_thread(opened, wanted, logged, chunks, look)
        if len(names) > MOST_NAMES:
            raise Trouble(Code.RANGE_TOO_LARGE, f"{len(names):,} series, at most {MOST_NAMES:,}", "less time")
        made = [(name, *parts(name)) for name in sorted(names)]
        items = tuple(SeriesName(name=one[0], indicator=one[1], reading=one[2], item=one[3]) for one in made)
        return Answer(body=Page(items=items, next=None))

    async def gaps(self, request: web.Request, _caller: Caller) -> Answer:
        """Show what is missing."""
        only(request, (*RANGE, "limit", "cursor", "filled"))
        start, end = range_in(request, self._now(), DAY)
        (limit, cursor), filled = page_in(request), truth(request, "filled")
        after = _place_in(cursor) if cursor is not None else None
        async with self._database.read() as conn:
            row = await _known(conn, key_in(request))
            found = await gaps.of(conn, row.hardware_id, start, end, limit + 1, filled=filled, after=after)
        page: list[Gap | GapRow] = [*self._open(row, end), *found[:limit]] if after is None else [*found[:limit]]
        later = _cursor_after(found[limit - 1]) if len(found) > limit else None
        return Answer(body=Page(items=tuple(map(shown, page)), next=later))

    async def _stored(
        self, conn: Connection, hardware_id: str, wanted: Wanted
    ) -> tuple[list[Logged], list[tuple[datetime, bytes]]]:
        """Read a range's reports in the log, then its chunks: what is moved in between is seen twice, never missed."""
        tier = wanted.tier
        since = wanted.start - timedelta(milliseconds=_into(wanted.start, tier))
        logged = await history.logged(conn, hardware_id, since, wanted.end)
        span = tier.resolution, wanted.start - tier.span, wanted.end
        if await history.weight(conn, hardware_id, *span) > MOST_BYTES:
            raise Trouble(Code.RANGE_TOO_LARGE, f"more than {MOST_BYTES >> 20} MB are kept of it", "less time")
        return logged, await history.chunks(conn, hardware_id, *span)

    def _open(self, row: Newest, end: datetime) -> list[Gap]:
        """Return the silence that goes on, if there is one that began before the end of a range."""
        found = silence(row.hardware_id, health.followed(row), self._every, self._now())
        return [found] if found is not None and found.started_at < end else []


def _place_in(cursor: str) -> Place:
    try:
        place = msgspec.json.decode(cursor, type=Place)
        storable(place.ended_at)
    except (msgspec.MsgspecError, ValueError) as error:
        raise Trouble(Code.INVALID, FOREIGN) from error
    return place


def _cursor_after(last: GapRow) -> str:
    return cursor_of(msgspec.json.encode(Place(last.ended_at, last.outbox_id, last.first_seq)).decode())


def _into(at: datetime, tier: Tier) -> int:
    """Return how many milliseconds of its bucket have passed at a time."""
    return round(at.timestamp() * 1000) % tier.step_ms


async def _known(conn: Connection, hardware_id: str) -> Newest:
    row = await health.newest(conn, hardware_id)
    if row is None:
        raise Trouble(Code.NOT_FOUND, f"no machine {hardware_id}")
    return row


def _route(path: str, handler: Any, summary: str, query: dict[str, str], answers: Any = None) -> Route:
    return Route(
        method="GET",
        path=f"/v1/machines/{{key}}/health{path}",
        handler=handler,
        roles=OWNERS,
        summary=summary,
        query=query,
        answers=answers,
    )
