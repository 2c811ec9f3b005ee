"""The seven records: list, get, and upsert of what the platform owns."""

import base64
import binascii
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct

from collector.api.auditing import note
from collector.api.routing import WRITERS, Answer, Caller, Handler, Page, Route, body_of, truth, whole
from collector.store import records
from collector.store.engine import Connection, Database
from shared.codes import Code, Trouble
from shared.records import Benchmark, Booking, DataWipe, Listing, Machine, Payment, User

MOST_ROWS = 500
USUAL_ROWS = 100

NAMES: dict[type[Struct], str] = {
    User: "users",
    Machine: "machines",
    Listing: "listings",
    Booking: "bookings",
    Benchmark: "benchmarks",
    Payment: "payments",
    DataWipe: "data_wipes",
}
"""The part of the address under which each record stands."""

OWNED_BY_PLATFORM: tuple[type[Struct], ...] = (User, Listing, Booking, Payment)
"""Records that the platform registers; the others come from the machines."""

FILTERS: dict[type[Struct], tuple[str, ...]] = {
    User: ("email",),
    Machine: ("customer_id", "provider_agent_status", "gpu_model"),
    Listing: ("hardware_id", "status"),
    Booking: ("listing_id", "hardware_id", "buyer_id", "booking_status"),
    Benchmark: ("hardware_id", "admin_verification_status", "flagged", "command_id"),
    Payment: ("booking_id", "hardware_id", "payer_id", "provider_id", "payment_status"),
    DataWipe: ("hardware_id", "booking_id", "status", "wipe_method_executed", "command_id"),
}
"""Attributes by which a list can be narrowed."""

TRUTHS = frozenset({"flagged"})
"""Those of them that are true or false."""

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,79}\Z")
FOREIGN = "cursor is not one of ours; take `next` of the page before"


class Records:
    """
    Serves the records.

    Args:
        database: Where they are.
        now: The clock.
    """

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def routes(self) -> list[Route]:
        """Return the operations on all seven records."""
        made: list[Route] = []
        for kind, name in NAMES.items():
            made += [self._list_route(kind, name), self._get_route(kind, name)]
            if kind in OWNED_BY_PLATFORM:
                made.append(self._put_route(kind, name))
        return made

    def _list_route(self, kind: type[Struct], name: str) -> Route:
        async def handle(request: web.Request, _caller: Caller) -> Answer:
            limit, after = page_in(request)
            unknown = set(request.query) - set(FILTERS[kind]) - {"limit", "cursor", "reverse"}
            if unknown:
                raise Trouble(Code.INVALID, f"no filter {min(unknown)[:40]!r}; there are {', '.join(FILTERS[kind])}")
            filters = {one: _wanted(request, one) for one in FILTERS[kind] if one in request.query}
            reverse = truth(request, "reverse")
            async with self._database.read() as conn:
                rows = await records.page(conn, kind, filters, after, limit + 1, reverse=reverse)
            return Answer(body=page_of(rows, limit, records.key_of(kind)))

        query = {one: f"only rows with this {one}" for one in FILTERS[kind]}
        return Route(
            method="GET",
            path=f"/v1/{name}",
            handler=handle,
            summary=f"The {name.replace('_', ' ')}, in the order of their keys.",
            answers=Page[kind],  # type: ignore[valid-type]  # a type made at run time, for the documentation
            query={
                **query,
                "limit": f"rows at once, 1 to {MOST_ROWS}",
                "cursor": "next of the page before",
                "reverse": "true for the last key first; keys made here sort by age, so that is the newest",
            },
        )

    def _get_route(self, kind: type[Struct], name: str) -> Route:
        async def handle(request: web.Request, _caller: Caller) -> Answer:
            async with self._database.read() as conn:
                found = await records.get(conn, kind, key_in(request))
            if found is None:
                raise Trouble(Code.NOT_FOUND, f"no {name} {request.match_info['key'][:80]}")
            return Answer(body=found)

        return Route(
            method="GET", path=f"/v1/{name}/{{key}}", handler=handle, summary=f"One of the {name}.", answers=kind
        )

    def _put_route(self, kind: type[Struct], name: str) -> Route:
        handler = self._put(kind)
        return Route(
            method="PUT",
            path=f"/v1/{name}/{{key}}",
            handler=handler,
            summary=f"Register or replace one of the {name}.",
            roles=WRITERS,
            body=kind,
            answers=kind,
        )

    def _put(self, kind: type[Struct]) -> Handler:
        field = records.key_of(kind)

        async def handle(request: web.Request, caller: Caller) -> Answer:
            record = await body_of(request, kind)
            key = key_in(request)
            if getattr(record, field) != key:
                raise Trouble(Code.INVALID, f"$.{field} is not the key of the address, {key!r}")
            async with self._database.write() as conn:
                before = await records.get(conn, kind, key)
                await references_agree(conn, record)
                created = await records.upsert(conn, record)
                await note(
                    conn,
                    caller,
                    self._now(),
                    f"put {kind.__name__}",
                    key,
                    before=msgspec.to_builtins(before, str_keys=True),
                    after=msgspec.to_builtins(record, str_keys=True),
                )
            return Answer(body=record, status=201 if created else 200)

        return handle


def _wanted(request: web.Request, name: str) -> object:
    return truth(request, name) if name in TRUTHS else request.query[name]


async def references_agree(conn: Connection, record: Struct) -> None:
    """
    See that keys kept twice say the same: a booking's and a payment's machine is their listing's and booking's.

    Raises:
        Trouble: `conflict`.
    """
    if isinstance(record, Booking):
        listing = await records.get(conn, Listing, record.listing_id)
        if listing is not None and listing.hardware_id != record.hardware_id:
            words = f"listing {listing.listing_id} belongs to machine {listing.hardware_id}, not {record.hardware_id}"
            raise Trouble(Code.CONFLICT, words)
    if isinstance(record, Payment) and record.hardware_id is not None:
        booking = await records.get(conn, Booking, record.booking_id)
        if booking is not None and booking.hardware_id != record.hardware_id:
            words = f"booking {booking.booking_id} is for machine {booking.hardware_id}, not {record.hardware_id}"
            raise Trouble(Code.CONFLICT, words)


def key_in(request: web.Request) -> str:
    """
    Return the key in a request's address.

    Raises:
        Trouble: `not_found`: no key of ours can look like that.
    """
    key = request.match_info["key"]
    if not _KEY.match(key):
        raise Trouble(Code.NOT_FOUND, "a key has 1 to 80 of letters, digits, '_', '.', ':', '-'")
    return key


def page_in(request: web.Request) -> tuple[int, str | None]:
    """
    Return how many rows are asked for, and the key after which they start.

    Raises:
        Trouble: `invalid`.
    """
    limit = whole(request, "limit", USUAL_ROWS, MOST_ROWS)
    cursor = request.query.get("cursor")
    if cursor is None:
        return limit, None
    try:
        return limit, base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise Trouble(Code.INVALID, FOREIGN) from error


def numbered_page_in(request: web.Request) -> tuple[int, int | None]:
    """
    Return how many rows of a numbered list are asked for, and the number before which they start.

    Raises:
        Trouble: `invalid`.
    """
    limit, cursor = page_in(request)
    if cursor is None:
        return limit, None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise Trouble(Code.INVALID, FOREIGN)
    return limit, int(cursor)


def page_of(rows: list[Any], limit: int, key: str) -> Page[Any]:
    """Return one page: its rows, and the cursor of the next one when there is more."""
    shown = rows[:limit]
    more = len(rows) > limit
    return Page(items=tuple(shown), next=cursor_of(str(getattr(shown[-1], key))) if more else None)


def cursor_of(text: str) -> str:
    """Return the cursor that `page_in` reads as this text."""
    return base64.urlsafe_b64encode(text.encode()).decode()
