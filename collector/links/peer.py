"""One machine's open link: the session decides who may say what, this carries it out."""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog
from aiohttp import WSMsgType, web

from collector.links import skew
from collector.links.acknowledging import Acknowledging
from collector.links.admission import Counters, join
from collector.links.delivering import Delivering
from collector.links.dispatch import State
from collector.links.pace import Pace
from collector.links.presence import Cause
from collector.links.reporting import Reporting
from collector.links.rooms import CLOSE_OF, Rooms
from collector.links.skew import Clock
from collector.store import health, links
from collector.store.engine import AWAY
from collector.store.health import Report
from shared.codec import decode, encode
from shared.codes import Code, Trouble
from shared.messages import (
    Accepted,
    FactsChanged,
    Goodbye,
    Health,
    Hello,
    Message,
    Progress,
    Receipt,
    Refused,
    Result,
)
from shared.session import Close, CloseCode, CollectorSession, Deliver, Event, Identify, Joined, Send

HELLO_S = 15.0
"""A connection that has not joined by then is closed: it costs memory and proves nothing."""
SILENT_S = 100.0
"""A link on which nothing comes is closed after this: a little longer than it takes to call the machine offline."""
GOODBYE_SPREAD_S = 10.0
"""After a planned stop agents come back within this many seconds, each at its own moment."""
CLOSE_S = 1.0
"""How long a peer may take to answer a close; a dead path must not hold up a stop."""

log = structlog.get_logger()


class Peer:
    """
    One connection of an agent.

    Args:
        rooms: The collector's parts.
        socket: Prepared, with the right subprotocol.
        address: Where it comes from, for the log.
    """

    def __init__(self, rooms: Rooms, socket: web.WebSocketResponse, address: str) -> None:
        self.hardware_id = ""
        self._rooms = rooms
        self._socket = socket
        self._session = CollectorSession(rooms.keyring.link.sign, rooms.origins, secrets.token_bytes(32))
        self._orders = Delivering(rooms.database, rooms.now, self._send)
        self._reporting: Reporting | None = None
        self._unconfirmed: int | None = None
        self._pace: Pace | None = None
        self._slowed = False
        self._acknowledging = Acknowledging(self._send)
        self._closed_with: int | None = None
        self._challenged_at = rooms.now()
        self._log = log.bind(address=address)

    async def serve(self, enter: Callable[["Peer"], Awaitable[None]]) -> None:
        """Talk until the link ends; `enter` is called once the machine is known."""
        sender: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(HELLO_S) as limit:
                await self._carry_out(self._session.start(self._rooms.now()))
                async for frame in self._socket:
                    if frame.type is not WSMsgType.TEXT:
                        await self.close(CloseCode.PROTOCOL, Trouble(Code.MALFORMED, "text frames only"))
                        break
                    if await self._carry_out(self._understand(frame.data)):
                        await enter(self)
                        sender = asyncio.create_task(self._orders.run(), name=f"commands-{self.hardware_id}")
                    if sender is not None:
                        await self._slow_down(len(frame.data))
                        limit.reschedule(_now_s() + SILENT_S)
        except TimeoutError:
            await self.close(CloseCode.GOING_AWAY, Trouble(Code.SLOW_DOWN, "nothing was heard for too long"))
        except ConnectionError as error:
            self._log.info("link.lost", detail=str(error))
        finally:
            if sender is not None:
                sender.cancel()
                with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                    await sender
            if sender is not None and self._closed_with is None:
                words = "the connection ended without a goodbye"
                self._rooms.watching.ended(self.hardware_id, Cause.LINK_CLOSED, words)
            self._log.info("link.closed", code=self._closed_with or self._socket.close_code)

    def ring(self) -> None:
        """Say that a command waits for this machine."""
        self._orders.bell.set()

    async def goodbye(self, reason: str) -> None:
        """Close on purpose, spreading the returns."""
        later_s = round(secrets.randbelow(1000) / 1000 * GOODBYE_SPREAD_S, 3)
        with contextlib.suppress(ConnectionError):
            await self._send(Goodbye(reason=reason, retry_after_s=later_s))
        await self.close(CloseCode.GOING_AWAY, Trouble(Code.SLOW_DOWN, reason))

    async def close(self, code: CloseCode, trouble: Trouble) -> None:
        """Close the link with a code; waits no longer than a second for the other end."""
        if self._closed_with is None:
            self._closed_with = int(code)
            self._rooms.closed[trouble.code] += 1
        if code is not CloseCode.GOING_AWAY:
            self._log.warning("link.refused", code=trouble.code, detail=trouble.detail)
        with contextlib.suppress(TimeoutError, ConnectionError):
            await asyncio.wait_for(self._socket.close(code=int(code), message=str(trouble.code).encode()), CLOSE_S)

    def _understand(self, text: str) -> tuple[Event, ...]:
        try:
            return self._session.receive(decode(text))
        except Trouble as trouble:
            return self._session.turn_away(CloseCode.PROTOCOL, trouble)

    async def _carry_out(self, events: tuple[Event, ...]) -> bool:
        """Do what the session decided; return whether the link has just opened."""
        joined = False
        for event in events:
            match event:
                case Send(message):
                    await self._send(message)
                case Identify(hello):
                    joined = await self._carry_out(await self._identify(hello))
                case Joined():
                    joined = True
                case Deliver(message):
                    await self._deliver(message)
                case Close(code, trouble):
                    await self.close(code, trouble)
        return joined

    async def _identify(self, hello: Hello) -> tuple[Event, ...]:
        clock = skew.greeted(self._challenged_at, self._rooms.now(), hello.time)
        try:
            offered = await self._admit(hello, clock)
        except Trouble as trouble:
            self._rooms.joins[trouble.code] += 1
            if trouble.code is Code.CLONE:
                # Its key is proven, so this is about the machine; which of the two it is, nobody can tell from here.
                self._rooms.watching.ended(hello.hardware_id, Cause.CLONE, f"a copy was refused: {trouble.detail}")
            if trouble.code in AWAY:
                return self._session.turn_away(CloseCode.UNAVAILABLE, trouble)
            return self._session.turn_away(CLOSE_OF.get(trouble.code, CloseCode.AUTH), trouble)
        self.hardware_id, self._unconfirmed = hello.hardware_id, offered
        self._orders.hardware_id = hello.hardware_id
        self._log = self._log.bind(hardware_id=hello.hardware_id)
        self._rooms.watching.joined(hello.hardware_id, hello.boot_id, hello.run_id, clock)
        self._rooms.joins["joined"] += 1
        self._log.info("link.joined", join_counter=offered, agent_version=hello.agent_version)
        return self._session.admit(offered, self._rooms.intervals, self._rooms.now())

    async def _admit(self, hello: Hello, clock: Clock) -> int:
        """Check key, revocation and counter, and store the counter that the welcome will offer."""
        async with self._rooms.database.read() as conn:
            known = await links.identity(conn, hello.hardware_id, hello.key_id)
        if known is None:
            raise Trouble(Code.UNKNOWN_KEY, f"{hello.hardware_id} with {hello.key_id}")
        self._session.prove(known.public_key)
        if known.revoked:
            raise Trouble(Code.REVOKED)
        counters = join(Counters(confirmed=known.join_confirmed, offered=known.join_offered), hello.join_counter)
        # Only who is the machine itself spends its allowance: a stranger or a copy could else shut it out.
        pace = self._pace = self._rooms.paces.of(hello.hardware_id)
        if not pace.joins.allows(_now_s()):
            raise Trouble(Code.SLOW_DOWN, "too many links opened")
        async with self._rooms.database.write() as conn:
            newest = await health.newest_followed(conn, hello.hardware_id)
            before = await links.offer_join(
                conn,
                hello.hardware_id,
                confirmed=counters.confirmed,
                offered=counters.offered,
                boot_id=hello.boot_id,
                run_id=hello.run_id,
                outbox_id=hello.outbox_id,
                agent_version=hello.agent_version,
                policy_hash=hello.policy_hash,
                clock_skew_ms=clock.ahead_ms,
                facts=hello.facts,
            )
        every = timedelta(seconds=self._rooms.intervals.heartbeat_s)
        self._reporting = Reporting(
            self._rooms.writer,
            self._rooms.assessing,
            hello,
            newest,
            clock.behind,
            every,
            self._committed,
            lambda: pace.gaps.allows(_now_s()),
        )
        self._rooms.assessing.changed(hello.hardware_id, before, hello.facts)
        return counters.offered

    async def _deliver(self, message: Message) -> None:
        try:
            await self._confirm_join()
            match message:
                case Health():
                    assert self._reporting is not None
                    self._rooms.watching.heard(self.hardware_id, message.collected_at, message.age_s)
                    await self._reporting.take(message, self._rooms.now())
                case FactsChanged(facts=facts):
                    async with self._rooms.database.write() as conn:
                        before = await links.update_facts(conn, self.hardware_id, facts)
                    self._rooms.assessing.changed(self.hardware_id, before, facts)
                case Accepted(command_id=command_id):
                    await self._orders.advance(command_id, State.ACCEPTED)
                case Progress(command_id=command_id):
                    at = {"step": message.step, "done": message.done, "of": message.of}
                    await self._orders.advance(command_id, State.RUNNING, progress=at)
                case Refused(command_id=command_id):
                    await self._rooms.results.refused(self.hardware_id, message)
                    await self._send(Receipt(command_id=command_id))
                case Result(command_id=command_id):
                    await self._rooms.results.take(self.hardware_id, message)
                    await self._send(Receipt(command_id=command_id))
                case Goodbye(reason=reason):
                    self._log.info("link.goodbye", reason=reason)
                    self._rooms.watching.ended(self.hardware_id, Cause.STOPPED, reason)
        except Trouble as trouble:
            # Without a receipt or an acknowledgement the agent keeps what it said, and says it again.
            self._rooms.not_stored[trouble.code] += 1
            self._log.error(
                "message.not_stored", code=trouble.code, detail=trouble.detail, message=type(message).__name__
            )

    async def _confirm_join(self) -> None:
        """The first message after the welcome proves that the welcome's counter is on the machine's disk."""
        if self._unconfirmed is not None:
            async with self._rooms.database.write() as conn:
                await links.confirm_join(conn, self.hardware_id, self._unconfirmed)
            self._unconfirmed = None

    async def _slow_down(self, size_bytes: int) -> None:
        """Let a machine wait that sends more than any honest one: what is not read it cannot send."""
        assert self._pace is not None
        wait_s = self._pace.wait_s(size_bytes, _now_s())
        if wait_s > 0:
            if not self._slowed:
                self._slowed = True
                self._log.warning("link.slowed", code=Code.SLOW_DOWN, detail="more messages than an agent has to send")
            await asyncio.sleep(wait_s)

    def _committed(self, report: Report) -> None:
        if not self._socket.closed:
            self._acknowledging.committed(report)

    async def _send(self, message: Message) -> None:
        await self._socket.send_str(encode(message).decode())


def _now_s() -> float:
    return asyncio.get_running_loop().time()
