"""One worker process: takes connections, one thread each, and watches them all from one more."""

import ipaddress
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from http.server import ThreadingHTTPServer
from typing import Any

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct

from collector.bandwidth.handler import Handler
from collector.bandwidth.register import Register
from collector.bandwidth.stream import Stream
from shared.bandwidth import SAMPLE_S

MOST_CONNECTIONS, MOST_OF_ONE_ADDRESS = 512, 128
"""Of one worker: threads, of which each may wait ten seconds for a stranger; behind one address are many machines."""
LOOKS_A_RECORD = 10

log = structlog.get_logger()


class Rules(Struct, frozen=True, kw_only=True):
    """
    What a measuring server is given.

    Attributes:
        listen: Host and port.
        origins: Addresses under which machines reach it; tickets name one of them.
        capacity_bit_s: Of its link.
        collector_key: Whose tickets it takes.
    """

    listen: tuple[str, int]
    origins: tuple[str, ...]
    capacity_bit_s: int
    collector_key: bytes

    @property
    def family(self) -> socket.AddressFamily:
        """Of the address listened on."""
        return socket.AF_INET6 if ":" in self.listen[0] else socket.AF_INET


def neighbours(address: str) -> str:
    """Return what counts as one address: with IPv6 a network of 64 bits, all of which one stranger has."""
    found = ipaddress.ip_address(address)
    if found.version == 4:
        return str(found)
    return str(found.ipv4_mapped or ipaddress.IPv6Network((int(found), 64), strict=False))


class Doors:
    """Counts connections; not more than so many, nor of one address."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Return whether one more is let in."""
        address = neighbours(address)
        with self._lock:
            full = self._inside.total() >= MOST_CONNECTIONS or self._inside[address] >= MOST_OF_ONE_ADDRESS
            self._inside[address] += not full
            return not full

    def leave(self, address: str) -> None:
        """Let one out."""
        address = neighbours(address)
        with self._lock:
            self._inside[address] -= 1
            if self._inside[address] <= 0:
                del self._inside[address]


class Worker(ThreadingHTTPServer):
    """
    The server of one process.

    Args:
        rules: What holds for all of them.
        register: What they share, opened by this process.
        key: Signs what was seen.
        tls: None for plain HTTP.
    """

    allow_reuse_port = True
    request_queue_size = 256
    daemon_threads = True
    block_on_close = False

    def __init__(self, rules: Rules, register: Register, key: Ed25519PrivateKey, tls: ssl.SSLContext | None) -> None:
        self.rules = rules
        self.register = register
        self.key = key
        self.tls = tls
        self.address_family = rules.family
        self._doors = Doors()
        self._deadlines: dict[socket.socket, float] = {}
        self._streams: dict[int, Stream] = {}
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        super().__init__(rules.listen, Handler)

    def run(self) -> None:
        """Serve until SIGTERM, or until the parent is gone."""
        signal.signal(signal.SIGTERM, lambda *_: self._stop.set())
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent passes it on
        threading.Thread(target=self._watch, args=(os.getppid(),), daemon=True).start()
        self.serve_forever()
        self.server_close()
        self.close_until(float("inf"))
        self._flush()

    def count(self, name: str, much: int = 1) -> None:
        """Add to a figure; all of them are passed on once a second."""
        with self._lock:
            self._counts[name] += much

    def watch(self, sock: socket.socket, seconds: float) -> None:
        """Cut a connection off after so long, whatever its thread waits for; a later call moves the moment."""
        with self._lock:
            self._deadlines[sock] = time.monotonic() + seconds

    def unwatch(self, sock: socket.socket) -> None:
        """A connection is over."""
        with self._lock:
            self._deadlines.pop(sock, None)

    def begin(self, stream: Stream) -> None:
        """Look at a stream from now on."""
        with self._lock:
            self._streams[stream.number] = stream

    def end(self, stream: Stream) -> None:
        """Look at a stream for the last time, and record it."""
        with self._lock:
            self._streams.pop(stream.number)
        stream.look()
        self.register.record(stream.number, stream.series, ended=True)
        if stream.series:
            self.count(f'bytes_total{{direction="{stream.direction}"}}', stream.series[-1].moved)

    def close_until(self, moment_s: float) -> None:
        """Cut off every connection whose deadline is before a moment."""
        with self._lock:
            late = [sock for sock, deadline in self._deadlines.items() if deadline <= moment_s]
            for sock in late:
                del self._deadlines[sock]
        for sock in late:
            try:
                # Not an SSLSocket's own: that one takes the TLS state away from the thread that is using it.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                continue  # gone by itself

    def _watch(self, parent: int) -> None:
        rounds = 0
        try:
            while not self._stop.wait(SAMPLE_S) and os.getppid() == parent:
                rounds += 1
                self._look(record=rounds % LOOKS_A_RECORD == 0)
        finally:
            # Also where the register fails: without these looks nothing is measured and nobody is cut off. The parent
            # starts another worker.
            self.shutdown()

    def _look(self, *, record: bool) -> None:
        with self._lock:
            streams = list(self._streams.values())
        for one in streams:
            one.look()
        if record:
            for one in streams:
                self.register.record(one.number, one.series, ended=False)
            self.close_until(time.monotonic())
            self._flush()

    def _flush(self) -> None:
        with self._lock:
            counts, self._counts = self._counts, Counter()
        self.register.add(counts, time.monotonic(), time.time())

    # What the standard server calls.

    def verify_request(self, _request: Any, client_address: Any) -> bool:
        """Let a connection in, or close it at once."""
        there = self._doors.enter(client_address[0])
        if not there:
            self.count('refusals_total{code="connections"}')
        return there

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection its thread; where the kernel has none left, its place is free again."""
        try:
            super().process_request(request, client_address)
        except RuntimeError:
            self._doors.leave(client_address[0])
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._doors.leave(client_address[0])

    def handle_error(self, _request: Any, client_address: Any) -> None:
        """Tell what nobody foresaw, never to the client; one that is gone before its first byte is no news."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            self.count('refusals_total{code="connection_lost"}')
            return
        self.count('refusals_total{code="internal"}')
        log.error("bandwidth.crashed", peer=client_address[0], exc_info=error)
