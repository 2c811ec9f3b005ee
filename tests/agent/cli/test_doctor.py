"""What `doctor` finds, and how it says it."""

import http.client
import json
import socket
import ssl
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import agent.checks
from agent import keys, reaching
from agent.checking import CRASHED, HUNG, REASONS, Line, run_checks
from agent.checks import (
    Check,
    Finding,
    Group,
    Scene,
    State,
    answer,
    benchmark_dir,
    clock,
    configuration,
    dns,
    enrollment,
    fine,
    fio,
    gpus,
    hardware,
    iperf3,
    kernel_log,
    memory,
    outbox,
    policy,
    problem,
    python,
    service,
    skew,
    smartd,
    space,
    state_dir,
    tcp,
    tls,
    user,
    wiper,
)
from agent.cli.doctor import as_text, found_problem, in_json
from agent.config import Settings
from agent.database import Database
from agent.host import Clock, Gpu, Gpus, GpuUnreadable, Usage
from agent.host.recorded import RecordedHost
from agent.identity import Pinned
from agent.outbox import Outbox
from agent.plugins import load
from agent.status import Status
from agent.wiper.policy import Policy
from shared.codes import Code, Trouble

CHECKS = load(agent.checks, "CHECK", Check)
NOW = datetime(2026, 1, 2, tzinfo=UTC)
FAR = reaching.Place("collector.example", 443, encrypted=True)
NEAR = reaching.Place("127.0.0.1", 80, encrypted=False)
SOCKET = stat.S_IFSOCK | 0o600
ROOM = Usage(size_bytes=10**12, used_bytes=0, available_bytes=10**12, inodes=10**6, inodes_free=10**6)
FULL = Usage(size_bytes=10**12, used_bytes=10**12, available_bytes=10**6, inodes=10**6, inodes_free=10**6)
NO_INODES = Usage(size_bytes=10**12, used_bytes=0, available_bytes=10**12, inodes=10**6, inodes_free=3)
BAD = Trouble(Code.STATE_CORRUPT, "bytes that are none")
HIDDEN = Trouble(Code.STATE_UNWRITABLE, "permission denied")
MISSING = Trouble(Code.NOT_ENROLLED, "no such file")


def told(link: str = "online", age_s: float = 5) -> Status:
    return Status(pid=7, at=NOW - timedelta(seconds=age_s), link=link, doing="", waiting=0, unsettled=0)


def enrolled() -> Pinned:
    class Stand:
        hardware_id, customer_id = "hw_1", "usr_1"

    return Stand()  # type: ignore[return-value]


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate has expired")
    error.verify_message = "certificate has expired"
    return error


def kept(waiting: int = 0) -> outbox.Kept:
    return outbox.Kept(waiting=waiting, dropped=0, unsettled=0)


WELL = [
    configuration.judge("f", None, None),
    configuration.judge("f", 0o100644, None),
    python.judge((3, 12)),
    user.judge(root=True),
    enrollment.judge(enrolled(), key=True, key_file="k"),
    hardware.judge("hw_1", "hw_1", root=True),
    hardware.judge("hw_1", None, root=True),
    service.judge(told(), NOW, runs=True, enrolled=True),
    dns.judge("h", ("192.0.2.1",)),
    tcp.judge(FAR, 3.0),
    tls.judge(FAR, NOW + timedelta(days=60), NOW, "TLSv1.3"),
    answer.judge(FAR, reaching.Answered(200, 3.0, 0.0)),
    skew.judge(0.4),
    policy.judge("p", Policy(), there=True),
    wiper.judge("s", SOCKET, usable=True, root=False),
    wiper.judge("", None, usable=False, root=True),
    state_dir.judge("d", 0o40700, there=True, writable=True, root=False),
    space.judge("d", ROOM),
    memory.judge(10**9),
    clock.judge(Clock(synchronized=True, offset_ms=-3.0)),
    outbox.judge("f", kept()),
    kernel_log.judge(PermissionError(13, "no"), "/etc/x.conf", root=False),
    kernel_log.judge(None, None, root=False),
    smartd.judge(("sda",), installed=True, runs=True),
    gpus.judge(1, Gpus(driver="1", gpus=(Gpu(uuid="GPU-1", readings={"power_w": 1}),)), expected=1),
    fio.judge("3.33"),
    iperf3.judge("iperf3", "/usr/bin/iperf3", "h:1"),
    benchmark_dir.judge("d", ROOM, writable=True),
]

WRONG = [
    configuration.judge("f", None, Trouble(Code.BAD_CONFIGURATION, "unknown setting 'stat_dir'")),
    configuration.judge("f", 0o100666, None),
    python.judge((3, 10)),
    enrollment.judge(BAD, key=True, key_file="k"),
    enrollment.judge(enrolled(), key=MISSING, key_file="k"),
    enrollment.judge(enrolled(), key=False, key_file="k"),
    hardware.judge(Trouble(Code.STATE_CORRUPT, "nothing identifies it", "run: it"), None, root=True),
    service.judge(None, NOW, runs=False, enrolled=True),
    service.judge(told(), NOW, runs=False, enrolled=True),
    service.judge(told(age_s=3600), NOW, runs=True, enrolled=True),
    service.judge(told("revoked: no"), NOW, runs=True, enrolled=True),
    dns.judge("h", (), "Name or service not known"),
    tcp.judge(FAR, TimeoutError("timed out")),
    tcp.judge(FAR, ConnectionRefusedError(111, "refused")),
    tcp.judge(FAR, OSError(113, "No route to host")),
    tls.judge(FAR, Trouble(Code.BAD_CONFIGURATION, "ca_file"), NOW),
    tls.judge(FAR, untrusted(), NOW),
    tls.judge(FAR, ssl.SSLError(1, "wrong version number"), NOW),
    answer.judge(FAR, reaching.Answered(503, 3.0, 0.0)),
    answer.judge(FAR, reaching.Answered(404, 3.0, 0.0)),
    answer.judge(FAR, TimeoutError("timed out")),
    answer.judge(FAR, http.client.BadStatusLine("SSH-2.0")),
    answer.judge(FAR, ConnectionResetError(104, "reset")),
    skew.judge(-600.0),
    policy.judge("p", Trouble(Code.BAD_CONFIGURATION, "p must be root's"), there=True),
    wiper.judge("s", None, usable=False, root=True),
    wiper.judge("s", stat.S_IFREG | 0o644, usable=True, root=True),
    state_dir.judge("d", 0o40700, there=True, writable=False, root=True),
    state_dir.judge("d", 0o40755, there=True, writable=True, root=True),
    space.judge("d", FULL),
    space.judge("d", NO_INODES),
    memory.judge(10**8),
    clock.judge(Clock(synchronized=False, offset_ms=0.0)),
    clock.judge(Clock(synchronized=True, offset_ms=-2500.0)),
    outbox.judge("f", "file is not a database"),
    gpus.judge(8, GpuUnreadable("no driver")),
    gpus.judge(2, Gpus(gpus=(Gpu(uuid="GPU-1", readings={"power_w": 1}), Gpu(uuid="index 1", error="lost")))),
    gpus.judge(1, Gpus(probe="hung in nvmlDeviceGetPowerUsage", complete=False)),
    gpus.judge(7, Gpus(), expected=8),
    iperf3.judge("iperf3", None, ""),
    iperf3.judge("iperf3", "/usr/bin/iperf3", ""),
    benchmark_dir.judge("d", FileNotFoundError(2, "No such file or directory"), writable=False),
]

BETTER = [
    hardware.judge("hw_2", "hw_1", root=True),
    tls.judge(FAR, NOW + timedelta(days=2), NOW, "TLSv1.3"),
    tls.plain(FAR),
    policy.judge("p", Policy(dry_run=True), there=True),
    policy.judge("p", Policy(kinds=("wipe",)), there=True),
    outbox.judge("f", kept(waiting=5000)),
    kernel_log.judge(PermissionError(13, "no"), None, root=False),
    kernel_log.judge(None, None, root=True),
    smartd.judge(("sda",), installed=False, runs=False),
    smartd.judge(("sda",), installed=True, runs=False),
    fio.judge(None),
    benchmark_dir.judge("d", ROOM, writable=False),
    benchmark_dir.judge("d", FULL, writable=True),
]

NOT_TOLD = [
    user.judge(root=False),
    enrollment.judge(MISSING, key=MISSING, key_file="k"),
    enrollment.judge(HIDDEN, key=HIDDEN, key_file="k"),
    enrollment.judge(enrolled(), key=HIDDEN, key_file="k"),
    hardware.judge("hw_2", "hw_1", root=False),
    service.judge(None, NOW, runs=False, enrolled=False),
    tcp.judge(FAR, socket.gaierror(-2, "unknown")),
    tls.judge(FAR, socket.gaierror(-2, "unknown"), NOW),
    tls.judge(FAR, ConnectionRefusedError(111, "refused"), NOW),
    tls.plain(NEAR),
    answer.judge(FAR, ConnectionRefusedError(111, "refused")),
    skew.judge(None),
    wiper.judge("", None, usable=False, root=False),
    wiper.judge("s", SOCKET, usable=False, root=False),
    state_dir.judge("d", None, there=True, writable=False, root=False),
    space.judge("d", None),
    clock.judge(Clock()),
    outbox.judge("f", None),
    kernel_log.judge(FileNotFoundError(2, "no"), None, root=True),
    smartd.judge((), installed=False, runs=False),
    gpus.judge(0, Gpus()),
    iperf3.judge("rackproof", None, ""),
]


def named(finding: Finding) -> str:
    return f"{finding.code or finding.state}: {finding.value}"


@pytest.mark.parametrize("finding", WELL, ids=named)
def test_what_is_well_has_no_code(finding: Finding) -> None:
    """And nothing to mend."""
    assert (finding.state, finding.code, finding.remedy) == (State.FINE, "", "")
    assert finding.value


@pytest.mark.parametrize("finding", WRONG, ids=named)
def test_what_is_wrong_has_a_code_a_value_and_a_remedy(finding: Finding) -> None:
    """The value says what was found, the remedy what to do."""
    assert finding.state is State.PROBLEM
    assert finding.code
    assert finding.value
    assert finding.remedy


@pytest.mark.parametrize("finding", BETTER, ids=named)
def test_what_could_be_better_is_advice(finding: Finding) -> None:
    """With a limit, so that it is plain when it is good."""
    assert finding.state is State.ADVICE
    assert finding.limit
    assert finding.remedy


@pytest.mark.parametrize("finding", NOT_TOLD, ids=named)
def test_what_cannot_be_told_or_does_not_apply_is_no_problem(finding: Finding) -> None:
    """It says why instead."""
    assert (finding.state, finding.code) == (State.UNKNOWN, "")
    assert finding.value


def test_every_code_that_a_check_declares_can_be_found() -> None:
    """And no other is: each has its reason, and no two checks share one."""
    declared = [code for check in CHECKS for code in check.codes]
    assert len(declared) == len(set(declared))
    assert {one.code for one in [*WRONG, *BETTER]} == set(declared)
    assert all(reason.endswith(".") for check in CHECKS for reason in check.codes.values())


def scene(host: RecordedHost, tmp_path: Path, **more: object) -> Scene:
    settings = Settings(
        state_dir=str(tmp_path / "state"), policy_file=str(tmp_path / "policy.toml"), benchmark_dir=str(tmp_path)
    )
    return Scene(**{"host": host, "settings": settings, "file": tmp_path / "agent.toml"} | more)


def found(lines: tuple[Line, ...], name: str) -> Line:
    return next(line for line in lines if line.check == name)


def test_all_checks_look_at_a_recorded_machine(recorded: Callable, tmp_path: Path) -> None:
    """By group, none crashes, and the lost GPU and the free-running clock are found."""
    lines = run_checks(CHECKS, scene(recorded("gpu-server"), tmp_path))
    assert len(lines) == len(CHECKS)
    assert [line.group for line in lines] == sorted((line.group for line in lines), key=list(Group).index)
    assert not [line for line in lines if line.code in REASONS]
    assert found(lines, "gpus").value == "7 seen by the driver, 8 on the PCI bus"
    assert found(lines, "gpus").code == "gpu_missing"
    vm = run_checks(CHECKS, scene(recorded("plain-vm"), tmp_path))
    assert found(vm, "clock").code == "clock_free"
    assert found(vm, "gpus").state is State.UNKNOWN


def test_the_nearest_directory_that_exists_is_looked_at(recorded: Callable, tmp_path: Path) -> None:
    """Before enrollment there is no state directory yet."""
    settings = Settings(state_dir="/var/lib/rackproof-agent")
    lines = run_checks(CHECKS, scene(recorded("plain-vm"), tmp_path, settings=settings))
    assert found(lines, "state_dir").value == "/var/lib/rackproof-agent is not there yet, it can be made"
    assert found(lines, "space").value == "85.2 GB free"


def made(name: str, look: Callable, deadline_s: float = 5.0, **more: object) -> Check:
    return Check(name=name, title=name, group=Group.STATE, look=look, deadline_s=deadline_s, **more)


def test_one_that_hangs_or_raises_becomes_a_line(recorded: Callable, tmp_path: Path) -> None:
    """The others are not held up, and nothing ends in a traceback."""

    def raises(_scene: Scene) -> Finding:
        raise ValueError("odd\nkernel")

    over = threading.Event()
    checks = (
        made("hangs", lambda _scene: over.wait(60), deadline_s=0.2),
        made("raises", raises),
        made("undeclared", lambda _scene: problem("no_such_code", "x", remedy="y")),
        made("works", lambda _scene: fine("yes")),
    )
    began_s = time.monotonic()
    lines = run_checks(checks, scene(recorded("plain-vm"), tmp_path))
    assert time.monotonic() - began_s < 5
    over.set()
    assert [line.code for line in lines] == [HUNG, CRASHED, CRASHED, ""]
    assert lines[0].value == "no answer within 0.2 s"
    assert lines[1].value == "ValueError: odd\nkernel"
    assert all(line.reason and line.remedy for line in lines[:3])


def line(name: str, state: State, **more: str) -> Line:
    plain = {"code": "", "value": "1", "limit": "at least 1", "reason": "", "remedy": "", "group": Group.STATE}
    return Line(check=name, title=name, state=state, took_ms=1.0, **plain | more)


def test_a_line_does_nothing_to_the_terminal() -> None:
    """Its value may hold a mount point, which a tenant may have called anything."""
    evil = line("disk", State.PROBLEM, value="/\x1b[2J", reason="\x9b0m", remedy="\x07\nfine")
    text = as_text((evil,), colour=False)
    assert all(sign.isprintable() for sign in text.replace("\n", ""))
    assert "fine" in text.splitlines()[3]


def test_lines_for_people() -> None:
    """Mark, title, value; below what is wrong its code, reason and remedy; at the end what came out."""
    lines = (
        line("first", State.FINE),
        line("second", State.PROBLEM, value="0", code="too_few", reason="It starves.", remedy="add one"),
        line("third", State.UNKNOWN, value="not asked", group=Group.HEALTH),
    )
    assert as_text(lines, colour=False).splitlines() == [
        "state",
        "  ✓ first   1",
        "  ✕ second  0  (wanted: at least 1)",
        "      too_few: It starves.",
        "      mend it: add one",
        "",
        "health",
        "  \N{EN DASH} third   not asked",
        "",
        "1 to mend, 1 fine, 1 not to be told here",
    ]
    assert "\x1b[31m" in as_text(lines, colour=True)
    assert found_problem(lines)
    assert not found_problem(lines[:1])
    assert [one["state"] for one in json.loads(in_json(lines))] == ["fine", "problem", "unknown"]


@contextmanager
def listening(answers: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers(self)

        def log_message(self, *_words: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


WAY = ("dns", "tcp", "tls", "answer", "skew")


def way(recorded: Callable, tmp_path: Path, origin: str) -> dict[str, Line]:
    checks = [check for check in CHECKS if check.name in WAY]
    return {one.check: one for one in run_checks(checks, scene(recorded("plain-vm"), tmp_path, origin=origin))}


def test_the_way_to_a_collector_is_tried_a_step_at_a_time(recorded: Callable, tmp_path: Path) -> None:
    """One that answers is fine from its name to its clock."""

    def well(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()

    with listening(well) as origin:
        lines = way(recorded, tmp_path, origin)
    assert [lines[name].state for name in WAY] == [State.FINE, State.FINE, State.UNKNOWN, State.FINE, State.FINE]
    assert list(lines) == list(WAY)


def test_a_clock_that_is_off_is_told_by_the_collector_s(recorded: Callable, tmp_path: Path) -> None:
    """By the Date header of its answer."""

    def late(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response_only(404)
        handler.send_header("Date", "Thu, 01 Jan 2026 00:00:00 GMT")
        handler.end_headers()

    with listening(late) as origin:
        lines = way(recorded, tmp_path, origin)
    assert lines["skew"].code == "clock_skewed"
    assert lines["answer"].code == "collector_strange"


def test_where_nobody_listens_one_line_says_so(recorded: Callable, tmp_path: Path, unused_tcp_port: int) -> None:
    """The steps behind it were not tried, which is no problem of theirs."""
    lines = way(recorded, tmp_path, f"https://127.0.0.1:{unused_tcp_port}")
    assert lines["tcp"].code == "tcp_refused"
    assert [lines[name].state for name in ("tls", "answer", "skew")] == [State.UNKNOWN] * 3


def test_what_does_not_speak_tls_is_told(recorded: Callable, tmp_path: Path) -> None:
    """The port is open, and another program listens there."""

    def well(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()

    with listening(well) as origin:
        lines = way(recorded, tmp_path, origin.replace("http", "https", 1))
    assert lines["tcp"].state is State.FINE
    assert lines["tls"].code == "tls_failed"


@pytest.mark.parametrize(
    ("date", "ahead"),
    [
        ("Thu, 01 Jan 2026 00:00:00 GMT", 86_399.6),
        ("Fri, 02 Jan 2026 00:00:10 GMT", -10.4),
        ("Fri, 02 Jan 2026 00:00:00 -0000", -0.4),
        ("yesterday", None),
        (None, None),
    ],
)
def test_a_date_header_tells_how_far_a_clock_is_off(date: str | None, ahead: float | None) -> None:
    """Half the way and half of the header's second are taken off; what is no date tells nothing."""
    told_s = reaching.ahead_s(NOW, 0.2, date)
    assert told_s == (pytest.approx(ahead) if ahead is not None else None)


def test_the_outbox_is_read_beside_a_running_agent(recorded: Callable, tmp_path: Path) -> None:
    """Its lock is left alone; what is no database is told."""
    (tmp_path / "state").mkdir()
    place = scene(recorded("plain-vm"), tmp_path)
    database = Database(place.settings.state_file)
    box = Outbox(database, capacity=1)
    for _ in range(3):
        box.add("b", NOW, {})
    beside = outbox.look(place)
    database.close()
    assert beside.state is State.FINE
    assert beside.value == "1 reports wait, 0 answers are not confirmed; 2 were dropped for want of room, ever"
    place.settings.state_file.write_bytes(b"no database" * 1000)
    assert outbox.look(place).code == "outbox_unreadable"


def test_the_key_is_looked_at_and_not_shown(recorded: Callable, tmp_path: Path) -> None:
    """A key that others can read is told by its file's name."""
    (tmp_path / "state").mkdir()
    file = scene(recorded("plain-vm"), tmp_path).settings.key_file
    keys.load_or_create(file)
    file.chmod(0o644)
    said = enrollment.judge(enrolled(), key=keys.owner_only(file), key_file=str(file))
    assert said.code == "key_open"
    assert file.read_text().strip() not in said.value + said.remedy


def test_settings_that_cannot_be_read_are_a_line(rackproof_agent: Callable, tmp_path: Path) -> None:
    """The rest is checked all the same; exit code 1, no traceback."""
    (tmp_path / "agent.toml").write_text('stat_dir = "/x"\n')
    ended = rackproof_agent("doctor", "--config", str(tmp_path / "agent.toml"), "--json")
    assert ended.returncode == 1, ended.stderr
    lines = {one["check"]: one for one in json.loads(ended.stdout)}
    assert lines["configuration"]["code"] == "configuration_bad"
    assert "did you mean 'state_dir'?" in lines["configuration"]["remedy"]
    assert len(lines) == len(CHECKS)
    assert ended.stderr == ""


def test_the_command_runs_before_enrollment_and_writes_nothing(rackproof_agent: Callable, tmp_path: Path) -> None:
    """Exit code 0 or 1, as its lines say."""
    ended = rackproof_agent("doctor", "--json")
    lines = json.loads(ended.stdout)
    assert ended.returncode == int(any(one["state"] == "problem" for one in lines)), ended.stderr
    assert not [one for one in lines if one["code"] in REASONS]
    assert list(tmp_path.iterdir()) == []


def test_the_command_makes_the_checks_that_are_named(rackproof_agent: Callable) -> None:
    """An unknown name is usage; an address that is none is told."""
    ended = rackproof_agent("doctor", "python", "memory")
    assert ended.returncode == 0, ended.stdout
    assert ended.stdout.splitlines()[-1] == "2 fine"
    assert rackproof_agent("doctor", "memry").returncode == 2
    assert rackproof_agent("doctor", "--collector", "ftp://x").returncode == 78
