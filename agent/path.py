"""The way to the collector, as the kernel sees it on the link's own connection: no packet is sent to find out."""

import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from shared.messages import Values
from shared.tcpinfo import TCP_INFO_BYTES, TcpInfo, parse

WINDOW_S = 300.0
"""What was resent is told over this long: in the 15 s between two reports there are too few packets for a share."""


class Connection(Protocol):
    """What a transport shows of its TCP socket."""

    def getsockopt(self, level: int, option: int, length: int, /) -> bytes:
        """Return a socket option of this many bytes."""


def parse_path(looks: "deque[tuple[float, TcpInfo]]") -> Values:
    """Turn looks at one connection, the oldest first, into readings."""
    if not looks:
        return {}
    first, last = looks[0][1], looks[-1][1]
    sent = last.bytes_sent - first.bytes_sent
    values: Values = {"collector_rtt_ms": round(last.rtt_us / 1000, 3)}
    if sent > 0:
        values["collector_resent_percent"] = round(100 * (last.bytes_resent - first.bytes_resent) / sent, 2)
    return values


class NetworkPath:
    """
    The link's connection, whichever is open. Used by the event loop's thread alone.

    Args:
        now_s: A clock that never goes back.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._connection: Connection | None = None
        self._looks: deque[tuple[float, TcpInfo]] = deque()

    @contextmanager
    def over(self, connection: Connection | None) -> Iterator[None]:
        """Look at this connection as long as it is open; None where a transport does not show its socket."""
        self._connection = connection
        self._looks.clear()
        self._look()
        try:
            yield
        finally:
            self._connection = None

    def readings(self) -> Values:
        """Return round trip and share resent; nothing while there is no connection."""
        self._look()
        return parse_path(self._looks) if self._connection is not None else {}

    def _look(self) -> None:
        """Take another look; those older than the window go, but one remains to count from."""
        if self._connection is None:
            return
        try:
            found = parse(self._connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES))
        except OSError:
            found = None  # closed beneath us: the link notices by itself
        if found is None:
            self._connection = None
            return
        now_s = self._now_s()
        self._looks.append((now_s, found))
        while len(self._looks) > 1 and self._looks[1][0] <= now_s - WINDOW_S:
            self._looks.popleft()
