"""Bandwidth: a real server on loopback over TLS, iperf3, and servers that are slow, gone, or lie."""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from agent.benchmarking import run_benchmarks
from agent.benchmarks import Network, Request, Unmeasured
from agent.benchmarks.network import judged, run
from agent.engines.network import iperf3
from agent.engines.network.interface import link_bit_s
from agent.engines.network.measuring import Measured, believed
from agent.engines.network.planning import LEAST_S, Plan, plan
from shared.bandwidth import Seen, Slot, Way
from shared.codes import Code, Trouble
from shared.documents import BandwidthTicket, BandwidthWitness, MeasuringServer, open_signed, sign
from shared.envelope import Envelope
from shared.marks import Mark
from shared.tcpinfo import Sending
from tests.bucket import free_port
from tests.measuring import Bandwidth
from tests.system.harness import children, wait_for

KEY = Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key().public_bytes_raw()
GBIT = 10**9


def quiet(_step: str, _done: int, _of: int) -> None:
    return None


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The platform's measuring server."""
    one = Bandwidth(tmp_path_factory.mktemp("bandwidth"))
    one.start()
    yield one
    one.kill()


def asked(place: MeasuringServer | None, ca_file: object = "", **network) -> Request:
    return Request(quick=True, directory="/", server=place, network=Network(ca_file=str(ca_file), **network))


async def test_a_measurement_has_a_figure_and_the_servers_signature_under_it(server):
    """Over TLS, in the benchmark's own process: both directions, what moved, and who was the limit."""
    steps = []
    request = asked(server.place(), server.ca_file)
    (found,) = await run_benchmarks(["network"], request, lambda *one: steps.append(one))
    assert found.code is None, found.reason
    figure = found.figures["network_bandwidth_gbps"]
    told = found.details
    witness = open_signed(msgspec.convert(told["witness"], Envelope), BandwidthWitness, server.public_key)
    lowest = min(told["up"]["gbps"] * GBIT, told["down"]["gbps"] * GBIT, witness.up_bit_s, witness.down_bit_s)
    assert figure * GBIT == pytest.approx(lowest, rel=0.001)
    assert witness.up_bit_s == pytest.approx(told["up"]["gbps"] * GBIT, rel=0.001)
    assert 0.5 < witness.down_bit_s / (told["down"]["gbps"] * GBIT) < 2
    assert witness.hardware_id == "hw_0123456789"
    assert told["moved_bytes"] == pytest.approx(witness.up_bytes + witness.down_bytes, rel=0.5)
    assert told["socket"]["tls"].startswith("TLSv1.")
    assert told["socket"]["family"] == "ipv4"
    assert {"busy", "rtt_ms", "resent"} <= set(told["up"]["sending"])
    assert "unwitnessed" not in found.marks
    assert {one[0] for one in steps} == {"network: down", "network: up"}
    assert len(msgspec.json.encode(told)) < 8000


def relay(door: socket.socket, port: int) -> None:
    """A plain TCP proxy."""

    def pump(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while got := one.recv(2**18):
                other.sendall(got)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        one.close()

    with contextlib.suppress(OSError):
        while True:
            near, _ = door.accept()
            far = socket.create_connection(("127.0.0.1", port))
            for pair in ((near, far), (far, near)):
                threading.Thread(target=pump, args=pair, daemon=True).start()


async def test_a_plain_tcp_proxy_between_is_fine(server):
    """TLS goes through it, and nothing in the protocol names an address but the ticket."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        threading.Thread(target=relay, args=(door, server.port), daemon=True).start()
        place = MeasuringServer(url=f"https://127.0.0.1:{door.getsockname()[1]}", ticket=server.ticket())
        (found,) = await run_benchmarks(["network"], asked(place, server.ca_file), quiet)
        door.shutdown(socket.SHUT_RDWR)
    assert found.code is None, found.reason
    assert found.figures["network_bandwidth_gbps"] > 0.05


async def test_a_ticket_works_once(server):
    """The second run says that the server refused, and why."""
    request = asked(server.place(), server.ca_file, budget_bytes=10**15)
    await run_benchmarks(["network"], request, quiet)
    (found,) = await run_benchmarks(["network"], request, quiet)
    assert (found.figures, found.code) == ({}, Code.NO_SERVER)
    assert "the ticket has been used" in found.reason


def refused(request: Request) -> Unmeasured:
    with pytest.raises(Trouble) as told:
        run(request, quiet)
    assert len(told.value.detail) < 300
    return told.value


def test_without_a_server_there_is_no_figure():
    """With why."""
    told = refused(asked(None))
    assert (told.code, told.detail) == (Code.NO_SERVER, "no measuring server was named")


def test_a_certificate_that_nobody_vouches_for_is_refused(server):
    """In words; no ticket was shown to it."""
    told = refused(asked(server.place()))
    assert (told.code, told.details) == (Code.NO_SERVER, {"moved_bytes": 0})
    assert "certificate is not good" in told.detail


def test_no_authority_file_is_a_bad_configuration(server):
    """And not a server that is gone."""
    assert refused(asked(server.place(), "/nowhere.pem")).code is Code.BAD_CONFIGURATION


def test_a_budget_that_is_used_up_moves_nothing(server):
    """Said before a slot is asked for; the ticket stays good."""
    told = refused(asked(server.place(), server.ca_file, budget_bytes=10**6))
    assert (told.code, told.details["moved_bytes"]) == (Code.OVER_BUDGET, 0)
    assert "0.5 GB are needed" in told.detail


def test_a_budget_that_ends_in_the_middle_ends_the_measurement(server):
    """Loopback is faster than a link of unknown speed was thought to be: the bytes are the limit, and are told."""
    told = refused(asked(server.place(), server.ca_file, budget_bytes=600 * 10**6))
    assert told.code is Code.OVER_BUDGET
    assert 0 < told.details["moved_bytes"] < 5 * 10**9


@given(st.booleans(), st.one_of(st.none(), st.integers(10**6, 400 * GBIT)), st.integers(0, 10**13))
def test_a_plan_never_costs_more_than_the_budget(quick, link, budget):
    """Shorter, or refused; never too short to say anything."""
    try:
        planned = plan(quick=quick, link_bit_s=link, budget_bytes=budget)
    except Trouble as trouble:
        assert trouble.code is Code.OVER_BUDGET
        assert budget < LEAST_S * 2 * (link or GBIT) / 8
        return
    assert LEAST_S <= planned.seconds <= (3 if quick else 10)
    assert 2 * planned.most_bytes <= budget


def test_an_interface_without_a_speed_is_unknown_and_a_veths_is_read(missing):
    """A name that leads nowhere is unknown too: connecting will tell why."""
    assert link_bit_s("127.0.0.1", 1) is None
    assert link_bit_s("::1", 1) is None
    assert link_bit_s("no.such.host.invalid", 1) is None
    if os.geteuid() != 0:
        missing("a network namespace needs root")
    code = "from agent.engines.network.interface import link_bit_s as s; print(s('10.219.8.2', 1), s('fd00::2', 1))"
    up = "ip link add a0 type veth peer name b0 && ip addr add 10.219.8.1/24 dev a0 && ip addr add fd00::1/64 dev a0 nodad"
    script = (
        f'{up} && ip link set a0 up && ip link set b0 up && mount -t sysfs x /sys && exec {sys.executable} -c "{code}"'
    )
    told = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", script], capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == ["10000000000", "10000000000"]


class Fake:
    """A server of a test's own: answers each request by a script."""

    def __init__(self, script) -> None:
        self.asked: list[str] = []
        self._script = script
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._door.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._door.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(65536)
        head, _, body = head.partition(b"\r\n\r\n")
        lengths = [
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        ]
        while len(body) < sum(lengths):  # a close before the body is read would be a reset
            body += sock.recv(65536)
        path = head.split()[1].decode()
        self.asked.append(path)
        try:
            self._script(path, sock)
        except OSError:
            pass
        finally:
            sock.close()

    def place(self) -> MeasuringServer:
        return MeasuringServer(url=self.url, ticket=TICKET)

    def close(self) -> None:
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()


TICKET = sign(
    BandwidthTicket(
        ticket_id="tkt_00000001",
        hardware_id="hw_00000001",
        server="http://127.0.0.1:8480",
        not_after=datetime(2026, 11, 24, tzinfo=UTC),
    ),
    KEY,
)


@pytest.fixture
def fake():
    """Makes servers that follow a script."""
    made = []

    def make(script) -> Fake:
        made.append(Fake(script))
        return made[-1]

    yield make
    for one in made:
        one.close()


def answer(sock: socket.socket, body: bytes, status: str = "200 OK", headers: str = "") -> None:
    sock.sendall(f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body)


def slot(sock: socket.socket) -> None:
    told = Slot(token="t" * 43, capacity_bit_s=100 * GBIT, public_key=PUBLIC)
    answer(sock, msgspec.json.encode(told), "201 Created")


UPGRADE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: rackproof-bandwidth\r\n\r\n"


def test_a_port_where_nobody_listens():
    """No server, and how it looks from here."""
    told = refused(asked(MeasuringServer(url=f"http://127.0.0.1:{free_port()}", ticket=TICKET)))
    assert (told.code, "Connection refused" in told.detail) == (Code.NO_SERVER, True)


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        (b"hello\r\n\r\n", Code.BENCHMARK_FAILED, "no measuring server of ours"),
        (b"", Code.NO_SERVER, "went silent|no measuring server"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Code.BENCHMARK_FAILED, "missing required field"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{", Code.BENCHMARK_FAILED, "truncated"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 10**6, Code.BENCHMARK_FAILED, "malformed"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", Code.NO_SERVER, "HTTP 502"),
    ],
)
def test_answers_that_are_none(fake, said, code, words):
    """Each ends in words, none in a traceback."""
    told = refused(asked(fake(lambda _path, sock: sock.sendall(said)).place()))
    assert told.code in {code, Code.NO_SERVER if not said else code}
    assert any(word in told.detail for word in words.split("|")), told.detail


def test_a_server_that_says_nothing_is_given_up(fake):
    """After five seconds."""
    began = time.monotonic()
    told = refused(asked(fake(lambda *_: time.sleep(20)).place()))
    assert (told.code, time.monotonic() - began < 8) == (Code.NO_SERVER, True)


FULL = b'{"type":"x","title":"x","status":429,"code":"slow_down","detail":"every slot is taken"}'


@pytest.mark.parametrize(("wait", "times"), [("1", 2), ("600", 1), ("x", 1)])
def test_a_full_server_is_waited_for_once_if_not_for_long(fake, wait, times):
    """As long as another's full run may hold its slot."""
    full = fake(lambda _path, sock: answer(sock, FULL, "429 Too Many Requests", f"Retry-After: {wait}\r\n"))
    told = refused(asked(full.place()))
    assert (told.code, len(full.asked)) == (Code.NO_SERVER, times)
    assert "full: every slot is taken" in told.detail


@pytest.mark.parametrize("said", [b"HTTP/1.1 200 OK\r\n\r\n", b"SSH-2.0-OpenSSH\r\n\r\n", b"x" * 20_000, b""])
def test_a_stream_that_is_none(fake, said):
    """A proxy that knows no upgrade, say."""
    one = fake(lambda path, sock: slot(sock) if path == "/v1/slots" else sock.sendall(said))
    told = refused(asked(one.place()))
    assert told.code is Code.BENCHMARK_FAILED
    assert "no measuring server of ours" in told.detail


def test_a_stream_that_ends_early_is_no_measurement(fake):
    """What was moved until then is told all the same."""

    def script(path: str, sock: socket.socket) -> None:
        if path == "/v1/slots":
            slot(sock)
            return
        sock.sendall(UPGRADE)
        sock.recv(1)
        for _ in range(10):
            sock.sendall(bytes(10**6))
            time.sleep(0.1)

    told = refused(asked(fake(script).place()))
    assert (told.code, told.detail) == (Code.BENCHMARK_FAILED, "the measuring server ended a stream early")
    assert told.details["moved_bytes"] > 10**7


def test_a_stream_that_stalls_is_given_up(fake):
    """After five seconds without a byte, long before the benchmark's own limit."""

    def script(path: str, sock: socket.socket) -> None:
        if path == "/v1/slots":
            slot(sock)
            return
        sock.sendall(UPGRADE)
        time.sleep(30)

    one, began = fake(script), time.monotonic()
    told = refused(Request(quick=False, directory="/", server=one.place()))
    assert (told.code, told.detail) == (Code.BENCHMARK_FAILED, "nothing moved for 5 s")
    assert time.monotonic() - began < 8


def lane(bit_s: int, **more) -> Way:
    told = {"least_bit_s": bit_s, "most_bit_s": bit_s, "slices": 8, "moved_bytes": bit_s, "streams": 4, "cpu": 0.1}
    return Way(bit_s=bit_s, **told | more)


def witness(up: int, down: int, ticket_id: str = "tkt_00000001") -> BandwidthWitness:
    return BandwidthWitness(
        ticket_id=ticket_id,
        hardware_id="hw_00000001",
        up_bit_s=up,
        down_bit_s=down,
        up_bytes=1,
        down_bytes=1,
        streams=4,
        limited_by="path",
        capacity_bit_s=10 * GBIT,
        ended_at=datetime(2026, 11, 24, tzinfo=UTC),
    )


HONEST = Seen(up=lane(GBIT), down=lane(GBIT), witness=sign(witness(GBIT, GBIT), KEY))


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (Seen(up=lane(9 * GBIT), down=lane(GBIT), witness=None), Code.BENCHMARK_FAILED),
        (Seen(up=lane(GBIT), down=lane(GBIT), witness=sign(witness(2 * GBIT, GBIT), KEY)), Code.BENCHMARK_FAILED),
        (
            Seen(up=lane(GBIT), down=lane(GBIT), witness=sign(witness(GBIT, GBIT, "tkt_00000002"), KEY)),
            Code.BENCHMARK_FAILED,
        ),
        (
            Seen(up=lane(GBIT), down=lane(GBIT), witness=sign(witness(GBIT, GBIT), Ed25519PrivateKey.generate())),
            Code.BAD_SIGNATURE,
        ),
    ],
    ids=["more-than-sent", "signs-other-figures", "other-ticket", "other-key"],
)
def test_a_server_that_lies_is_not_believed(seen, code):
    """What cannot be true, or is signed for something else."""
    told = Slot(token="t" * 43, capacity_bit_s=100 * GBIT, public_key=PUBLIC)
    believed(HONEST, told, "tkt_00000001", lane(GBIT))
    with pytest.raises(Trouble) as trouble:
        believed(seen, told, "tkt_00000001", lane(GBIT))
    assert trouble.value.code is code


def test_nor_is_one_that_saw_more_than_its_link_carries():
    """Of 1 Gbit/s, two arrived."""
    told = Slot(token="t" * 43, capacity_bit_s=GBIT, public_key=PUBLIC)
    with pytest.raises(Trouble, match="more than was sent or than its link carries"):
        believed(Seen(up=lane(2 * GBIT), down=lane(GBIT)), told, "tkt_00000001", lane(2 * GBIT))


def account(**changed) -> Sending:
    told = {"busy": 1.0, "receiver_limited": 0.0, "buffer_limited": 0.0, "application_limited": 0.0}
    return Sending(**told | changed, resent=0.0, rtt_min_ms=1.0, rtt_ms=1.0)


def measured(
    up: int, down: int, *, sent=None, received=None, capacity: int = 100 * GBIT, signed=HONEST.witness
) -> Measured:
    return Measured(
        plan=Plan(seconds=10),
        link_bit_s=None,
        capacity_bit_s=capacity,
        down=lane(down),
        sent_up=lane(up, sending=sent or account()),
        seen=Seen(up=lane(up), down=lane(down, sending=received or account()), witness=signed),
        socket=None,
        moved_bytes=1,
    )


def test_the_figure_is_the_lower_of_both_directions():
    """In Gbit/s of 10^9."""
    assert judged(measured(2 * GBIT, 900_000_000)).figures == {"network_bandwidth_gbps": 0.9}
    assert judged(measured(800_000_000, GBIT)).figures == {"network_bandwidth_gbps": 0.8}


def test_the_figure_is_never_above_what_the_server_saw():
    """The two ends cut their slices at other moments; what is signed is not exceeded."""
    told = measured(2 * GBIT, GBIT)
    saw = msgspec.structs.replace(told.seen, down=msgspec.structs.replace(told.seen.down, bit_s=950_000_000))
    assert judged(msgspec.structs.replace(told, seen=saw)).figures == {"network_bandwidth_gbps": 0.95}


def test_a_way_that_stood_still_is_no_figure():
    """Never 0; the details tell the rest."""
    with pytest.raises(Unmeasured, match="nothing arrived up") as told:
        judged(measured(0, GBIT))
    assert told.value.details["down"]["gbps"] == 1.0


@pytest.mark.parametrize(
    ("told", "marks", "limit"),
    [
        (measured(GBIT, 2 * GBIT), (), "path"),
        (measured(GBIT, 2 * GBIT, sent=account(busy=0.1)), (), "client"),
        (measured(GBIT, 2 * GBIT, sent=account(receiver_limited=0.6)), (Mark.LOWER_BOUND,), "server"),
        (measured(2 * GBIT, GBIT, received=account(busy=0.1)), (Mark.LOWER_BOUND,), "server"),
        (measured(2 * GBIT, GBIT, sent=account(receiver_limited=0.6)), (), "path"),
        (measured(GBIT, GBIT, capacity=GBIT), (Mark.LOWER_BOUND,), "path"),
        (measured(GBIT, GBIT, signed=None), (Mark.UNWITNESSED,), "path"),
    ],
)
def test_what_the_server_limits_is_a_lower_bound(told, marks, limit):
    """Of the lower direction only; near the server's own link always."""
    found = judged(told)
    assert (found.marks, found.details["limited_by"]) == (marks, limit)
    assert found.details["spread"] == {"network_bandwidth_gbps": [1.0, 1.0]}


@pytest.fixture
def iperf(missing):
    """A real iperf3 server on loopback; gives its HOST:PORT."""
    if shutil.which("iperf3") is None:
        missing("iperf3 is not installed")
    port = free_port()
    argv = ["iperf3", "--server", "--bind", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: listening(port), 5, "iperf3")
    yield f"127.0.0.1:{port}"
    process.kill()
    process.wait()


def listening(port: int) -> bool:
    line = f":{port:04X} 00000000:0000 0A"
    return line in Path("/proc/net/tcp").read_text()


async def test_iperf3_gives_a_figure_that_nobody_witnessed(iperf):
    """Both directions, the lower one, and its version."""
    (found,) = await run_benchmarks(["network"], asked(None, tool="iperf3", iperf3_server=iperf), quiet)
    assert found.code is None, found.reason
    assert "unwitnessed" in found.marks
    lower = min(found.details[one]["bit_s"] for one in ("down", "up"))
    assert found.figures["network_bandwidth_gbps"] == pytest.approx(lower / GBIT, abs=1e-5)
    assert found.details["up"]["version"].startswith("iperf 3")
    assert found.details["moved_bytes"] > 0


def test_a_busy_iperf3_server_is_no_server(iperf):
    """It serves one at a time."""
    host, _, port = iperf.partition(":")
    other = subprocess.Popen(
        ["iperf3", "-c", host, "-p", port, "-t", "20", "-b", "1M", "--forceflush"], stdout=subprocess.PIPE
    )
    try:
        assert other.stdout.readline()
        wait_for(lambda: other.stdout.readline().startswith(b"["), 5, "the other to measure")
        told = refused(asked(None, tool="iperf3", iperf3_server=iperf))
    finally:
        other.kill()
        other.communicate()
    assert (told.code, "busy" in told.detail) == (Code.NO_SERVER, True)


def test_an_iperf3_server_that_is_not_there():
    """No server; and without an address, none was named; and an option is no address."""
    gone = refused(asked(None, tool="iperf3", iperf3_server=f"127.0.0.1:{free_port()}"))
    assert (gone.code, "refused" in gone.detail) == (Code.NO_SERVER, True)
    assert refused(asked(None, tool="iperf3")).code is Code.NO_SERVER
    assert refused(asked(None, tool="iperf3", iperf3_server="--file:1")).code is Code.BAD_CONFIGURATION
    assert iperf3.place("[2001:db8::1]:5201") == ("2001:db8::1", "5201")


def test_iperf3_that_is_not_installed(monkeypatch, tmp_path):
    """With what to do about it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refused(asked(None, tool="iperf3", iperf3_server="127.0.0.1:5201")).code is Code.NOT_INSTALLED


def test_iperf3_stops_at_the_budget(iperf):
    """It cannot be told one beside a time, so it is watched."""
    told = refused(asked(None, tool="iperf3", iperf3_server=iperf, budget_bytes=600 * 10**6))
    assert told.code is Code.OVER_BUDGET
    assert told.details["moved_bytes"] > 300 * 10**6


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"end":{}}', '{"end":{"sum_received":{"bits_per_second":"x"}}}', "null"]
)
def test_iperf3_output_that_is_none(text):
    """A crash of it, say."""
    with pytest.raises(Trouble) as told:
        iperf3.parse(text)
    assert told.value.code is Code.BENCHMARK_FAILED


PROGRAM = """
import asyncio, sys
from agent.benchmarking import run_benchmarks
from agent.benchmarks import Network, Request
request = Request(quick=False, directory="/", network=Network(tool="iperf3", iperf3_server=sys.argv[1]))
asyncio.run(run_benchmarks(["network"], request, lambda *a: print("on", flush=True)))
"""


def test_iperf3_dies_with_the_agent(iperf):
    """Kill -9 of the agent ends the benchmark's process and the tool below it."""
    parent = subprocess.Popen([sys.executable, "-c", PROGRAM, iperf], stdout=subprocess.PIPE)
    assert parent.stdout.readline() == b"on\n"
    below = lambda: [one for child in children(parent.pid) for one in children(child)]  # noqa: E731
    wait_for(below, 5, "iperf3 to start")
    everyone = children(parent.pid) + below()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_for(lambda: not [one for one in everyone if alive(one)], 3, "all of them to end")


def alive(pid: int) -> bool:
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_canceling_ends_the_measurement_at_once(server):
    """As when a booking starts; and the server gives the slot back by itself."""
    steps = []
    request = Request(quick=False, directory="/", server=server.place(), network=Network(ca_file=str(server.ca_file)))
    task = asyncio.create_task(run_benchmarks(["network"], request, lambda *one: steps.append(one)))
    while not steps:
        await asyncio.sleep(0.05)
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 1.0
    wait_for(lambda: not [one for one in children(os.getpid()) if benchmarking(one)], 1, "the child to end")


def benchmarking(pid: int) -> bool:
    try:
        return b"agent.benchmarks" in Path("/proc", str(pid), "cmdline").read_bytes()
    except OSError:
        return False
