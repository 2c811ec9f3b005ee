"""Figures for Prometheus: the collector's own, and those of every machine's newest report."""

import asyncio
import gzip
import time
import zlib
from collections.abc import Sequence

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
            body = await asyncio.to_thread(_body, exposition, openmetrics=openmetrics, packed=packed)
        return _made(body, OPENMETRICS if openmetrics else TEXT, packed=packed)

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


def _body(exposition: Exposition, *, openmetrics: bool, packed: bool) -> bytes:
    """Return the whole text; a family at a time, as one step over all of it would hold up everything else."""
    packer = zlib.compressobj(LEVEL, wbits=GZIP)
    parts = []
    for family in exposition.text(openmetrics=openmetrics):
        parts.append(packer.compress(family.encode()) if packed else family.encode())
        _let_others_run()
    return b"".join([*parts, packer.flush()] if packed else parts)


def _answer(request: web.Request, body: bytes, content_type: str) -> Answer:
    packed = gzip_accepted(request.headers.get("Accept-Encoding", ""))
    return _made(gzip.compress(body, LEVEL) if packed else body, content_type, packed=packed)


def _made(body: bytes, content_type: str, *, packed: bool) -> Answer:
    headers = {"X-Content-Type-Options": "nosniff", "Vary": "Accept, Accept-Encoding"}
    return Answer(
        body=body,
        content_type=content_type,
        headers={**headers, "Content-Encoding": "gzip"} if packed else headers,
    )
