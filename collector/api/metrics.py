"""Figures for Prometheus: the collector's own, and those of every machine's newest report."""

import asyncio
import gzip
import time
import zlib
from collections.abc import Mapping, Sequence

from aiohttp import web
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder, gzip_accepted

from collector.api.figures import Figures
from collector.api.routing import READERS, Answer, Caller, Route
from collector.exposition.machines import Exposition, Machine
from collector.links.dispatch import OPEN
from collector.store import scrape
from shared.codes import Trouble

ASK_EVERY_S = 5.0
"""Anybody may read the collector's own figures, so their reading must not make the database work."""
PATIENCE_S = 1.0
"""How long they wait for the database; it being slow is when they are wanted most."""
TOGETHER = 25
"""Machines read and made text of at a time."""
SENT_WITHIN_S = 60.0
"""A client that takes nothing is let go; Prometheus waits for ten seconds, unless it is told otherwise."""
LEVEL = 3
"""Of compression: a higher one takes twice the time for a tenth less."""

GZIP = 31
"""zlib's word for a gzip header and the largest window. Source: zlib.h, deflateInit2."""

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Metrics:
    """
    Serves figures.

    Args:
        figures: The collector's own.
    """

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self._database = figures.parts.database
        self._now = figures.parts.now
        self._registry = CollectorRegistry()
        self._registry.register(figures)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._asked_s = float("-inf")
        self._asking: asyncio.Task[None] | None = None
        # Two scrapes at once would take twice the memory and get no faster.
        self._one = asyncio.Lock()

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [
            Route(
                method="GET",
                path="/metrics",
                handler=self.own,
                roles=None,
                content_type="text/plain",
                summary="Figures of the collector itself for Prometheus.",
            ),
            Route(
                method="GET",
                path="/metrics/machines",
                handler=self.machines,
                roles=READERS,
                content_type="text/plain",
                summary="Figures of every machine's newest report for Prometheus, unless it is older than 5 minutes.",
            ),
        ]

    async def own(self, request: web.Request, _caller: Caller) -> Answer:
        """Return the collector's own figures."""
        await self._ask()
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return _answer(request, encode(self._registry), content_type)

    async def machines(self, request: web.Request, _caller: Caller) -> Answer:
        """Return the machines' figures. The text is made in a thread, so that links are not held up."""
        openmetrics = "application/openmetrics-text" in request.headers.get("Accept", "")
        packed = gzip_accepted(request.headers.get("Accept-Encoding", ""))
        async with self._one:
            exposition = Exposition(self._now())
            async with self._database.read() as conn:
                found = await scrape.machines(conn, "", TOGETHER)
                while found:
                    await asyncio.to_thread(_add, exposition, found)
                    found = await scrape.machines(conn, found[-1].hardware_id, TOGETHER)
            parts = await asyncio.to_thread(_parts, exposition, openmetrics=openmetrics, packed=packed)
        headers = _headers(OPENMETRICS if openmetrics else TEXT, packed=packed)
        return Answer(body=None, stream=lambda: _sent(request, parts, headers))

    async def _ask(self) -> None:
        """Ask the database how many commands are open, unless it was asked just now; wait for it a moment only."""
        if self._asking is None and time.monotonic() - self._asked_s >= ASK_EVERY_S:
            self._asking = asyncio.create_task(self._count_commands(), name="count-commands")
        if self._asking is not None:
            await asyncio.wait((self._asking,), timeout=PATIENCE_S)

    async def _count_commands(self) -> None:
        try:
            async with self._database.read() as conn:
                self._figures.open_commands = await scrape.commands_by_state(conn, sorted(OPEN))
        except Trouble:  # counted where it happened; a number of before would be taken for one of now
            self._figures.open_commands = {}
        finally:
            self._asked_s, self._asking = time.monotonic(), None


def _add(exposition: Exposition, machines: Sequence[Machine]) -> None:
    for machine in machines:
        exposition.add(machine)
        _let_others_run()


def _let_others_run() -> None:
    """Give up the interpreter's lock: the event loop would wait 5 ms for it each time it has something to do."""
    time.sleep(0)


def _parts(exposition: Exposition, *, openmetrics: bool, packed: bool) -> list[bytes]:
    """Return the whole text in parts, a family each: one step over all of it would hold up everything else."""
    packer = zlib.compressobj(LEVEL, wbits=GZIP)
    parts = []
    for family in exposition.text(openmetrics=openmetrics):
        parts.append(packer.compress(family.encode()) if packed else family.encode())
        _let_others_run()
    return [*parts, packer.flush()] if packed else parts


async def _sent(request: web.Request, parts: Sequence[bytes], headers: Mapping[str, str]) -> web.StreamResponse:
    """Send the parts, each once the one before has left."""
    response = web.StreamResponse(headers=headers)
    response.content_length = sum(map(len, parts))
    try:
        async with asyncio.timeout(SENT_WITHIN_S):
            await response.prepare(request)
            for part in parts:
                await response.write(part)
            await response.write_eof()
    except (TimeoutError, ConnectionError):  # Prometheus has given up, and notes it itself
        if request.transport is not None:
            request.transport.abort()
    return response


def _answer(request: web.Request, body: bytes, content_type: str) -> Answer:
    packed = gzip_accepted(request.headers.get("Accept-Encoding", ""))
    headers = _headers(content_type, packed=packed)
    return Answer(body=gzip.compress(body, LEVEL) if packed else body, content_type=content_type, headers=headers)


def _headers(content_type: str, *, packed: bool) -> dict[str, str]:
    plain = {
        "Content-Type": content_type,
        "X-Content-Type-Options": "nosniff",
        "Vary": "Accept, Accept-Encoding",
    }
    return {**plain, "Content-Encoding": "gzip"} if packed else plain
