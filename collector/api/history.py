"""A machine's health over time."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web

from collector.api.records import key_in
from collector.api.routing import Answer, Caller, Route, whole
from collector.store import health
from collector.store.engine import Database

MOST_SAMPLES = 1_000


class History:
    """
    Serves health over time.

    Args:
        database: Holds the samples.
        now: The clock.
    """

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def routes(self) -> list[Route]:
        """Return the operations on health."""
        return [
            Route(
                method="GET",
                path="/v1/machines/{key}/health",
                handler=self.samples,
                summary="A machine's health reports of the last hours, newest first.",
                query={"hours": "how far back, 1 to 48", "limit": f"at most, 1 to {MOST_SAMPLES}"},
            ),
        ]

    async def samples(self, request: web.Request, _caller: Caller) -> Answer:
        """Show a machine's recent reports."""
        hours, limit = whole(request, "hours", 1, 48), whole(request, "limit", 100, MOST_SAMPLES)
        until = self._now()
        async with self._database.read() as conn:
            rows: list[Any] = await health.history(conn, key_in(request), until - timedelta(hours=hours), until, limit)
        return Answer(body={"items": rows})
