"""How the collector itself is: alive, ready."""

from aiohttp import web

from collector.api.routing import Answer, Caller, Route
from collector.store.engine import Database
from shared.codes import Code, Trouble


class Observing:
    """
    Serves the process's own state.

    Args:
        database: Asked whether it answers.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.draining = False

    def routes(self) -> list[Route]:
        """Return the operations on state."""
        return [
            Route(method="GET", path="/healthz", handler=self.alive, roles=None, summary="The process is alive."),
            Route(
                method="GET",
                path="/readyz",
                handler=self.ready,
                roles=None,
                summary="The process takes requests: the database answers and no stop is under way.",
            ),
        ]

    async def alive(self, _request: web.Request, _caller: Caller) -> Answer:
        """Say that this process answers."""
        return Answer(body={"status": "ok"})

    async def ready(self, _request: web.Request, _caller: Caller) -> Answer:
        """Say whether requests can be served."""
        if self.draining:
            raise Trouble(Code.STORE_UNAVAILABLE, "this process is stopping")
        await self._database.ping()
        return Answer(body={"status": "ok"})
