"""
Every message of the agent link, one frozen tagged Struct each, and their one union.

The conversation, in order: `Challenge`, `Hello`, `Welcome`; then health, orders and their answers in any order.
Unknown fields are ignored, so that either end can be upgraded first; unknown types are refused by name.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from shared.envelope import Envelope
from shared.records import Count, Moment, RecordId, Words

RESUME = b"resume"
"""
What a wiper is told in the place of a command, to go on with whatever was cut off; no message of the link.

It answers as to commands: `Accepted`, `Progress` and `Result` or `Refused` for each. Before and after them it says, by
a `Progress` with this word as its id, how many of them there are and how many have their answer.
"""

SUBPROTOCOL = "rackproof.v1"
"""WebSocket subprotocol both ends insist on."""

MAX_MESSAGE_BYTES = 65_536
"""Largest text frame; a health report of an 8-GPU server is below 16 kB, an order or a result below 16 kB."""

MOST_LOST = 64
"""Ranges of lost reports told at once; each is an interruption of its own."""

Sequence = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""A counter that fits a 64-bit signed column."""

Nonce = Annotated[bytes, Meta(min_length=32, max_length=32)]
"""32 random bytes; base64 in JSON."""

Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
"""An Ed25519 signature; base64 in JSON. Source: RFC 8032."""

Name = Annotated[str, Meta(min_length=1, max_length=80, pattern=r"^[^\x00]*\Z")]
Scalar = int | float | Annotated[str, Meta(max_length=2000)] | bool | None
Values = dict[Name, Scalar | dict[Annotated[str, Meta(max_length=300)], Scalar]]
"""Readings by name, the unit as the name's suffix; or by name and item (a mount, a link, a GPU)."""

EARLIEST_YEAR, LATEST_YEAR = 1970, 9998
"""A clock outside cannot be turned into UTC and stored everywhere; inside, any skew is accepted and measured."""


def storable(moment: datetime) -> None:
    """
    Refuse a time that no database of ours can hold.

    Raises:
        ValueError: the year is outside 1970..9998.
    """
    if not EARLIEST_YEAR <= moment.year <= LATEST_YEAR:
        raise ValueError(f"year {moment.year} is outside {EARLIEST_YEAR}..{LATEST_YEAR}")


class Facts(Struct, frozen=True, kw_only=True):
    """What the machine is, in the words of the Machine record; null where it cannot be told."""

    gpu_model: Words | None = None
    cpu_model: Words | None = None
    ram_gb: Count | None = None
    disk_type: Words | None = None
    disk_size_gb: Count | None = None
    network_bandwidth: Words | None = None
    os: Words | None = None


class Measured(Struct, frozen=True, kw_only=True, tag_field="outcome", tag="measured"):
    """An indicator that was read. `took_ms`: how long reading took."""

    values: Values
    took_ms: Annotated[float, Meta(ge=0)]


class Absent(Struct, frozen=True, kw_only=True, tag_field="outcome", tag="absent"):
    """An indicator whose subject this machine does not have; not an error. `reason` in words."""

    reason: Words
    took_ms: Annotated[float, Meta(ge=0)]


class Failed(Struct, frozen=True, kw_only=True, tag_field="outcome", tag="failed"):
    """An indicator that could not be read, or not in time. `error` in words."""

    error: Words
    took_ms: Annotated[float, Meta(ge=0)]


Outcome = Measured | Absent | Failed
"""Measured, not present here, or failed: three different things."""

Indicators = dict[Name, Outcome]
"""One outcome for each indicator that was due, by the indicator's name."""


class Intervals(Struct, frozen=True, kw_only=True):
    """What the collector asks of the agent. Seconds."""

    heartbeat_s: Annotated[float, Meta(gt=0, le=300)] = 15.0


class Challenge(Struct, frozen=True, kw_only=True, tag_field="type", tag="challenge"):
    """Collector, first: a nonce to sign and the collector's time."""

    nonce: Nonce
    time: Moment


class Hello(Struct, frozen=True, kw_only=True, tag_field="type", tag="hello"):
    """
    Agent, once: who it is, signed over both nonces and the origin it meant to reach.

    `join_counter`: the value of the last welcome; a copied disk presents an old one.
    `outbox_id`: made with the outbox file, so that sequence numbers of a lost outbox are never taken for repeats.
    `run_id`: made when the agent's process starts, so that a restart is told from a broken way; empty where unknown.
    """

    hardware_id: RecordId
    key_id: RecordId
    nonce: Nonce
    origin: Annotated[str, Meta(max_length=300)]
    join_counter: Sequence
    boot_id: Name
    outbox_id: Name
    agent_version: Name
    policy_hash: Annotated[str, Meta(max_length=64)]
    time: Moment
    facts: Facts
    signature: Signature
    run_id: Annotated[str, Meta(max_length=80, pattern=r"^[^\x00]*\Z")] = ""

    def __post_init__(self) -> None:
        """Refuse a time that cannot be stored."""
        storable(self.time)


class Welcome(Struct, frozen=True, kw_only=True, tag_field="type", tag="welcome"):
    """Collector: the link is open. Signed over the agent's nonce, so that the agent knows whom it reached."""

    nonce: Nonce
    join_counter: Sequence
    time: Moment
    intervals: Intervals
    signature: Signature


class LossReason(StrEnum):
    """Why an agent could not keep a report until it was delivered."""

    DISK_FULL = "disk_full"
    DISK_FAILED = "disk_failed"
    OUTBOX_FULL = "outbox_full"


class Lost(Struct, frozen=True, kw_only=True):
    """Numbers of reports that could not be kept, both ends included. `reason`: a `LossReason`, or a newer word."""

    first: Sequence
    last: Sequence
    reason: Name


class Health(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="health"):
    """
    Agent: one health report. `seq` grows by one a report for the life of the outbox, over restarts and boots.

    `age_s`: how long before it was sent it was made, by a clock that nobody sets; null for another boot's.
    `lost`: the numbers right before this one that no report will come for.
    """

    seq: Sequence
    boot_id: Name
    collected_at: Moment
    indicators: Indicators
    age_s: Annotated[float, Meta(ge=0, le=1e9)] | None = None
    lost: Annotated[tuple[Lost, ...], Meta(max_length=MOST_LOST)] = ()

    def __post_init__(self) -> None:
        """Refuse a time that cannot be stored."""
        storable(self.collected_at)


class FactsChanged(Struct, frozen=True, kw_only=True, tag_field="type", tag="facts"):
    """Agent: the machine's facts differ from those of the hello."""

    facts: Facts


class Ack(Struct, frozen=True, kw_only=True, tag_field="type", tag="ack"):
    """Collector: every health report of this outbox up to and with `up_to_seq` is committed."""

    up_to_seq: Sequence


class Command(Struct, frozen=True, kw_only=True, tag_field="type", tag="command"):
    """Collector: a signed order. May come more than once; its effect is once."""

    command_id: RecordId
    envelope: Envelope


class Accepted(Struct, frozen=True, kw_only=True, tag_field="type", tag="accepted"):
    """Agent: the order is verified and journalled."""

    command_id: RecordId


class Refused(Struct, frozen=True, kw_only=True, tag_field="type", tag="refused"):
    """Agent: the order is not carried out, and nothing was touched. Repeated until the receipt."""

    command_id: RecordId
    code: Name
    detail: Words


class Progress(Struct, frozen=True, kw_only=True, tag_field="type", tag="progress"):
    """Agent: how far the work is. Not repeated, not stored for long."""

    command_id: RecordId
    step: Name
    done: Sequence
    of: Sequence


class Result(Struct, frozen=True, kw_only=True, tag_field="type", tag="result"):
    """Agent: the signed outcome. Repeated until the receipt."""

    command_id: RecordId
    envelope: Envelope


class Receipt(Struct, frozen=True, kw_only=True, tag_field="type", tag="receipt"):
    """Collector: the result or refusal of this command is committed and need not be repeated."""

    command_id: RecordId


class Goodbye(Struct, frozen=True, kw_only=True, tag_field="type", tag="goodbye"):
    """Either end: closing on purpose. `retry_after_s`: when the agent may come back."""

    reason: Words
    retry_after_s: Annotated[float, Meta(ge=0, le=3600)] = 0.0


FromAgent = Hello | Health | FactsChanged | Accepted | Refused | Progress | Result | Goodbye
FromCollector = Challenge | Welcome | Ack | Command | Receipt | Goodbye
Message = (
    Challenge
    | Hello
    | Welcome
    | Health
    | FactsChanged
    | Ack
    | Command
    | Accepted
    | Refused
    | Progress
    | Result
    | Receipt
    | Goodbye
)
"""Everything that may stand in a frame."""
