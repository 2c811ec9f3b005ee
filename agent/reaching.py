"""The way to a collector, a step at a time: its name, its port, its certificate, its answer. Blocking; for `doctor`."""

import contextlib
import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import urlsplit

STEP_S = 5.0
"""How long a step may take; a link that needs longer loses its sessions anyway."""


class Place(NamedTuple):
    """Where a collector listens."""

    host: str
    port: int
    encrypted: bool

    @property
    def local(self) -> bool:
        """Whether it is this machine itself."""
        return self.host in {"localhost", "127.0.0.1", "::1"}


class Answered(NamedTuple):
    """What a collector answered: status, round trip, and by how much our clock is ahead of its (negative: behind)."""

    status: int
    took_ms: float
    ahead_s: float | None


def place(origin: str) -> Place:
    """Return where an origin ("https://host[:port]") is."""
    parts = urlsplit(origin)
    encrypted = parts.scheme == "https"
    return Place(parts.hostname or "", parts.port or (443 if encrypted else 80), encrypted)


def resolve(where: Place) -> tuple[str, ...]:
    """
    Return the addresses of a name, each once.

    Raises:
        OSError: socket.gaierror: it has none, or nobody could be asked.
    """
    found = socket.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[4][0]) for address in found))


@contextlib.contextmanager
def connect(where: Place) -> Iterator[socket.socket]:
    """
    Open a connection to the first address that takes one.

    Raises:
        OSError: none did; TimeoutError: none answered.
    """
    with socket.create_connection((where.host, where.port), timeout=STEP_S) as connection:
        yield connection


def trust(ca_file: str) -> ssl.SSLContext:
    """
    Return how the agent checks certificates.

    Raises:
        Trouble: `bad_configuration`: the authority's file cannot be read.
    """
    from agent.link import tls_context  # noqa: PLC0415 - with it comes a library that only an enrolled machine needs

    return tls_context(ca_file) or ssl.create_default_context()


def ask(where: Place, ca_file: str) -> Answered:
    """
    Ask whether somebody is alive there.

    Raises:
        OSError: no answer; ssl.SSLError: no trust; TimeoutError: not in time.
        http.client.HTTPException: what answers does not speak HTTP.
        Trouble: `bad_configuration`: the authority's file cannot be read.
    """
    context = trust(ca_file) if where.encrypted else None
    with connect(where) as plain:
        # The address is known and the port open by now: what is timed is the question and the answer.
        connection = http.client.HTTPConnection(where.host, where.port, timeout=STEP_S)
        connection.sock = plain if context is None else context.wrap_socket(plain, server_hostname=where.host)
        with contextlib.closing(connection):
            asked_at, began_s = datetime.now(UTC), time.perf_counter()
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            took_s = time.perf_counter() - began_s
            answer.read()
            return Answered(answer.status, took_s * 1000, ahead_s(asked_at, took_s, answer.getheader("Date")))


def ahead_s(asked_at: datetime, took_s: float, date: str | None) -> float | None:
    """
    Return by how many seconds our clock is ahead of the one behind a Date header; None where there is none.

    The header was written on the way between question and answer, and has whole seconds: half of each is what is
    expected. Source: RFC 9110, 6.6.1.
    """
    try:
        told_at = parsedate_to_datetime(date or "")
    except ValueError:
        return None
    if told_at.tzinfo is None:
        told_at = told_at.replace(tzinfo=UTC)
    return (asked_at - told_at).total_seconds() + took_s / 2 - 0.5
