"""What changes, as it changes: server-sent events."""

import asyncio
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable

import msgspec
import structlog
from aiohttp import web

from collector.api.fleet import words_in
from collector.api.ranges import only
from collector.api.routing import OWNERS, Answer, Caller, Route
from collector.feed import Change, ChangeKind, Feed, Subscription
from collector.store import fleet
from collector.store.engine import Database
from shared.codes import Code, Trouble

MOST_STREAMS = 100
"""Open at once in this process; each may have a thousand changes waiting."""
MOST_OF_ONE = 10
"""Open at once for one provider, whatever tokens he has, or for one token of the marketplace's own."""
KEPT_FREE = 20
"""Of all, for those who look after everybody's machines: providers together do not get these."""
HEARTBEAT_S = 15.0
"""A comment when nothing else is said, so that a proxy does not take the stream for dead."""
WRITE_S = 10.0
"""A client that takes nothing for so long is let go."""
LIFE_S = 900.0
"""Then the client connects again, and its token is looked at again."""
RETRY_MS = 2_000
"""When the client comes back after a break. Source: WHATWG HTML, 9.2 server-sent events."""

_Wanted = Callable[[Change], Awaitable[bool]]

log = structlog.get_logger()


class Stream:
    """
    Serves changes.

    Args:
        feed: Where they come from.
        database: Knows whose a machine is.
    """

    def __init__(self, feed: Feed, database: Database) -> None:
        self._feed = feed
        self._database = database
        self._open: Counter[str] = Counter()
        # Numbers of another process mean nothing here.
        self._epoch = secrets.token_hex(4)

    def routes(self) -> list[Route]:
        """Return the one operation."""
        return [
            Route(
                method="GET",
                path="/v1/stream",
                handler=self.stream,
                roles=OWNERS,
                summary="Server-sent events: presence, health, event; resync means that some were lost: read anew.",
                content_type="text/event-stream",
                query={
                    "kind": f"only these, with commas between: {', '.join(ChangeKind)}",
                    "hardware_id": "only this machine's",
                },
            ),
        ]

    async def stream(self, request: web.Request, caller: Caller) -> Answer:
        """Begin to tell what changes."""
        only(request, ("kind", "hardware_id"))
        kinds = frozenset(words_in(request, "kind", ChangeKind)) or frozenset(ChangeKind)
        hardware_id = request.query.get("hardware_id", "")
        whose = caller.customer_id or caller.token_id
        self._refuse_too_many(whose, MOST_STREAMS if caller.customer_id is None else MOST_STREAMS - KEPT_FREE)

        seen: dict[str, bool] = {}

        async def wanted(change: Change) -> bool:
            if change.kind is ChangeKind.RESYNC:
                return True
            if change.kind not in kinds or hardware_id not in {"", change.hardware_id}:
                return False
            if caller.customer_id is None:
                return True
            # Whose a machine is does not change.
            if change.hardware_id not in seen:
                async with self._database.read() as conn:
                    seen[change.hardware_id] = await fleet.owner(conn, change.hardware_id) == caller.customer_id
            return seen[change.hardware_id]

        return Answer(body=None, stream=lambda: self._serve(request, wanted, whose))

    def _refuse_too_many(self, whose: str, most: int) -> None:
        """
        See that there is room for one more.

        Raises:
            Trouble: `slow_down`.
        """
        if self._open[whose] >= MOST_OF_ONE:
            raise Trouble(Code.SLOW_DOWN, f"{MOST_OF_ONE} streams are open for you, which is the most")
        if self._open.total() >= most:
            raise Trouble(Code.SLOW_DOWN, f"{most} streams are open, which is the most")

    async def _serve(self, request: web.Request, wanted: _Wanted, whose: str) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-store",
                # Else a proxy in front keeps events back to fill its buffer.
                "X-Accel-Buffering": "no",
            }
        )
        self._open[whose] += 1
        try:
            with self._feed.subscribed() as subscription:
                # Within the subscription: what changes from here on is told.
                missed = request.headers.get("Last-Event-ID", self._id(self._feed.number)) != self._id(
                    self._feed.number
                )
                await response.prepare(request)
                await _write(response, f"retry: {RETRY_MS}\n\n".encode() + (self._resync() if missed else b""))
                await self._pass_on(response, subscription, wanted)
                await response.write_eof()
        except (ConnectionError, TimeoutError, Trouble) as error:
            # Whatever it is, the client comes back and learns that it has missed something.
            log.info("stream.lost", detail=repr(error))
        finally:
            self._open[whose] -= 1
            self._open += Counter()  # without those that have none
        return response

    async def _pass_on(self, response: web.StreamResponse, subscription: Subscription, wanted: _Wanted) -> None:
        """Tell changes until the feed or the stream's time ends."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + LIFE_S
        while (left_s := ends - loop.time()) > 0:
            change = None
            try:
                async with asyncio.timeout(min(HEARTBEAT_S, left_s)):
                    change = await subscription.next()
            except TimeoutError:
                await _write(response, b": still here\n\n")
                continue
            if change is None:
                return
            if await wanted(change):
                await _write(response, self._event(change))

    def _event(self, change: Change) -> bytes:
        told = {"at": change.at, "hardware_id": change.hardware_id, "body": change.body}
        head = f"id: {self._id(change.number)}\nevent: {change.kind}\ndata: "
        return head.encode() + msgspec.json.encode(told) + b"\n\n"

    def _resync(self) -> bytes:
        return f"id: {self._id(self._feed.number)}\nevent: {ChangeKind.RESYNC}\ndata: {{}}\n\n".encode()

    def _id(self, number: int) -> str:
        return f"{self._epoch}-{number}"


async def _write(response: web.StreamResponse, data: bytes) -> None:
    """Write, and wait while the client is slow: meanwhile its changes gather in a bounded queue."""
    async with asyncio.timeout(WRITE_S):
        await response.write(data)
