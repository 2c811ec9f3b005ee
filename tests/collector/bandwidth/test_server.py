"""A real measuring server and everything that is not a measurement: strangers, tricks, and its end."""

import signal
import socket
import sqlite3
import struct
import subprocess
import time
from contextlib import closing

import msgspec
import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.bandwidth import PROTOCOL, Slot, SlotRequest
from tests.measuring import Bandwidth
from tests.system.harness import Program, program, wait_for

KEY = Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with 1 Gbit/s, so that two slots of unknown machines fill it."""
    one = Bandwidth(tmp_path_factory.mktemp("bandwidth"), link_gbps=1)
    one.start()
    yield one
    one.kill()


def wanted(server, **more) -> bytes:
    return msgspec.json.encode(SlotRequest(**{"ticket": server.ticket(), "seconds": 1, "link_bit_s": 1000} | more))


def test_tickets_that_are_not_good_open_nothing(server):
    """Forged, foreign, expired, used: 403 with one code, as a problem document."""
    good = wanted(server)
    assert server.ask("POST", "/v1/slots", good)[0] == 201
    forged = wanted(server, ticket=server.ticket(key=Ed25519PrivateKey.generate()))
    foreign = wanted(server, ticket=server.ticket(url="https://127.0.0.1:1"))
    expired = wanted(server, ticket=server.ticket(seconds=-1))
    for body, words in ((good, "used"), (forged, "bad_signature"), (foreign, "is for"), (expired, "over")):
        status, headers, problem = server.ask("POST", "/v1/slots", body)
        assert (status, problem["code"]) == (403, "ticket_refused")
        assert words in problem["detail"]
        assert headers["Content-Type"] == "application/problem+json"


def test_a_full_server_says_when_to_come_back(server):
    """429 with Retry-After, and the ticket stays good."""
    held = []
    while True:
        body = wanted(server, link_bit_s=None)
        status, headers, told = server.ask("POST", "/v1/slots", body)
        if status != 201:
            break
        held.append(told["token"])
    assert (status, told["code"], len(held)) == (429, "slow_down", 2)
    assert 1 <= int(headers["Retry-After"]) <= 60
    counted = b'refusals_total{code="slow_down"} 1\n'
    wait_for(lambda: counted in server.ask("GET", "/metrics")[2], 3, "the refusal to be counted")
    assert b"rackproof_bandwidth_claimed_bit_s 50000" in server.ask("GET", "/metrics")[2]


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "code"),
    [
        ("POST", "/v1/slots", b"{", {}, 400, "malformed"),
        ("POST", "/v1/slots", b"[" * 60_000, {}, 400, "malformed"),
        ("POST", "/v1/slots", b"x", {"Content-Length": "70000"}, 413, "too_large"),
        ("POST", "/v1/slots", b"", {"Content-Length": "-1"}, 400, "malformed"),
        ("POST", "/v1/slots", b"{}", {}, 400, "malformed"),
        ("POST", "/v1/witness", b"{}", {}, 401, "unauthenticated"),
        ("POST", "/v1/witness", b"{}", {"Authorization": "Bearer x"}, 401, "unauthenticated"),
        ("GET", "/v1/streams?direction=down", None, {"Upgrade": PROTOCOL}, 401, "unauthenticated"),
        (
            "GET",
            "/v1/streams?direction=down",
            None,
            {"Upgrade": PROTOCOL, "Authorization": "Bearer " + "é" * 9},
            401,
            "unauthenticated",
        ),
        ("GET", "/v1/streams?direction=sideways", None, {"Upgrade": PROTOCOL}, 400, "invalid"),
        ("GET", "/v1/streams?direction=up", None, {}, 400, "invalid"),
        ("GET", "/../../etc/passwd", None, {}, 404, "not_found"),
        ("GET", "/v1/slots", None, {}, 404, "not_found"),
        ("DELETE", "/v1/slots", None, {}, 405, "method_not_allowed"),
        ("GET", "/" + "x" * 70_000, None, {}, 413, "too_large"),
        ("GET", "/healthz", None, {"X": "y" * 70_000}, 413, "too_large"),
        ("GET", "/healthz", None, {f"X{number}": "y" * 60_000 for number in range(3)}, 413, "too_large"),
    ],
)
def test_bad_requests_get_problem_documents(server, method, path, body, headers, status, code):
    """With our codes, and nothing of the inside."""
    told, _, problem = server.ask(method, path, body, **headers)
    assert (told, problem["code"]) == (status, code)
    assert "Traceback" not in str(problem)


@pytest.mark.parametrize(
    "first",
    [
        b"\x00\xff garbage\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_http_ends_in_one_answer_or_none(server, first):
    """A stranger's bytes never reach a traceback, and the connection ends."""
    with server.tls().wrap_socket(
        socket.create_connection(("127.0.0.1", server.port), 5), server_hostname="127.0.0.1"
    ) as sock:
        sock.sendall(first)
        answer = b""
        while got := sock.recv(65536):
            answer += got
    assert answer == b"" or (b"problem+json" in answer and b'"internal"' not in answer)


def test_what_is_no_tls_is_closed(server):
    """Plain HTTP to a TLS port."""
    with socket.create_connection(("127.0.0.1", server.port), 5) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with _anything():
            while sock.recv(1024):
                pass
    assert server.ask("GET", "/healthz")[0] == 200
    assert "Traceback" not in server.log.read_text()


class _anything:  # noqa: N801 - reads like a context
    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        return kind is None or issubclass(kind, ConnectionError)


def test_peers_that_reset_at_once_leave_no_trace(server):
    """A port scan must not fill the log."""
    for _ in range(200):
        sock = socket.create_connection(("127.0.0.1", server.port), 5)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    wait_for(lambda: b'code="connection_lost"' in server.ask("GET", "/metrics")[2], 3, "them to be counted")
    assert "crashed" not in server.log.read_text()


@pytest.mark.slow
def test_a_stranger_who_dribbles_is_cut_off(server):
    """A byte now and then does not keep a thread: the limit is on the whole request."""
    with server.tls().wrap_socket(
        socket.create_connection(("127.0.0.1", server.port), 20), server_hostname="127.0.0.1"
    ) as sock:
        began = time.monotonic()
        with _anything():
            while time.monotonic() - began < 30:
                sock.sendall(b"G")
                sock.settimeout(1)
                try:
                    if sock.recv(1) == b"":
                        break
                except TimeoutError:
                    continue
        assert 8 < time.monotonic() - began < 14


def test_one_address_gets_only_so_many_connections(server):
    """The rest is closed at once, and others are still served."""
    held = [socket.create_connection(("127.0.0.1", server.port), 5) for _ in range(300)]
    try:
        wait_for(lambda: sum(closed(one) for one in held) >= 20, 5, "connections to be refused")
    finally:
        for one in held:
            one.close()
    wait_for(lambda: server.ask("GET", "/healthz")[0] == 200, 5, "the server to answer again")


def closed(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


@pytest.fixture
def own(tmp_path):
    """A server of a test's own."""
    one = Bandwidth(tmp_path)
    one.start()
    yield one
    one.kill()


def stream(server, token: str, direction: str) -> socket.socket:
    raw = socket.create_connection(("127.0.0.1", server.port), 10)
    sock = server.tls().wrap_socket(raw, server_hostname="127.0.0.1")
    lines = (
        f"GET /v1/streams?direction={direction} HTTP/1.1",
        f"Upgrade: {PROTOCOL}",
        f"Authorization: Bearer {token}",
    )
    sock.sendall("\r\n".join((*lines, "", "")).encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    assert head.startswith(b"HTTP/1.1 101 ")
    return sock


def slot(server, **more) -> Slot:
    return msgspec.convert(server.ask("POST", "/v1/slots", wanted(server, **more))[2], Slot)


def test_a_stream_ends_at_its_bytes_and_at_its_time(own):
    """Whatever the machine does: it is the server that pays."""
    token = slot(own, most_bytes=2**20, link_bit_s=None).token
    with stream(own, token, "down") as sock:
        sock.sendall(b"\n")
        got = 0
        while one := sock.recv(65536):
            got += len(one)
    assert 2**20 <= got < 2**20 + 2**18 + 1
    began = time.monotonic()
    with stream(own, slot(own, link_bit_s=None).token, "down") as sock, _anything():
        sock.sendall(b"\n")
        while sock.recv(65536):
            pass
    assert 1 < time.monotonic() - began < 8


def test_a_slot_that_moved_nothing_has_no_witness(own):
    """409, and the slot is over."""
    token = slot(own).token
    status, _, problem = own.ask("POST", "/v1/witness", b"{}", Authorization=f"Bearer {token}")
    assert (status, problem["code"]) == (409, "conflict")
    assert own.ask("POST", "/v1/witness", b"{}", Authorization=f"Bearer {token}")[0] == 401


def test_sigterm_ends_it_within_seconds_streams_and_all(own):
    """Exit code 0, and no worker is left."""
    held = stream(own, slot(own, seconds=30).token, "up")
    workers = psutil.Process(own.process.pid).children()
    assert len(workers) == 2
    own.process.send_signal(signal.SIGTERM)
    assert own.process.wait(5) == 0
    assert not [one for one in workers if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    held.close()
    assert "Traceback" not in own.log.read_text()


def test_kill_9_of_the_parent_ends_the_workers(own):
    """They do not serve on by themselves."""
    workers = psutil.Process(own.process.pid).children()
    own.process.kill()
    own.process.wait()
    wait_for(lambda: not any(one.is_running() for one in workers), 5, "the workers to end")


def test_a_worker_that_dies_is_replaced_and_used_tickets_stay_used(own):
    """As after a kernel's out-of-memory kill."""
    body = wanted(own)
    assert own.ask("POST", "/v1/slots", body)[0] == 201
    for one in psutil.Process(own.process.pid).children():
        one.kill()
    wait_for(lambda: len(psutil.Process(own.process.pid).children()) == 2, 8, "new workers")
    wait_for(lambda: own.ask("GET", "/healthz")[0] == 200, 5, "the server to answer")
    assert own.ask("POST", "/v1/slots", body)[2]["detail"] == "the ticket has been used"


def test_a_worker_whose_register_fails_is_replaced(own):
    """It would serve on, measure nothing and cut nobody off."""
    before = {one.pid for one in psutil.Process(own.process.pid).children()}
    with closing(sqlite3.connect(own.key_file.with_suffix(".db"))) as sql:
        sql.execute("DROP TABLE ticket")
    wait_for(lambda: {one.pid for one in psutil.Process(own.process.pid).children()} - before, 8, "a new worker")
    wait_for(lambda: own.ask("GET", "/metrics")[0] == 200, 5, "the server to answer")


def test_a_second_server_does_not_share_the_port_unnoticed(own, tmp_path):
    """Neither with the same key nor with another."""
    same = Program("second", tmp_path, own._argv)
    same.start()
    assert same.process.wait(15) == 75
    assert "already_running" in same.log.read_text()
    other = [str(tmp_path / "other.key") if word == str(own.key_file) else word for word in own._argv]
    same = Program("third", tmp_path, other)
    same.start()
    assert same.process.wait(15) == 75
    assert "port_in_use" in same.log.read_text()


def test_its_key_is_its_owners_only(own):
    """Mode 0600."""
    assert own.key_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], "--link-gbps and --collector-key are needed"),
        (["--link-gbps", "1", "--collector-key", "0" * 64], "small order"),
        (["--link-gbps", "1", "--collector-key", KEY, "--listen", "0.0.0.0:8480"], "everybody on the way"),
        (["--link-gbps", "1", "--collector-key", KEY, "--listen", "8480"], "HOST:PORT is wanted"),
        (["--link-gbps", "1", "--collector-key", KEY, "--tls-cert", "/nowhere"], "belong together"),
        (["--link-gbps", "1", "--collector-key", KEY, "--tls-cert", "/no", "--tls-key", "/no"], "No such file"),
        (["--link-gbps", "1", "--collector-key", KEY, "--key-file", "/proc/x/own.key"], "state_unwritable"),
    ],
)
def test_bad_options_end_in_one_line(tmp_path, more, words):
    """And not in a server that is open to everybody."""
    argv = program("collector", "bandwidth-server", "--key-file", str(tmp_path / "own.key"), *more)
    told = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert told.returncode not in {0, 70}
    assert words in told.stderr
    assert "Traceback" not in told.stderr


def test_its_public_key_can_be_shown(own):
    """The collector needs it, to believe what the server signs."""
    argv = program("collector", "bandwidth-server", "--show-key", "--key-file", str(own.key_file))
    told = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert told.stdout == own.public_key.hex() + "\n"
