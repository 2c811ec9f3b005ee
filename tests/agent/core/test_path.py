"""Round trip and loss to the collector, of real connections."""

import socket
import struct
from collections import deque
from collections.abc import Iterator

import pytest

from agent.path import WINDOW_S, NetworkPath, parse_path
from shared.tcpinfo import TCP_INFO_BYTES, TcpInfo


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    with near, far:
        yield near, far


class Told:
    """A connection whose kernel tells what a test wants: bytes sent, sent again, and the round trip."""

    def __init__(self, sent: int = 0, resent: int = 0, rtt_us: int = 1000) -> None:
        self.sent, self.resent, self.rtt_us = sent, resent, rtt_us

    def getsockopt(self, level: int, option: int, length: int) -> bytes:
        fields = [0] * 50
        fields[23], fields[48], fields[49] = self.rtt_us, self.sent, self.resent
        return struct.pack("=8B24I4Q6I4Q2I2Q", *fields)[:length]


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_real_connection_has_a_round_trip_and_no_loss(pair: tuple[socket.socket, socket.socket]) -> None:
    """On loopback: well below 100 ms, nothing sent again."""
    near, far = pair
    path = NetworkPath()
    with path.over(near):
        near.sendall(b"report" * 100)
        far.recv(4096)
        far.sendall(b"ack")
        near.recv(16)
        values = path.readings()
    assert 0 < values["collector_rtt_ms"] < 100
    assert values["collector_resent_percent"] == 0.0


def test_without_a_connection_there_is_nothing_to_tell(pair: tuple[socket.socket, socket.socket]) -> None:
    """Before the first, after the last, and where a transport hides its socket."""
    path = NetworkPath()
    assert path.readings() == {}
    with path.over(pair[0]):
        assert path.readings() != {}
    assert path.readings() == {}
    with path.over(None):
        assert path.readings() == {}


def test_a_socket_closed_beneath_us_is_no_failure(pair: tuple[socket.socket, socket.socket]) -> None:
    """The link notices by itself."""
    path = NetworkPath()
    with path.over(pair[0]):
        pair[0].close()
        assert path.readings() == {}


def test_what_was_resent_is_a_share_of_the_last_minutes() -> None:
    """A loss of an hour ago is forgotten; one connection's counts are never mixed with another's."""
    clock, told = Clock(), Told(sent=1000)
    path = NetworkPath(clock)
    with path.over(told):
        clock.now_s, told.sent, told.resent = 15.0, 2000, 100
        assert path.readings()["collector_resent_percent"] == 10.0
        clock.now_s, told.sent = 30.0, 3000
        assert path.readings()["collector_resent_percent"] == 5.0
        for _ in range(40):
            clock.now_s, told.sent = clock.now_s + 15, told.sent + 1000
            values = path.readings()
        assert values["collector_resent_percent"] == 0.0
        assert len(path._looks) <= WINDOW_S / 15 + 2
    with path.over(Told(sent=10**9)):
        assert "collector_resent_percent" not in path.readings()


def test_nothing_sent_has_no_share() -> None:
    """No division by zero, and no 0 that says all arrived."""
    look = TcpInfo(0, 500, 0, 0, 0, 0, 2500, 2000, False)
    assert parse_path(deque([(0.0, look), (15.0, look)])) == {"collector_rtt_ms": 2.5}


def test_an_old_kernel_tells_nothing() -> None:
    """It gives less than was asked for."""

    class Old(Told):
        def getsockopt(self, level: int, option: int, length: int) -> bytes:
            return super().getsockopt(level, option, length)[: TCP_INFO_BYTES - 1]

    path = NetworkPath()
    with path.over(Old()):
        assert path.readings() == {}
