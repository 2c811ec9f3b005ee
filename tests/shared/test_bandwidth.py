"""What both ends make of the bytes they counted, and which of them was the limit."""

import random
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bandwidth import Sample, limited_by, moved_at, ramp_s, slice_s, way
from shared.tcpinfo import TCP_INFO_BYTES, Sending, TcpInfo, limit_of, parse, sending


def steady(bytes_s: float, begins: float, ends: float, every: float = 0.1, seed: int = 0) -> list[Sample]:
    """A stream of one rate, looked at now and then."""
    dice, at, looks = random.Random(seed), begins, []
    while at < ends:
        looks.append(Sample(at_s=at, moved=round((at - begins) * bytes_s), cpu_s=(at - begins) / 10))
        at += every * dice.uniform(0.5, 1.5)
    looks.append(Sample(at_s=ends, moved=round((ends - begins) * bytes_s), cpu_s=(ends - begins) / 10))
    return looks


@given(st.integers(1, 8), st.floats(1e4, 1e9), st.floats(2, 30), st.floats(0, 1e6), st.randoms())
def test_steady_streams_give_their_rate_whenever_they_are_looked_at(count, bytes_s, seconds, begins, dice):
    """The looks need not fall on the slices' edges, nor on each other's."""
    streams = [steady(bytes_s, begins, begins + seconds + 0.3, seed=dice.random()) for _ in range(count)]
    found = way(streams, seconds)
    assert found.bit_s == pytest.approx(count * bytes_s * 8, rel=0.01, abs=count * 8 * 8 / slice_s(seconds))
    assert found.least_bit_s <= found.bit_s <= found.most_bit_s
    assert found.slices == int((seconds - ramp_s(seconds)) / slice_s(seconds) + 1e-6)
    assert found.streams == count


def test_the_ramp_is_not_counted():
    """Nothing in the first two seconds changes nothing; and a stall in one slice does not move the median."""
    late = [Sample(at_s=0.0, moved=0, cpu_s=0), *steady(1e6, 2.0, 10.3)]
    assert way([late], 10).bit_s == pytest.approx(8e6, rel=0.01)
    stalled = steady(1e6, 0.0, 5.0) + [
        Sample(at_s=one.at_s, moved=one.moved + 4_500_000, cpu_s=0) for one in steady(1e6, 5.5, 10.3)
    ]
    found = way([stalled], 10)
    assert found.bit_s == pytest.approx(8e6, rel=0.01)
    assert found.least_bit_s < 4e6


def test_streams_that_join_later_are_counted_from_then_on():
    """Four more after a second, of ten."""
    found = way([steady(1e6, 0, 10.3), steady(1e6, 1, 10.3)], 10)
    assert (found.bit_s, found.streams) == (pytest.approx(16e6, rel=0.01), 2)


@pytest.mark.parametrize("streams", [[], [[]], [steady(1e6, 0, 1.0)], [[Sample(at_s=0.0, moved=1, cpu_s=0.0)]]])
def test_what_ends_in_the_ramp_is_no_measurement(streams):
    """None, and not 0."""
    assert way(streams, 3.0) is None


def test_between_two_looks_a_stream_goes_on_evenly():
    """Before the first it has moved nothing, after the last nothing more."""
    looks = [Sample(at_s=1.0, moved=10, cpu_s=0), Sample(at_s=2.0, moved=30, cpu_s=0)]
    assert [moved_at(looks, at) for at in (0.0, 1.0, 1.5, 2.0, 9.0)] == [0, 10, 20, 30, 30]


def account(**changed) -> Sending:
    told = {"busy": 1.0, "receiver_limited": 0.0, "buffer_limited": 0.0, "application_limited": 0.0}
    return Sending(**told | changed, resent=0.0, rtt_min_ms=1.0, rtt_ms=1.0)


@pytest.mark.parametrize(
    ("told", "unread", "limit"),
    [
        (account(), 0.0, "path"),
        (account(busy=0.8, receiver_limited=0.2), 0.2, "path"),
        (account(receiver_limited=0.53), 0.0, "receiver"),
        (account(buffer_limited=0.42), 0.8, "receiver"),
        (account(busy=0.03, application_limited=0.9), 0.0, "sender"),
        (account(application_limited=0.6), 0.0, "sender"),
        (account(buffer_limited=0.5), 0.0, "sender"),
        (account(busy=0.5, receiver_limited=0.4), 0.0, "sender"),
    ],
)
def test_the_limit_is_what_took_the_most_time(told, unread, limit):
    """By the sender's kernel, and what lies unread at the receiver."""
    assert limit_of(told, unread) == limit


def test_up_and_down_turn_the_ends_round():
    """Down, the server is the sender; up, the machine is."""
    slow, full = account(busy=0.1), account(receiver_limited=0.9)
    assert [limited_by(way, slow, 0.0) for way in ("down", "up")] == ["server", "client"]
    assert [limited_by(way, full, 0.0) for way in ("down", "up")] == ["client", "server"]
    assert limited_by("up", account(), 0.0) == "path"


def test_a_real_sender_whose_receiver_does_not_read_is_limited_by_it():
    """The kernel's own struct, read from a real connection."""
    with socket.create_server(("127.0.0.1", 0)) as door, socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        reader.connect(door.getsockname())
        writer, _ = door.accept()
        with writer:
            fill = threading.Thread(target=writer.sendall, args=(bytes(2**20),))
            fill.start()
            looks = []
            for number in range(10):
                threading.Event().wait(0.05)
                looks.append(
                    (number * 0.05, parse(writer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)))
                )
            got = 0
            while got < 2**20:
                got += len(reader.recv(65536))
            fill.join()
            while (last := parse(writer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 216))).bytes_acked < 2**20:
                pass
    assert limit_of(sending([looks]), 0.0) == "receiver"
    assert 2**20 <= last.bytes_acked <= 2**20 + 1
    assert 2**20 <= last.bytes_sent <= 2 * 2**20
    assert 0 < last.rtt_min_us < 1_000_000


def test_an_old_kernels_account_is_none():
    """Better nothing than half of it; and no looks are no account."""
    assert parse(bytes(TCP_INFO_BYTES - 1)) is None
    assert sending([]) is None
    assert sending([[(1.0, TcpInfo(0, 0, 0, 0, 0, 0, 0, 0, application_limited=False))]]) is None
