"""One conversation with the collector over an open socket: the session decides, this carries out."""

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

import aiohttp
import structlog

from agent.journal import Journal
from agent.outbox import Outbox
from shared.codec import decode, encode
from shared.codes import Code, Trouble
from shared.messages import (
    Accepted,
    Ack,
    Command,
    FactsChanged,
    Goodbye,
    Intervals,
    Message,
    Progress,
    Receipt,
    Refused,
)
from shared.session import AgentSession, Close, CloseCode, Deliver, Event, Joined, Machine, Send, Signer

JOIN_S = 20.0
"""For challenge, hello and welcome; a collector under a storm of reconnects answers in under 5 s."""
WINDOW = 64
"""Reports on their way without an acknowledgement; more would only fill the collector's buffers."""
GOODBYE_S = 1.0
"""How long saying goodbye may hold up a stop; without it the collector learns only that the connection ended."""
REPEAT_S, REPEAT_MOST_S = 30.0, 3600.0
"""An answer without receipt is sent again after this, then after twice as long each time, at most an hour; the
collector treats repeats as one."""

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Ends:
    """
    What the link connects.

    Attributes:
        machine: Says who we are at this moment.
        sign: Signs with the agent's key.
        outbox: Where reports come from, and where the join counter is kept.
        journal: Where answers come from.
        on_command: Takes each order as it comes; must not block.
        on_intervals: Takes the pace the collector asks for.
    """

    machine: Callable[[], Machine]
    sign: Signer
    outbox: Outbox
    journal: Journal
    on_command: Callable[[Command], None]
    on_intervals: Callable[[Intervals], None]


@dataclass
class Mail:
    """What wants to be sent: a bell for the outbox and the journal, and messages not worth keeping."""

    news: asyncio.Event = field(default_factory=asyncio.Event)
    passing: list[Message] = field(default_factory=list)

    def notify(self) -> None:
        """Say that the outbox or the journal holds something new."""
        self.news.set()

    def pass_on(self, message: Accepted | Refused | Progress | FactsChanged) -> None:
        """Send a message that its next cause repeats: it is dropped when the link is down."""
        self.passing.append(message)
        self.news.set()


class _Repeat(NamedTuple):
    """When an answer is sent again (the loop's clock), and how long to wait after that."""

    due_s: float
    pause_s: float


class Conversation:
    """
    What is said over one open socket, from the challenge to the close.

    Args:
        ends: What the link connects.
        mail: What wants to be sent.
        on_joined: Called once the link is open.
    """

    def __init__(self, ends: Ends, mail: Mail, on_joined: Callable[[], None]) -> None:
        self.asked_s = 0.0
        self.joined = False
        self.ended = Trouble(Code.COLLECTOR_UNREACHABLE, "the collector closed the connection")
        self._ends = ends
        self._mail = mail
        self._on_joined = on_joined
        self._sent_seq = 0
        self._acked_seq = 0
        self._answers: dict[str, _Repeat] = {}

    async def through(self, socket: aiohttp.ClientWebSocketResponse, limit: asyncio.Timeout) -> None:
        """Greet, then send and receive until the connection ends."""
        loop = asyncio.get_running_loop()
        limit.reschedule(loop.time() + JOIN_S)
        session = AgentSession(self._ends.machine(), self._ends.sign, secrets.token_bytes(32))
        sender: asyncio.Task[None] | None = None
        try:
            async for frame in socket:
                if frame.type is not aiohttp.WSMsgType.TEXT:
                    self.ended = Trouble(Code.MALFORMED, "the collector sent something that is not text")
                    break
                for event in self._understand(session, frame.data):
                    await self._carry_out(event, socket)
                    if isinstance(event, Joined):
                        limit.reschedule(None)
                        sender = asyncio.create_task(self._send_all(socket), name="link-sender")
                if sender is not None and sender.done():
                    break
            else:
                self._read_close(socket)
        except asyncio.CancelledError:
            if self.joined:
                await self._say_goodbye(socket)
            raise
        finally:
            if sender is not None:
                sender.cancel()
                with contextlib.suppress(asyncio.CancelledError, ConnectionError, aiohttp.ClientError):
                    await sender

    def _understand(self, session: AgentSession, text: str) -> tuple[Event, ...]:
        try:
            return session.receive(decode(text), datetime.now(UTC))
        except Trouble as trouble:
            return (Close(CloseCode.PROTOCOL, trouble),)

    async def _carry_out(self, event: Event, socket: aiohttp.ClientWebSocketResponse) -> None:
        match event:
            case Send(message):
                await self._write(socket, message)
            case Joined(join_counter, intervals):
                self._ends.outbox.joined(join_counter)
                self.joined = True
                self._on_joined()
                self._ends.on_intervals(intervals)
                log.info("link.up", join_counter=join_counter)
            case Deliver(Ack(up_to_seq=up_to_seq)):
                self._acked_seq = max(self._acked_seq, up_to_seq)
                self._forget(up_to_seq)
                self._mail.notify()
            case Deliver(Receipt(command_id=command_id)):
                self._ends.journal.settle(command_id)
                self._answers.pop(command_id, None)
                log.info("command.settled", command_id=command_id)
            case Deliver(Command() as command):
                self._ends.on_command(command)
            case Deliver(Goodbye(reason=reason, retry_after_s=retry_after)):
                self.asked_s = retry_after
                self.ended = Trouble(Code.COLLECTOR_UNREACHABLE, f"the collector says goodbye: {reason}")
            case Close(code, trouble):
                self.ended = trouble
                await socket.close(code=int(code), message=str(trouble.code).encode())

    def _forget(self, up_to_seq: int) -> None:
        try:
            self._ends.outbox.forget(up_to_seq)
        except Trouble as trouble:
            # A full disk must not cost the link: the reports come again later, and the collector knows them.
            log.warning("outbox.not_forgotten", code=trouble.code, detail=trouble.detail)

    def _read_close(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        reasons = {
            CloseCode.AUTH: Code.UNKNOWN_KEY,
            CloseCode.REVOKED: Code.REVOKED,
            CloseCode.DUPLICATE: Code.DUPLICATE,
            CloseCode.SLOW_DOWN: Code.SLOW_DOWN,
            CloseCode.PROTOCOL: Code.OUT_OF_TURN,
        }
        code = socket.close_code
        if code in reasons:
            self.ended = Trouble(reasons[CloseCode(code)], f"the collector closed the link with {code}")
            # Asking again at once changes nothing about a revoked key, a clone or a missing record.
            self.asked_s = max(self.asked_s, 15.0)

    async def _send_all(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Send what waits, oldest first, until cancelled; woken by news, and by the clock for repeats."""
        mail = self._mail
        while True:
            mail.news.clear()
            while mail.passing:
                await self._write(socket, mail.passing.pop(0))
            await self._send_answers(socket)
            await self._send_reports(socket)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(mail.news.wait(), REPEAT_S)

    async def _send_answers(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        now = asyncio.get_running_loop().time()
        for entry in self._ends.journal.unsettled():
            repeat = self._answers.get(entry.command_id, _Repeat(now, REPEAT_S))
            if entry.answer is not None and repeat.due_s <= now:
                later = _Repeat(now + repeat.pause_s, min(2 * repeat.pause_s, REPEAT_MOST_S))
                self._answers[entry.command_id] = later
                await self._write(socket, entry.answer)

    async def _send_reports(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while (room := WINDOW - max(0, self._sent_seq - self._acked_seq)) > 0:
            reports = self._ends.outbox.after(self._sent_seq, room)
            if not reports:
                return
            # Reports dropped or delivered earlier leave a gap before the first one; it is not in flight.
            self._acked_seq = max(self._acked_seq, reports[0].seq - 1) if not self._sent_seq else self._acked_seq
            for report in reports:
                await self._write(socket, report)
            self._sent_seq = reports[-1].seq

    async def _say_goodbye(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        with contextlib.suppress(TimeoutError, ConnectionError, aiohttp.ClientError):
            async with asyncio.timeout(GOODBYE_S):
                await self._write(socket, Goodbye(reason="the agent stops"))

    async def _write(self, socket: aiohttp.ClientWebSocketResponse, message: Message) -> None:
        await socket.send_str(encode(message).decode())
