"""Acknowledgements of one link: each says all that is committed, so one on its way is enough."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from collector.store.health import Report
from shared.messages import Ack, Message

log = structlog.get_logger()


class Acknowledging:
    """
    Tells an agent which reports are committed; to one that does not read it owes one message, not one a report.

    Args:
        send: Sends a message; waits while the other end does not read.
    """

    def __init__(self, send: Callable[[Message], Awaitable[None]]) -> None:
        self._send = send
        self._up_to_seq: int | None = None
        self._sending: asyncio.Task[None] | None = None

    def committed(self, report: Report) -> None:
        """Take a report that is on disk."""
        self._up_to_seq = max(self._up_to_seq or 0, report.seq)
        if self._sending is None:
            self._sending = asyncio.ensure_future(self._send_all())
            self._sending.add_done_callback(_noticed)

    async def _send_all(self) -> None:
        try:
            while (seq := self._up_to_seq) is not None:
                self._up_to_seq = None
                await self._send(Ack(up_to_seq=seq))
        finally:
            self._sending = None


def _noticed(task: "asyncio.Task[None]") -> None:
    """A link that ended before its acknowledgement needs none: the agent asks again. Anything else is a defect."""
    if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, ConnectionError):
        log.error("ack.not_sent", detail=repr(error))
