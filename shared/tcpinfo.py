"""
A TCP sender's own account of what held it back, as the kernel keeps it: read, added up over streams, and judged.

Source: Linux, include/uapi/linux/tcp.h (struct tcp_info); net/ipv4/tcp.c, tcp_get_info_chrono_stats: the busy time
contains the two limited ones; net/ipv4/tcp_rate.c: what "application-limited" means.
"""

import statistics
import struct
from collections.abc import Sequence

from msgspec import Struct

TCP_INFO_BYTES = 216
"""As far as the last field read here, which Linux has since 4.19."""
_LAYOUT = struct.Struct("=8B24I4Q6I4Q2I2Q")
assert _LAYOUT.size == TCP_INFO_BYTES

HELD = 0.25
"""Share of the time from which a limit counts as one: a stream waits a little for everything."""


class TcpInfo(Struct, frozen=True, array_like=True):
    """One look at a stream's sender: counts since it opened, times in microseconds, and two facts of this moment."""

    bytes_acked: int
    bytes_sent: int
    bytes_resent: int
    busy_us: int
    receiver_limited_us: int
    buffer_limited_us: int
    rtt_us: int
    rtt_min_us: int
    application_limited: bool


def parse(raw: bytes) -> TcpInfo | None:
    """Read what getsockopt(TCP_INFO) gave; None from a kernel too old to tell."""
    if len(raw) < TCP_INFO_BYTES:
        return None
    told = _LAYOUT.unpack_from(raw)
    return TcpInfo(
        bytes_acked=told[34],
        bytes_sent=told[48],
        bytes_resent=told[49],
        busy_us=told[43],
        receiver_limited_us=told[44],
        buffer_limited_us=told[45],
        rtt_us=told[23],
        rtt_min_us=told[39],
        # The lowest bit where the kernel is little-endian: every machine that has the GPUs this is for.
        application_limited=bool(told[7] & 1),
    )


class Sending(Struct, frozen=True, kw_only=True):
    """
    How sending went, over all streams of one direction. Shares are of the time, 0 to 1.

    Attributes:
        busy: Data was there that the other end had not acknowledged.
        receiver_limited: The receiver's window was full.
        buffer_limited: The sender's own buffer was.
        application_limited: The program had nothing more for the kernel to send.
        resent: Share of the bytes that were sent again.
        rtt_min_ms: Shortest round trip.
        rtt_ms: Median of the smoothed round trip: with a queue on the way, the wait in it too.
    """

    busy: float
    receiver_limited: float
    buffer_limited: float
    application_limited: float
    resent: float
    rtt_min_ms: float
    rtt_ms: float


def sending(streams: Sequence[Sequence[tuple[float, TcpInfo]]]) -> Sending | None:
    """
    Add up what the senders of several streams saw.

    Args:
        streams: Of each stream, looks with their moments in seconds.

    Returns:
        None where no stream has been looked at for any time.
    """
    seen = [looks for looks in streams if len(looks) > 1 and looks[-1][0] > looks[0][0]]
    if not seen:
        return None
    ends = [(looks[0][1], looks[-1][1]) for looks in seen]
    every = [info for looks in seen for _, info in looks]
    passed_us = sum(looks[-1][0] - looks[0][0] for looks in seen) * 1e6
    sent = sum(last.bytes_sent - first.bytes_sent for first, last in ends)

    def share(us: int) -> float:
        return round(min(1.0, max(0.0, us / passed_us)), 3)

    return Sending(
        busy=share(sum(last.busy_us - first.busy_us for first, last in ends)),
        receiver_limited=share(sum(last.receiver_limited_us - first.receiver_limited_us for first, last in ends)),
        buffer_limited=share(sum(last.buffer_limited_us - first.buffer_limited_us for first, last in ends)),
        application_limited=round(sum(one.application_limited for one in every) / len(every), 3),
        resent=round(sum(last.bytes_resent - first.bytes_resent for first, last in ends) / sent, 5) if sent else 0.0,
        rtt_min_ms=min(one.rtt_min_us for one in every) / 1000,
        rtt_ms=round(statistics.median(one.rtt_us for one in every) / 1000, 3),
    )


def limit_of(told: Sending, unread: float) -> str:
    """
    Return what held a sender: "path", "receiver" or "sender", whichever took the most of its time.

    A sender that always has data under way, and is told to wait by nobody, waits for the path.

    Args:
        told: By the sender.
        unread: Share of the time in which the receiver had not read what had arrived, 0 to 1. A program that is too
            slow does not always show in the window: before it is full, its kernel acknowledges late, as if far away.
    """
    own = max(1 - told.busy, told.buffer_limited, told.application_limited)
    theirs = max(told.receiver_limited, unread)
    if max(own, theirs) < HELD:
        return "path"
    return "receiver" if theirs >= own else "sender"
