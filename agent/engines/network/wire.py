"""Talking to a measuring server: connections, requests and their answers, with one error type."""

import http.client
import socket
import ssl
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from shared.bandwidth import BODY_BYTES, PROTOCOL, STREAMS
from shared.codes import Code, Trouble
from shared.problems import Problem

CONNECT_S = 10.0
SILENCE_S = 5.0
"""A server that says nothing for so long is gone."""
HEAD_BYTES = 8192

T = TypeVar("T")


class Busy(Trouble):
    """The server has no room now; `wait_s` as it asked for, 0 where it did not."""

    def __init__(self, detail: str, wait_s: int) -> None:
        super().__init__(Code.NO_SERVER, f"the measuring server is full: {detail}")
        self.wait_s = wait_s


class Server:
    """
    A measuring server's address.

    Args:
        url: "https://host:port" or, without TLS, "http://host:port".
        ca_file: A private certificate authority; empty for the system's.

    Raises:
        Trouble: `no_server` or `bad_configuration`.
    """

    def __init__(self, url: str, ca_file: str) -> None:
        parts = urlsplit(url)
        try:
            self.host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise Trouble(Code.NO_SERVER, f"{url}: {error}") from error
        self.port = port or (443 if parts.scheme == "https" else 80)
        self.name = f"{self.host}:{self.port}"
        self._tls = _tls(ca_file) if parts.scheme == "https" else None

    def connect(self) -> socket.socket:
        """
        Return a connection, its TLS handshake done.

        Raises:
            Trouble: `no_server`.
        """
        try:
            sock = socket.create_connection((self.host, self.port), CONNECT_S)
            sock.settimeout(SILENCE_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return self._tls.wrap_socket(sock, server_hostname=self.host) if self._tls else sock
        except ssl.SSLCertVerificationError as error:
            raise Trouble(
                Code.NO_SERVER, f"{self.name}: its certificate is not good: {error.verify_message}"
            ) from error
        except ssl.SSLError as error:
            raise Trouble(Code.NO_SERVER, f"{self.name}: TLS failed: {error.reason or error}") from error
        except OSError as error:
            raise Trouble(Code.NO_SERVER, f"{self.name} does not answer: {error.strerror or error}") from error

    def ask(self, path: str, body: Struct, kind: type[T], token: str = "") -> T:
        """
        Post a body and return the answer.

        Raises:
            Busy: There is no room now.
            Trouble: `no_server` when it refuses or is gone, `benchmark_failed` when it does not keep to the protocol.
        """
        connection = http.client.HTTPConnection(self.host, self.port)
        connection.sock = self.connect()
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        try:
            connection.request("POST", path, msgspec.json.encode(body), headers)
            with connection.getresponse() as answer:
                text = answer.read(BODY_BYTES)
        except OSError as error:
            raise Trouble(Code.NO_SERVER, f"{self.name} went silent: {error.strerror or error}") from error
        except http.client.HTTPException as error:
            raise _strange(self.name, f"{type(error).__name__} {error}") from error
        finally:
            connection.close()
        if answer.status >= 300:
            raise _refusal(answer.status, text, answer.headers.get("Retry-After", ""))
        try:
            return msgspec.json.decode(text, type=kind)
        except (ValueError, RecursionError) as error:
            raise _strange(self.name, str(error)) from error

    def open_stream(self, direction: str, token: str) -> socket.socket:
        """
        Return a connection that carries bytes from now on, without any limit of time.

        Raises:
            Trouble: `no_server` or `benchmark_failed`, as `ask`.
        """
        sock = self.connect()
        lines = (
            f"GET {STREAMS}?direction={direction} HTTP/1.1",
            f"Host: {self.name}",
            f"Authorization: Bearer {token}",
            "Connection: Upgrade",
            f"Upgrade: {PROTOCOL}",
        )
        try:
            sock.sendall("\r\n".join((*lines, "", "")).encode())
            head = _head(sock)
        except OSError as error:
            sock.close()
            raise Trouble(Code.NO_SERVER, f"{self.name} went silent: {error.strerror or error}") from error
        first, _, rest = head.partition(b"\r\n")
        if not first.startswith(b"HTTP/1.1 101 ") or f"upgrade: {PROTOCOL}".encode() not in rest.lower():
            sock.close()
            raise _strange(self.name, f"a stream was answered with {first[:80].decode('ascii', 'replace')!r}")
        sock.settimeout(None)
        return sock


def _tls(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise Trouble(Code.BAD_CONFIGURATION, f"{ca_file}: {error}") from error


def _head(sock: socket.socket) -> bytes:
    """Read to the end of the head and not a byte further: what follows is the stream's."""
    head = bytearray()
    while not head.endswith(b"\r\n\r\n") and len(head) < HEAD_BYTES:
        one = sock.recv(1)
        if not one:
            break
        head += one
    return bytes(head)


def _refusal(status: int, text: bytes, retry_after: str) -> Trouble:
    try:
        problem = msgspec.json.decode(text, type=Problem)
    except (ValueError, RecursionError):
        return Trouble(Code.NO_SERVER, f"the measuring server answered with HTTP {status}")
    if problem.code == Code.SLOW_DOWN:
        digits = retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 6
        return Busy(problem.detail[:200], int(retry_after) if digits else 0)
    return Trouble(Code.NO_SERVER, f"the measuring server refused: {problem.code}: {problem.detail}"[:280])


def _strange(name: str, words: str) -> Trouble:
    return Trouble(Code.BENCHMARK_FAILED, f"{name} is no measuring server of ours: {words}"[:280])
