"""
How a machine and a measuring server talk, and what both make of the bytes they count.

1. `POST /v1/slots` with a `SlotRequest`: the server looks at the ticket and gives a `Slot` with a secret token.
2. `GET /v1/streams?direction=down` (or up), `Upgrade: rackproof-bandwidth`, and the token as bearer: after
   `101 Switching Protocols` the connection carries bytes without meaning. Down: the server sends from the machine's
   first byte on. Up: the machine sends. The machine ends it by closing; the server after the slot's time or bytes.
3. `POST /v1/witness` with what the machine knows as a sender: the server answers with `Seen`, and the slot is over.
"""

import statistics
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

from msgspec import Meta, Struct

from shared.documents import Address
from shared.envelope import Envelope
from shared.tcpinfo import Sending, TcpInfo, limit_of, sending

PROTOCOL = "rackproof-bandwidth"
SLOTS, STREAMS, WITNESS = "/v1/slots", "/v1/streams", "/v1/witness"
DIRECTIONS = ("down", "up")
MOST_STREAMS = 16
"""Of one slot in one direction."""
MOST_SECONDS = 30.0
"""Of one direction."""
SAMPLE_S = 0.1
"""How often a stream's counts are looked at."""
BLOCK_BYTES = 256 * 1024
"""That one call moves, and that a receiver reads at once."""
BODY_BYTES = 64 * 1024
"""The largest body that either end reads."""

Bits = Annotated[int, Meta(ge=0, le=2**53)]


class SlotRequest(Struct, frozen=True, kw_only=True):
    """
    Asks for a slot: seconds of each direction, and as far as known the machine's link in bit/s.

    `most_bytes`: that may be moved in each direction.
    """

    ticket: Envelope
    seconds: Annotated[float, Meta(ge=1, le=MOST_SECONDS)]
    link_bit_s: Bits | None = None
    most_bytes: Bits | None = None


class Slot(Struct, frozen=True, kw_only=True):
    """A slot: the secret that opens streams, the server's link in bit/s, and the key it signs with."""

    token: Annotated[str, Meta(min_length=32, max_length=100)]
    capacity_bit_s: Bits
    public_key: Annotated[bytes, Meta(min_length=32, max_length=32)]


class SeenRequest(Struct, frozen=True, kw_only=True):
    """What the machine's kernel tells of its sending up, None where nothing; and of the way down, `Way.unread`."""

    up: Sending | None = None
    down_unread: Annotated[float, Meta(ge=0, le=1)] = 0.0


class Way(Struct, frozen=True, kw_only=True):
    """
    One direction as one end saw it.

    Attributes:
        bit_s: Goodput: the median of its slices.
        least_bit_s: Of the slices.
        most_bit_s: Of the slices.
        slices: How many there are.
        moved_bytes: From the first byte to the last, the ramp included.
        streams: How many carried it.
        cpu: CPU time that this end spent a second, in CPUs.
        unread: Share of looks in which more than a block had arrived and waited for this end to read it.
        sending: As this end's kernel saw it, if this end was the sender.
    """

    bit_s: Bits
    least_bit_s: Bits
    most_bit_s: Bits
    slices: int
    moved_bytes: Bits
    streams: int
    cpu: float
    unread: float = 0.0
    sending: Sending | None = None


class Seen(Struct, frozen=True, kw_only=True):
    """What the server saw, and its signature under the part of it that counts."""

    up: Way
    down: Way
    witness: Envelope | None = None


class Sample(Struct, frozen=True, array_like=True):
    """
    One look at a stream: when in seconds, bytes that had arrived, CPU seconds of its thread, the sender's account, and
    bytes that wait to be read at the receiver.
    """

    at_s: float
    moved: int
    cpu_s: float
    tcp: TcpInfo | None = None
    unread: int = 0


Series = Sequence[Sample]


def ramp_s(seconds: float) -> float:
    """Return how much of a direction's beginning is not counted: congestion control needs it to find the rate."""
    return min(2.0, seconds / 3)


def slice_s(seconds: float) -> float:
    """Return the length of a slice, so that even a short run has eight of them."""
    return 0.5 if seconds >= 8 else 0.25


def way(streams: Sequence[Series], seconds: float) -> Way | None:
    """
    Return what the streams of one direction carried together.

    Args:
        streams: Looks at each of them, in order of time, by one clock.
        seconds: How long the direction was meant to take.

    Returns:
        None where not one slice after the ramp is whole.
    """
    begun = [series for series in streams if series]
    if not begun:
        return None
    first, last = min(one[0].at_s for one in begun), max(one[-1].at_s for one in begun)
    step = slice_s(seconds)
    starts = first + ramp_s(seconds)
    count = int((min(last, first + seconds) - starts) / step + 1e-6)
    if count < 1:
        return None
    edges = [starts + number * step for number in range(count + 1)]
    sums = [sum(moved_at(one, edge) for one in begun) for edge in edges]
    rates = [round((after - before) * 8 / step) for before, after in pairwise(sums)]
    counted = [[one for one in series if starts <= one.at_s <= edges[-1]] for series in begun]
    looks = [[(one.at_s, one.tcp) for one in series if one.tcp] for series in counted]
    later = [one for series in counted for one in series]
    return Way(
        bit_s=round(statistics.median(rates)),
        least_bit_s=min(rates),
        most_bit_s=max(rates),
        slices=count,
        moved_bytes=sum(one[-1].moved for one in begun),
        streams=len(begun),
        cpu=round(sum(one[-1].cpu_s - one[0].cpu_s for one in begun) / max(last - first, step), 3),
        unread=round(statistics.mean(one.unread > BLOCK_BYTES for one in later), 3) if later else 0.0,
        sending=sending(looks),
    )


def moved_at(series: Series, at_s: float) -> float:
    """Return how much a stream had carried at a moment between, before or after looks at it."""
    after = bisect_right(series, at_s, key=lambda one: one.at_s)
    if after == 0:
        return 0.0
    if after == len(series):
        return float(series[-1].moved)
    one, other = series[after - 1], series[after]
    return one.moved + (other.moved - one.moved) * (at_s - one.at_s) / (other.at_s - one.at_s)


def limited_by(direction: str, told: Sending, unread: float) -> str:
    """Return what held one direction, by its two ends' accounts: "path", "client" or "server"; up, the client sends."""
    ends = (
        {"sender": "server", "receiver": "client"}
        if direction == "down"
        else {"sender": "client", "receiver": "server"}
    )
    return ends.get(limit_of(told, unread), "path")


def same_address(one: Address, other: Address) -> bool:
    """Return whether two addresses of a server are the same."""
    return one.rstrip("/").lower() == other.rstrip("/").lower()
