"""One direction of a measurement: several streams, a thread each, and looks at them until the time is over."""

import contextlib
import fcntl
import os
import socket
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable, Sequence

from agent.engines.network.planning import Plan
from agent.engines.network.wire import CONNECT_S, SILENCE_S
from shared.bandwidth import BLOCK_BYTES, SAMPLE_S, Sample, ramp_s
from shared.codes import Code, Trouble
from shared.tcpinfo import TCP_INFO_BYTES, TcpInfo, parse

STREAMS = 4
FAST_STREAMS, FAST_BIT_S = 8, 4e9
"""Streams where the ramp shows a rate above this one, which four threads may not exhaust."""
TAIL_S = 0.3
"""More than the time to be measured, so that the other end sees all of it too."""
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that drops what waits to be sent: on a slow path it would be minutes of traffic for nothing."""


class Stream:
    """
    One stream and its thread.

    Args:
        connect: Opens it.
        direction: "down" or "up".
        go: Set when all are open.
    """

    def __init__(self, connect: Callable[[], socket.socket], direction: str, go: threading.Event) -> None:
        self.ready = threading.Event()
        self.series: list[Sample] = []
        self.trouble: Trouble | None = None
        self.sock: socket.socket | None = None
        self._connect = connect
        self._down = direction == "down"
        self._go = go
        self._moved = 0
        self._acked_before = 0
        self._cpu = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    @property
    def moved(self) -> int:
        """Bytes that arrived at the receiver, at the last look."""
        return self.series[-1].moved if self.series else 0

    def look(self) -> None:
        """Note how far it is; nothing more once its thread has ended, `trouble` then says why."""
        if self.sock is None or not self._cpu:
            return
        with contextlib.suppress(OSError):
            cpu_s = time.clock_gettime(self._cpu)
            tcp = None if self._down else _tcp_info(self.sock)
            moved = self._moved if tcp is None else tcp.bytes_acked - self._acked_before
            unread = _unread(self.sock) if self._down else 0
            self.series.append(Sample(at_s=time.monotonic(), moved=moved, cpu_s=cpu_s, tcp=tcp, unread=unread))

    def stop(self) -> None:
        """End it now; what is still under way is dropped."""
        self._stopping = True
        self._go.set()
        if self.sock is not None:
            with contextlib.suppress(OSError):  # the other end may have been faster
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                # Not an SSLSocket's own, which would take the TLS state away from the thread that is using it.
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
            self._thread.join(SILENCE_S)
            self.sock.close()

    def _work(self) -> None:
        try:
            self.sock = self._connect()
            before = _tcp_info(self.sock)
            self._acked_before = before.bytes_acked if before else 0
        except Trouble as trouble:
            self.trouble = trouble
            return
        finally:
            self.ready.set()
        self._go.wait()
        if self._stopping:
            self.sock.close()
            return
        self._cpu = time.pthread_getcpuclockid(threading.get_ident())
        try:
            (self._receive if self._down else self._send)(self.sock)
            words = "the measuring server ended a stream early"
        except OSError as error:
            words = f"a stream broke: {error.strerror or error}"
        if not self._stopping:
            self.trouble = Trouble(Code.BENCHMARK_FAILED, words)

    def _receive(self, sock: socket.socket) -> None:
        buffer = bytearray(BLOCK_BYTES)
        sock.sendall(b"\n")
        while got := sock.recv_into(buffer):
            self._moved += got

    def _send(self, sock: socket.socket) -> None:
        block = memoryview(os.urandom(2 * BLOCK_BYTES))
        while not self._stopping:
            at = self._moved % BLOCK_BYTES
            self._moved += sock.send(block[at : at + BLOCK_BYTES])


def move(
    connect: Callable[[], socket.socket], direction: str, plan: Plan, seen: Callable[[float, Sequence[Stream]], None]
) -> list[Stream]:
    """
    Move bytes in one direction for as long as planned.

    Args:
        connect: Opens a stream.
        direction: "down" or "up".
        plan: How long, and how much at most.
        seen: Called after every look with the seconds passed.

    Returns:
        The streams, which have ended.

    Raises:
        Trouble: `no_server` or `benchmark_failed`: one could not be opened, broke, or nothing arrived any more.
    """
    go = threading.Event()
    streams = [Stream(connect, direction, go) for _ in range(STREAMS)]
    try:
        opened = [one.ready.wait(CONNECT_S + 2 * SILENCE_S) for one in streams]
        _check(streams)
        if not all(opened):
            raise Trouble(Code.NO_SERVER, "the measuring server did not open a stream in time")
        go.set()
        _watch(streams, lambda: Stream(connect, direction, go), plan, seen)
    finally:
        for one in streams:
            one.stop()
    return streams


def _watch(
    streams: list[Stream], more: Callable[[], Stream], plan: Plan, seen: Callable[[float, Sequence[Stream]], None]
) -> None:
    began = grew_s = time.monotonic()
    moved, passed_s = 0, 0.0
    while passed_s < plan.seconds + TAIL_S and (plan.most_bytes is None or moved < plan.most_bytes):
        time.sleep(SAMPLE_S)
        for one in streams:
            one.look()
        passed_s = time.monotonic() - began
        _check(streams)
        before, moved = moved, sum(one.moved for one in streams)
        seen(passed_s, streams)
        if moved > before:
            grew_s = time.monotonic()
        elif time.monotonic() - grew_s > SILENCE_S:
            raise Trouble(Code.BENCHMARK_FAILED, f"nothing moved for {SILENCE_S:.0f} s")
        in_ramp = ramp_s(plan.seconds) / 2 < passed_s < ramp_s(plan.seconds)
        if in_ramp and len(streams) == STREAMS and moved * 8 / passed_s > FAST_BIT_S:
            streams += [more() for _ in range(FAST_STREAMS - STREAMS)]


def _check(streams: Sequence[Stream]) -> None:
    for one in streams:
        if one.trouble is not None:
            raise one.trouble


def _tcp_info(sock: socket.socket) -> TcpInfo | None:
    return parse(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES))


def _unread(sock: socket.socket) -> int:
    return int.from_bytes(fcntl.ioctl(sock, termios.FIONREAD, bytes(4)), sys.byteorder)
