"""
The link's conversation without any I/O: messages in, events out, for both ends.

A session decides who may say what when, checks who is there, and never touches a socket, a clock or a store: the edge
passes in what it read and looked up, and carries out the events it gets back, in their order.
"""

from collections.abc import Callable
from datetime import datetime
from enum import Enum, IntEnum

from msgspec import Struct

from shared.codes import Code, Trouble
from shared.documents import HelloClaim, WelcomeClaim, write
from shared.envelope import check_signature, key_id, pre_authentication_encoding
from shared.messages import (
    Accepted,
    Ack,
    Challenge,
    Command,
    Facts,
    FactsChanged,
    Goodbye,
    Health,
    Hello,
    Intervals,
    Message,
    Progress,
    Receipt,
    Refused,
    Result,
    Welcome,
)

Signer = Callable[[bytes], bytes]
"""Bytes in, 64 bytes of Ed25519 signature out."""


class CloseCode(IntEnum):
    """WebSocket close codes of the link. Source: 4000-4999 are for applications, RFC 6455 section 7.4.2."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL = 4400
    AUTH = 4401
    REVOKED = 4403
    DUPLICATE = 4409
    UPGRADE = 4426
    SLOW_DOWN = 4429
    UNAVAILABLE = 4503


class Send(Struct, frozen=True):
    """Write this message to the other end."""

    message: Message


class Deliver(Struct, frozen=True):
    """A message for the program: of an authenticated peer, and in turn."""

    message: Message


class Identify(Struct, frozen=True):
    """Collector's edge: look up this machine's key and join counter, then call `admit` or `turn_away`."""

    hello: Hello


class Joined(Struct, frozen=True):
    """
    The link is open.

    Agent's edge: store `join_counter` durably before anything more is sent. Collector's edge: the machine is heard.
    """

    join_counter: int
    intervals: Intervals


class Close(Struct, frozen=True):
    """Close the connection with this code; `trouble` says why, for the log and the close frame."""

    code: CloseCode
    trouble: Trouble


Event = Send | Deliver | Identify | Joined | Close


class Stage(Enum):
    """How far the conversation is."""

    GREETING = "greeting"
    ADMITTING = "admitting"
    OPEN = "open"
    CLOSED = "closed"


class Machine(Struct, frozen=True, kw_only=True):
    """What the agent says of itself in its hello."""

    hardware_id: str
    agent_public_key: bytes
    origin: str
    collector_public_key: bytes
    join_counter: int
    boot_id: str
    outbox_id: str
    agent_version: str
    policy_hash: str
    facts: Facts
    run_id: str = ""


class AgentSession:
    """
    The agent's end of one connection.

    Args:
        machine: Who we are, and the collector's key pinned at enrollment.
        sign: Signs with the agent's key.
        nonce: 32 fresh random bytes.
    """

    _DELIVERED = (Ack, Command, Receipt, Goodbye)

    def __init__(self, machine: Machine, sign: Signer, nonce: bytes) -> None:
        self.stage = Stage.GREETING
        self._machine = machine
        self._sign = sign
        self._nonce = nonce
        self._collector_nonce = b""

    def receive(self, message: Message, now: datetime) -> tuple[Event, ...]:
        """
        Take one message from the collector.

        Args:
            message: As decoded.
            now: The agent's clock, which the hello reports so that skew can be seen.
        """
        if self.stage is Stage.GREETING and isinstance(message, Challenge):
            return self._greet(message, now)
        if self.stage is Stage.ADMITTING and isinstance(message, Welcome):
            return self._join(message)
        if self.stage is Stage.OPEN and isinstance(message, self._DELIVERED):
            return (Deliver(message),)
        if self.stage is not Stage.OPEN and isinstance(message, Goodbye):
            return (Deliver(message),)
        return self._close(CloseCode.PROTOCOL, out_of_turn(message, self.stage))

    def _greet(self, challenge: Challenge, now: datetime) -> tuple[Event, ...]:
        me = self._machine
        self.stage = Stage.ADMITTING
        self._collector_nonce = challenge.nonce
        claim = HelloClaim(
            hardware_id=me.hardware_id,
            key_id=key_id(me.agent_public_key),
            origin=me.origin,
            collector_nonce=challenge.nonce,
            agent_nonce=self._nonce,
            join_counter=me.join_counter,
            boot_id=me.boot_id,
            outbox_id=me.outbox_id,
        )
        hello = Hello(
            hardware_id=me.hardware_id,
            key_id=claim.key_id,
            nonce=self._nonce,
            origin=me.origin,
            join_counter=me.join_counter,
            boot_id=me.boot_id,
            outbox_id=me.outbox_id,
            agent_version=me.agent_version,
            policy_hash=me.policy_hash,
            time=now,
            facts=me.facts,
            signature=self._sign(to_be_signed(claim)),
            run_id=me.run_id,
        )
        return (Send(hello),)

    def _join(self, welcome: Welcome) -> tuple[Event, ...]:
        claim = WelcomeClaim(
            hardware_id=self._machine.hardware_id,
            origin=self._machine.origin,
            collector_nonce=self._collector_nonce,
            agent_nonce=self._nonce,
            join_counter=welcome.join_counter,
        )
        try:
            if welcome.nonce != self._nonce:
                raise Trouble(Code.BAD_SIGNATURE, "the welcome answers another hello")
            check_signature(self._machine.collector_public_key, to_be_signed(claim), welcome.signature)
        except Trouble as trouble:
            return self._close(CloseCode.AUTH, Trouble(Code.COLLECTOR_UNTRUSTED, trouble.detail))
        self.stage = Stage.OPEN
        return (Joined(welcome.join_counter, welcome.intervals),)

    def _close(self, code: CloseCode, trouble: Trouble) -> tuple[Event, ...]:
        self.stage = Stage.CLOSED
        return (Close(code, trouble),)


class CollectorSession:
    """
    The collector's end of one connection.

    Args:
        sign: Signs with the collector's link key.
        origins: The addresses under which agents may mean this collector.
        nonce: 32 fresh random bytes.
    """

    _DELIVERED = (Health, FactsChanged, Accepted, Refused, Progress, Result, Goodbye)

    def __init__(self, sign: Signer, origins: frozenset[str], nonce: bytes) -> None:
        self.stage = Stage.GREETING
        self._sign = sign
        self._origins = origins
        self._nonce = nonce
        self._hello: Hello | None = None

    def start(self, now: datetime) -> tuple[Event, ...]:
        """Begin: send the challenge."""
        return (Send(Challenge(nonce=self._nonce, time=now)),)

    def receive(self, message: Message) -> tuple[Event, ...]:
        """Take one message from the agent."""
        if self.stage is Stage.GREETING and isinstance(message, Hello):
            if message.origin not in self._origins:
                trouble = Trouble(Code.WRONG_ORIGIN, f"the agent means {message.origin!r}")
                return self.turn_away(CloseCode.AUTH, trouble)
            self.stage = Stage.ADMITTING
            self._hello = message
            return (Identify(message),)
        if self.stage is Stage.OPEN and isinstance(message, self._DELIVERED):
            return (Deliver(message),)
        return self.turn_away(CloseCode.PROTOCOL, out_of_turn(message, self.stage))

    def prove(self, agent_public_key: bytes) -> None:
        """
        Check that the hello was signed by this key.

        Raises:
            Trouble: `bad_signature` or `weak_key`; the edge then calls `turn_away`.
        """
        hello = self._awaited()
        claim = HelloClaim(
            hardware_id=hello.hardware_id,
            key_id=hello.key_id,
            origin=hello.origin,
            collector_nonce=self._nonce,
            agent_nonce=hello.nonce,
            join_counter=hello.join_counter,
            boot_id=hello.boot_id,
            outbox_id=hello.outbox_id,
        )
        check_signature(agent_public_key, to_be_signed(claim), hello.signature)

    def admit(self, join_counter: int, intervals: Intervals, now: datetime) -> tuple[Event, ...]:
        """Open the link: the edge has proven the key and stored the counter it offers here."""
        hello = self._awaited()
        claim = WelcomeClaim(
            hardware_id=hello.hardware_id,
            origin=hello.origin,
            collector_nonce=self._nonce,
            agent_nonce=hello.nonce,
            join_counter=join_counter,
        )
        self.stage = Stage.OPEN
        welcome = Welcome(
            nonce=hello.nonce,
            join_counter=join_counter,
            time=now,
            intervals=intervals,
            signature=self._sign(to_be_signed(claim)),
        )
        return (Joined(join_counter, intervals), Send(welcome))

    def turn_away(self, code: CloseCode, trouble: Trouble) -> tuple[Event, ...]:
        """End the conversation."""
        self.stage = Stage.CLOSED
        return (Close(code, trouble),)

    def _awaited(self) -> Hello:
        if self.stage is not Stage.ADMITTING or self._hello is None:
            raise Trouble(Code.OUT_OF_TURN, "no hello to answer")
        return self._hello


def to_be_signed(claim: HelloClaim | WelcomeClaim) -> bytes:
    """Return the bytes a hello's or welcome's signature is over."""
    return pre_authentication_encoding(claim.PAYLOAD_TYPE, write(claim))


def out_of_turn(message: Message, stage: Stage) -> Trouble:
    """Name a message that may not stand here."""
    return Trouble(Code.OUT_OF_TURN, f"{message.__struct_config__.tag!r} is not allowed while {stage.value}")
