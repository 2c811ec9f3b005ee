"""Whether machines are well, what made them so, and by which thresholds."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from collector.api.auditing import note
from collector.api.ranges import BEGINNING, only, time_in
from collector.api.records import MOST_ROWS, key_in, numbered_page_in, page_of
from collector.api.routing import ADMINS, OWNERS, Answer, Caller, Page, Route, body_of
from collector.assessing import Assessing
from collector.store import verdicts
from collector.store.engine import Database
from collector.store.verdicts import EventRow
from collector.verdict import HEALTH, HealthVerdict
from collector.verdict.judging import LEFT_OUT
from collector.verdict.own import MOST_GPUS
from collector.verdict.rulebook import BY_CODE
from collector.verdict.thresholds import THRESHOLDS, Threshold
from shared.codes import Code, Trouble

CODES = frozenset({HEALTH, LEFT_OUT}) | BY_CODE.keys()
"""What an event may be about."""


class Catalogue(Struct, frozen=True, kw_only=True):
    """Every reason there can be, in the order in which they are judged."""

    items: tuple[Threshold, ...]


class Expectation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many GPUs a machine is to have from now on; more are learned again when they stand on the bus for an hour."""

    gpus_expected: Annotated[int, Meta(ge=0, le=MOST_GPUS)]


class Verdicts:
    """
    Serves verdicts, events and the catalogue of reasons.

    Args:
        database: Holds them.
        assessing: Told what an admin expects.
        now: The clock.
    """

    def __init__(self, database: Database, assessing: Assessing, now: Callable[[], datetime]) -> None:
        self._database = database
        self._assessing = assessing
        self._now = now

    def routes(self) -> list[Route]:
        """Return the operations on verdicts."""
        return [
            Route(
                method="GET",
                path="/v1/machines/{key}/health/verdict",
                handler=self.verdict,
                roles=OWNERS,
                answers=HealthVerdict,
                summary="What a machine is, with every reason: its code, what was seen, and the remedy.",
            ),
            Route(
                method="GET",
                path="/v1/machines/{key}/events",
                handler=self.events,
                roles=OWNERS,
                answers=Page[EventRow],
                summary="What came and went of a machine's reasons, the newest first.",
                query={
                    "since": "not before this: a day in UTC or a time with its offset",
                    "code": "only events of this reason; health for the machine as a whole",
                    "limit": f"events at once, 1 to {MOST_ROWS}",
                    "cursor": "next of the page before",
                },
            ),
            Route(
                method="GET",
                path="/v1/health/reasons",
                handler=self.reasons,
                roles=OWNERS,
                answers=Catalogue,
                summary="Every reason a machine can have: its threshold, where that comes from, and the remedy.",
            ),
            Route(
                method="PUT",
                path="/v1/machines/{key}/gpus_expected",
                handler=self.expect,
                roles=ADMINS,
                body=Expectation,
                answers=HealthVerdict,
                summary="Say how many GPUs a machine has, as when one was taken out on purpose.",
            ),
        ]

    async def verdict(self, request: web.Request, _caller: Caller) -> Answer:
        """Show a machine's verdict."""
        only(request, ())
        return Answer(body=await self._found(key_in(request)))

    async def _found(self, key: str) -> HealthVerdict:
        async with self._database.read() as conn:
            found = await verdicts.find(conn, key)
        if found is None:
            raise Trouble(Code.NOT_FOUND, f"no machine {key}")
        return found

    async def events(self, request: web.Request, _caller: Caller) -> Answer:
        """Show a machine's events."""
        only(request, ("since", "code", "limit", "cursor"))
        key, (limit, before) = key_in(request), numbered_page_in(request)
        since, code = time_in(request, "since", BEGINNING), request.query.get("code")
        if code is not None and code not in CODES:
            raise Trouble(Code.INVALID, f"no reason {code[:40]!r}; /v1/health/reasons has them all")
        await self._found(key)
        async with self._database.read() as conn:
            rows = await verdicts.events(conn, key, since=since, code=code, before=before, limit=limit + 1)
        return Answer(body=page_of(rows, limit, "event_id"))

    async def reasons(self, request: web.Request, _caller: Caller) -> Answer:
        """Show the catalogue."""
        only(request, ())
        return Answer(body=Catalogue(items=THRESHOLDS))

    async def expect(self, request: web.Request, caller: Caller) -> Answer:
        """Set how many GPUs are expected."""
        key, asked = key_in(request), await body_of(request, Expectation)
        before = await self._found(key)
        async with self._database.write() as conn:
            await verdicts.expect_gpus(conn, key, asked.gpus_expected)
            await note(
                conn,
                caller,
                self._now(),
                "expect GPUs",
                key,
                before={"gpus_expected": before.gpus_expected},
                after={"gpus_expected": asked.gpus_expected},
            )
        self._assessing.expect_gpus(key, asked.gpus_expected)
        return Answer(body=msgspec.structs.replace(before, gpus_expected=asked.gpus_expected))
