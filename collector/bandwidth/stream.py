"""One stream: bytes without meaning, by blocking calls of a thread of its own, and looks at it from another."""

import fcntl
import os
import socket
import sys
import termios
import threading
import time

from shared.bandwidth import BLOCK_BYTES, Sample
from shared.tcpinfo import TCP_INFO_BYTES, TcpInfo, parse

_SENT = memoryview(os.urandom(4 * BLOCK_BYTES))
"""What is sent, in turns: nothing on the way can make it smaller."""


class Stream:
    """
    One stream, made by the thread that will move its bytes.

    Args:
        number: In the register.
        direction: "down" or "up".
        sock: Connected, after the handshakes; blocking without a limit, which whoever watches it sets.
    """

    def __init__(self, number: int, direction: str, sock: socket.socket) -> None:
        self.number = number
        self.direction = direction
        self.series: list[Sample] = []
        self._sock = sock
        self._moved = 0
        self._cpu = time.pthread_getcpuclockid(threading.get_ident())
        self._lock = threading.Lock()
        self._at_first: TcpInfo | None = None

    def send(self, seconds: float, most_bytes: int) -> None:
        """Wait for the machine's first byte, then send until it closes, or time or bytes are over."""
        if not self._sock.recv(1):
            return
        self.look(first=True)
        ends_s = time.monotonic() + seconds
        while self._moved < most_bytes and time.monotonic() < ends_s:
            at = self._moved % len(_SENT)
            self._sock.sendall(_SENT[at : at + BLOCK_BYTES])
            self._moved += BLOCK_BYTES

    def receive(self, seconds: float, most_bytes: int) -> None:
        """Receive until the machine closes, or time or bytes are over."""
        buffer = bytearray(BLOCK_BYTES)
        ends_s = time.monotonic() + seconds
        while (got := self._sock.recv_into(buffer)) and self._moved < most_bytes and time.monotonic() < ends_s:
            if not self._moved:
                self.look(first=True)
            self._moved += got

    def look(self, *, first: bool = False) -> None:
        """Note how far the stream is, from any thread; nothing before its first byte or after its end."""
        with self._lock:
            if not first and not self.series:
                return
            try:
                self._note()
            except (OSError, ValueError):
                return  # closed between two looks, or between two questions of one

    def _note(self) -> None:
        tcp = parse(self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES))
        moved = self._moved
        if self.direction == "down" and tcp is not None:
            # What has arrived, not what waits in this machine's buffer.
            self._at_first = self._at_first or tcp
            moved = tcp.bytes_acked - self._at_first.bytes_acked
        self.series.append(
            Sample(
                at_s=time.monotonic(),
                moved=moved,
                cpu_s=round(time.clock_gettime(self._cpu), 4),
                tcp=tcp if self.direction == "down" else None,
                unread=_unread(self._sock) if self.direction == "up" else 0,
            )
        )


def _unread(sock: socket.socket) -> int:
    return int.from_bytes(fcntl.ioctl(sock, termios.FIONREAD, bytes(4)), sys.byteorder)
