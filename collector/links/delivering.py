"""A link's orders: each open command is sent once on a link, and how far it is goes into its row."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec
import structlog

from collector.links.dispatch import FROM, OPEN, State
from collector.store import commands
from collector.store.engine import Database
from shared.codes import Trouble
from shared.envelope import Envelope
from shared.messages import Command

RETRY_S = 1.0

log = structlog.get_logger()


class Delivering:
    """
    The orders of one open link.

    Args:
        database: Holds the commands.
        now: The clock.
        send: Sends one to the machine.

    Attributes:
        hardware_id: Whose orders; known once the machine is.
        bell: Set when a command waits.
    """

    def __init__(
        self, database: Database, now: Callable[[], datetime], send: Callable[[Command], Awaitable[None]]
    ) -> None:
        self.hardware_id = ""
        self.bell = asyncio.Event()
        self._database = database
        self._now = now
        self._send = send

    async def run(self) -> None:
        """Send every open command once on this link, and each new one when the bell rings."""
        sent: set[str] = set()
        while True:
            self.bell.clear()
            try:
                await self._send_open(sent)
            except Trouble as trouble:
                log.error("commands.not_read", hardware_id=self.hardware_id, code=trouble.code, detail=trouble.detail)
                await asyncio.sleep(RETRY_S)
                continue
            await self.bell.wait()

    async def advance(self, command_id: str, state: State, progress: dict[str, object] | None = None) -> None:
        """Write how far a command of this machine is; another's, or one that is past that state, stays as it is."""
        allowed = FROM[state] | ({State.RUNNING} if progress is not None else frozenset())
        async with self._database.write() as conn:
            row = await commands.get(conn, command_id)
            if row is not None and row.hardware_id == self.hardware_id:
                await commands.advance(
                    conn, command_id, state, now=self._now(), allowed_from=allowed, progress=progress
                )

    async def _send_open(self, sent: set[str]) -> None:
        async with self._database.read() as conn:
            waiting = await commands.open_for(conn, self.hardware_id, OPEN)
        for row in waiting:
            if row.command_id in sent:
                continue
            if row.state == State.QUEUED:
                if row.expires_at <= self._now():
                    continue
                async with self._database.write() as conn:
                    allowed, at = FROM[State.SENT], self._now()
                    if not await commands.advance(conn, row.command_id, State.SENT, now=at, allowed_from=allowed):
                        continue
            envelope = msgspec.json.decode(row.envelope, type=Envelope)
            sent.add(row.command_id)
            await self._send(Command(command_id=row.command_id, envelope=envelope))
