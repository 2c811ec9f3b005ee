"""Who is online, since when, and the ledger of it."""

from aiohttp import web

from collector.api.records import key_in
from collector.api.routing import Answer, Caller, Route
from collector.store import presence
from collector.store.engine import Database
from shared.codes import Code, Trouble


class PresenceLedger:
    """
    Serves presence.

    Args:
        database: Holds the ledger.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self) -> list[Route]:
        """Return the operations on presence."""
        return [
            Route(
                method="GET",
                path="/v1/machines/{key}/presence",
                handler=self.presence,
                summary="A machine's presence now, and its ledger of changes with their causes, newest first.",
            ),
        ]

    async def presence(self, request: web.Request, _caller: Caller) -> Answer:
        """Show a machine's presence."""
        key = key_in(request)
        async with self._database.read() as conn:
            live = await presence.find(conn, key)
            events = await presence.events(conn, key, 100)
        if live is None:
            raise Trouble(Code.NOT_FOUND, f"no machine {key}")
        return Answer(body={"now": live, "events": events})
