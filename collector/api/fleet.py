"""The fleet: how many machines are in which state, and a list that is narrowed, sorted and paged."""

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct
from msgspec.structs import replace

from collector.api.ranges import only
from collector.api.records import MOST_ROWS, cursor_of, page_in
from collector.api.routing import OWNERS, Answer, Caller, Route, truth
from collector.links.presence import Presence
from collector.store import fleet
from collector.store.engine import Database
from collector.store.fleet import SORTS, FleetRow, Summary, Wanted
from collector.verdict import HealthState
from shared.codes import Code, Trouble

LONGEST_SEARCH = 100
QUERY = {
    "presence": f"only these, with commas between: {', '.join(Presence)}",
    "health_state": f"only these, with commas between: {', '.join(HealthState)}",
    "customer_id": "only this provider's",
    "gpu_model": "only with this GPU",
    "q": "part of an id, a model or an operating system, in any case",
    "sort": f"one of {', '.join(SORTS)}; hardware_id when left out",
    "reverse": "true for the last first",
    "limit": f"rows at once, 1 to {MOST_ROWS}",
    "cursor": "next of the page before, with the same sort",
}


class FleetShown(Struct, frozen=True, kw_only=True):
    """
    The fleet.

    Attributes:
        summary: Counts under every filter but presence and health_state, so that each can be chosen by them.
        items: The machines of this page.
        next: The cursor of the page after; null on the last one.
    """

    summary: Summary
    items: tuple[FleetRow, ...]
    next: str | None


class Fleet:
    """
    Serves the fleet.

    Args:
        database: Where the machines' states are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self) -> list[Route]:
        """Return the one operation."""
        return [
            Route(
                method="GET",
                path="/v1/fleet",
                handler=self.fleet,
                roles=OWNERS,
                summary="Machines as they are now: counts by presence and health, and a list.",
                answers=FleetShown,
                query=QUERY,
            ),
        ]

    async def fleet(self, request: web.Request, caller: Caller) -> Answer:
        """Show the fleet, or a provider's part of it."""
        only(request, tuple(QUERY))
        wanted, sort, reverse = wanted_in(request), sort_in(request), truth(request, "reverse")
        limit, cursor = page_in(request)
        after = _read(cursor, sort) if cursor is not None else None
        if caller.customer_id is not None:
            if wanted.customer_id not in {None, caller.customer_id}:
                raise Trouble(Code.NOT_FOUND, f"no provider {wanted.customer_id!r} here")
            wanted = replace(wanted, customer_id=caller.customer_id)
        async with self._database.read() as conn:
            counts = await fleet.summary(conn, wanted)
            found = await fleet.page(conn, wanted, sort, after, limit + 1, reverse=reverse)
        shown = found[:limit]
        later = _cursor(sort, *shown[-1]) if len(found) > limit else None
        return Answer(body=FleetShown(summary=counts, items=tuple(row for row, _ in shown), next=later))


def wanted_in(request: web.Request) -> Wanted:
    """
    Return which machines are asked for.

    Raises:
        Trouble: `invalid`.
    """
    q = request.query.get("q", "")
    if len(q) > LONGEST_SEARCH or "\x00" in q:
        raise Trouble(Code.INVALID, f"q has at most {LONGEST_SEARCH} characters")
    return Wanted(
        presence=words_in(request, "presence", Presence),
        health_state=words_in(request, "health_state", HealthState),
        customer_id=request.query.get("customer_id"),
        gpu_model=request.query.get("gpu_model"),
        q=q,
    )


def words_in(request: web.Request, name: str, known: type[StrEnum]) -> tuple[str, ...]:
    """
    Return words of a value set, given with commas between.

    Raises:
        Trouble: `invalid`.
    """
    words = tuple(word for word in request.query.get(name, "").split(",") if word)
    for word in words:
        if word not in set(known):
            raise Trouble(Code.INVALID, f"{name} has no {word[:40]!r}; there are {', '.join(known)}")
    return words


def sort_in(request: web.Request) -> str:
    """
    Return what a list is sorted by.

    Raises:
        Trouble: `invalid`.
    """
    sort = request.query.get("sort", "hardware_id")
    if sort not in SORTS:
        raise Trouble(Code.INVALID, f"no sort {sort[:40]!r}; there are {', '.join(SORTS)}")
    return sort


class _Place(Struct, frozen=True, array_like=True):
    """Where a page ended: by what the list was sorted, the last row's value of it, and the row's id."""

    sort: str
    value: str | int
    hardware_id: str


def _cursor(sort: str, row: FleetRow, value: Any) -> str:
    said = value.isoformat() if isinstance(value, datetime) else value
    return cursor_of(msgspec.json.encode(_Place(sort, said, row.hardware_id)).decode())


def _read(cursor: str, sort: str) -> tuple[Any, str]:
    try:
        place = msgspec.json.decode(cursor, type=_Place)
        value = datetime.fromisoformat(str(place.value)) if sort in _TIMES else place.value
        right = place.sort == sort and isinstance(value, _TYPES.get(sort, str))
        right = right and not (isinstance(value, int) and not 0 <= value <= len(SORTS))
        naive = isinstance(value, datetime) and value.tzinfo is None
    except (msgspec.MsgspecError, ValueError) as error:
        raise Trouble(Code.INVALID, _FOREIGN) from error
    if not right or naive:
        raise Trouble(Code.INVALID, _FOREIGN)
    return value, place.hardware_id


_FOREIGN = "cursor is not one of this list's; take `next` of the page before, with the same sort"
_TIMES = frozenset({"presence_since", "last_received_at", "health_since"})
_TYPES: dict[str, type] = {"presence": int, "health_state": int} | dict.fromkeys(_TIMES, datetime)
