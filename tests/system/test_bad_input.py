"""Bad input over real sockets and command lines: a stable code, one line in the log, and nothing changed."""

import asyncio
import json
import os
import sqlite3
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent import identity, keys
from shared.codec import decode, encode
from shared.documents import EnrollmentClaim, EnrollmentRequest, sign
from shared.messages import MAX_MESSAGE_BYTES, SUBPROTOCOL, Ack, Challenge, Facts, Health, Welcome
from shared.session import AgentSession, CloseCode, Machine
from tests.system.harness import Agent, Collector, Refused, environment, program, wait_for

SMALL_ORDER = (1).to_bytes(32, "little")


def rows(collector: Collector) -> dict[str, int]:
    """How many rows each table of interest has."""
    with collector.database() as database:
        names = ("machine", "machine_key", "command", "data_wipe", "benchmark", "health_sample", "presence_event")
        return {name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names}


def refusal(call, *arguments, **named) -> tuple[int, str]:
    with pytest.raises(Refused) as caught:
        call(*arguments, **named)
    return caught.value.status, caught.value.code


def claim(token: str, origin: str, agent_key=None, wiper_key=None, **changes) -> EnrollmentRequest:
    first, second = agent_key or Ed25519PrivateKey.generate(), wiper_key or Ed25519PrivateKey.generate()
    plain = {
        "token_id": "_".join(token.split("_")[:2]),
        "origin": origin,
        "hardware_id": "hw_new",
        "agent_public_key": first.public_key().public_bytes_raw(),
        "wiper_public_key": second.public_key().public_bytes_raw(),
        "boot_id": "b",
        "agent_version": "1",
        "facts": Facts(),
        "claimed_at": datetime.now(UTC),
    }
    return EnrollmentRequest(token=token, claim=sign(EnrollmentClaim(**plain | changes), first, second))


def enroll(collector: Collector, request: EnrollmentRequest) -> tuple[int, str]:
    return refusal(collector.ask, "POST", "/v1/agent/enroll", msgspec.json.encode(request))


def test_enrollment_refuses_what_it_must_and_changes_nothing(own_collector):
    """Unknown, expired and used tokens, weak keys, foreign origins, one key for both: each has its code."""
    collector = own_collector
    token = collector.enrollment_token()
    before = rows(collector)
    wrong = token[:-4] + ("0000" if token[-4:] != "0000" else "1111")
    assert enroll(collector, claim("rpe_0_0", collector.origin)) == (403, "token_unknown")
    assert enroll(collector, claim(wrong, collector.origin)) == (403, "token_unknown")
    assert enroll(collector, claim(token, collector.origin, token_id="rpe_other")) == (403, "token_unknown")
    assert enroll(collector, claim(token, "https://elsewhere.example")) == (400, "wrong_origin")
    assert enroll(collector, claim(token, collector.origin, agent_public_key=SMALL_ORDER)) == (400, "weak_key")
    same = Ed25519PrivateKey.generate()
    assert enroll(collector, claim(token, collector.origin, same, same)) == (400, "weak_key")
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    assert enroll(collector, claim(token, collector.origin, wiper_public_key=other)) == (400, "bad_signature")
    assert refusal(collector.ask, "POST", "/v1/agent/enroll", b"{") == (400, "malformed")
    assert refusal(collector.ask, "POST", "/v1/agent/enroll", b"x" * 300_000) == (413, "too_large")
    with collector.database() as database:
        database.execute("UPDATE enrollment_token SET expires_at = '2020-01-01T00:00:00.000000+00:00'")
    assert enroll(collector, claim(token, collector.origin)) == (403, "token_expired")
    assert rows(collector) == before


def test_a_second_machine_with_the_same_identity_is_a_conflict(own_collector, own_agent):
    """It does not overwrite the first, and the token stays usable for another."""
    agent, collector = own_agent, own_collector
    token = collector.enrollment_token()
    assert enroll(collector, claim(token, collector.origin, hardware_id=agent.hardware_id)) == (
        409,
        "identity_conflict",
    )
    foreign = collector.enrollment_token(hardware_id=agent.hardware_id)
    assert enroll(collector, claim(foreign, collector.origin)) == (403, "token_foreign")
    assert (
        collector.ask("POST", "/v1/agent/enroll", msgspec.json.encode(claim(token, collector.origin)))["hardware_id"]
        == "hw_new"
    )
    assert enroll(collector, claim(token, collector.origin)) == (403, "token_used")


def test_the_agents_command_line_explains_each_refusal(tmp_path, own_collector):
    """One line with the code, the documented exit code, and no half-made enrollment."""
    collector = own_collector
    one = Agent(tmp_path, collector, "one")
    for given, origin, code, words in (
        ("nonsense", collector.origin, 77, "token_unknown"),
        ("rpe_0123_4567", collector.origin, 77, "token_unknown"),
        ("rpe_0123_4567", "http://127.0.0.1:1", 69, "collector_unreachable"),
        ("rpe_0123_4567", "collector", 78, "bad_configuration"),
    ):
        done = one.cli("enroll", "--collector", origin, given=given)
        assert (done.returncode, done.stdout) == (code, "")
        assert f": {words}: " in done.stderr
        assert "Traceback" not in done.stderr
    assert one.cli("run").returncode == 78
    one.enroll()
    again = one.cli("enroll", "--collector", collector.origin, given=collector.enrollment_token())
    assert (again.returncode, "already_enrolled" in again.stderr) == (1, True)


@pytest.mark.parametrize("variable", ["STATE_DIR", "WIPER_DIR"])
def test_a_state_directory_that_cannot_be_made_says_so(collector, variable):
    """/proc takes no directories, not even root's."""
    command = program("agent", "enroll", "--collector", collector.origin)
    there = {"RACKPROOF_AGENT_STATE_DIR": "/proc/a", "RACKPROOF_AGENT_WIPER_DIR": "/proc/w"}
    done = subprocess.run(
        command, input="rpe_1_2", capture_output=True, text=True, env=environment() | there, check=False
    )
    assert done.returncode == 73
    assert "state_unwritable" in done.stderr
    assert variable


class Wire:
    """An agent's end of the link, spoken by hand."""

    def __init__(self, agent: Agent) -> None:
        state = agent.folder / "state"
        self.pinned = identity.load(state / "pinned.json")
        self.key = keys.load(state / "agent.key")
        with sqlite3.connect(state / "agent.db") as database:
            meta = dict(database.execute("SELECT name, value FROM meta"))
        self.counter, self.outbox_id = int(meta["join_counter"]), meta["outbox_id"]

    def session(self, **changes) -> AgentSession:
        plain = {
            "hardware_id": self.pinned.hardware_id,
            "agent_public_key": self.key.public_key().public_bytes_raw(),
            "origin": self.pinned.origin,
            "collector_public_key": self.pinned.trust.collector_public_key,
            "join_counter": self.counter,
            "boot_id": "b",
            "outbox_id": self.outbox_id,
            "agent_version": "1",
            "policy_hash": "",
            "facts": Facts(os="Debian 12"),
        }
        return AgentSession(Machine(**plain | changes), self.key.sign, os.urandom(32))


async def converse(wire: Wire, frames, *, clock=None, **changes):
    """Join, then send frames; return what came back and the close code."""
    session, back = wire.session(**changes), []
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{wire.pinned.origin}/v1/agent/link", protocols=(SUBPROTOCOL,)) as socket,
    ):
        challenge = decode((await socket.receive()).data)
        assert isinstance(challenge, Challenge)
        (hello,) = session.receive(challenge, clock or datetime.now(UTC))
        await socket.send_str(encode(hello.message).decode())
        first = await socket.receive()
        if first.type is aiohttp.WSMsgType.TEXT:
            back.append(decode(first.data))
            for frame in frames:
                await (socket.send_bytes(frame) if isinstance(frame, bytes) else socket.send_str(frame))
            async with asyncio.timeout(3):
                async for message in socket:
                    back.append(decode(message.data))
                    if isinstance(back[-1], Ack):
                        break
        return back, socket.close_code


@pytest.fixture(scope="module")
def mute(tmp_path_factory):
    """An enrolled machine whose agent does not run, at a collector of its own."""
    folder = tmp_path_factory.mktemp("mute")
    collector = Collector(folder).up()
    agent = Agent(folder, collector).up()
    assert agent.stop() == 0
    yield agent
    collector.kill()


@pytest.fixture
def wire(mute):
    """The test speaks for the mute machine."""
    return Wire(mute)


def test_what_may_not_stand_on_the_link_closes_it(mute, wire):
    """Malformed, unknown, oversized, binary and out-of-turn frames, each with the protocol's close code."""
    collector = mute.collector
    before = rows(collector)
    for frame in (
        "{",
        '{"type":"run_script","script":"id"}',
        '{"type":"ack","up_to_seq":1}',
        '{"type":"health","seq":-1}',
        b"\x00\x01",
    ):
        _, code = asyncio.run(converse(wire, [frame]))
        assert code == CloseCode.PROTOCOL, frame
    _, code = asyncio.run(converse(wire, ["x" * (MAX_MESSAGE_BYTES + 1)]))
    assert code == 1009
    assert rows(collector) == before
    refusals = [one for one in collector.events() if one["event"] == "link.refused"]
    assert {"malformed", "unknown_message", "out_of_turn"} <= {one["code"] for one in refusals}


def test_who_is_not_known_does_not_join(mute, wire):
    """Another machine's name, another key, another origin, an old counter."""
    collector = mute.collector
    before = rows(collector)
    stranger = Ed25519PrivateKey.generate()
    for changes, expected in (
        ({"hardware_id": "hw_other"}, CloseCode.AUTH),
        ({"agent_public_key": stranger.public_key().public_bytes_raw()}, CloseCode.AUTH),
        ({"origin": "https://elsewhere.example"}, CloseCode.AUTH),
        ({"join_counter": wire.counter + 5}, CloseCode.DUPLICATE),
    ):
        back, code = asyncio.run(converse(wire, [], **changes))
        assert (back, code) == ([], expected), changes
    wire.key = stranger
    # The right name and key id, signed by the wrong key.
    _, code = asyncio.run(converse(wire, [], agent_public_key=keys_of(collector)))
    assert code == CloseCode.AUTH
    assert rows(collector) == before


def keys_of(collector: Collector) -> bytes:
    with collector.database() as database:
        return database.execute("SELECT public_key FROM machine_key WHERE role = 'agent'").fetchone()[0]


def test_a_clock_years_off_is_taken_and_measured(mute, wire):
    """The report counts by when it was received; the skew is on record."""
    collector = mute.collector
    report = Health(seq=100_000, boot_id="b", collected_at=datetime(1970, 1, 2, tzinfo=UTC), indicators={})
    back, _ = asyncio.run(converse(wire, [encode(report).decode()], clock=datetime(2038, 1, 19, tzinfo=UTC)))
    assert isinstance(back[0], Welcome)
    assert back[-1] == Ack(up_to_seq=100_000)
    live = collector.ask("GET", f"/v1/machines/{wire.pinned.hardware_id}/presence")["now"]
    assert live["clock_skew_ms"] > 10 * 365 * 86_400_000
    assert abs(datetime.fromisoformat(live["last_received_at"]) - datetime.now(UTC)) < timedelta(minutes=1)


def test_links_opened_without_end_fill_no_ledger(own_collector, own_agent):
    """Each is another process by its own word: past a hundred the machine is told to slow down."""
    agent, collector = own_agent, own_collector
    assert agent.stop() == 0
    wire, last = Wire(agent), None
    for number in range(1, 121):
        report = Health(seq=200_000 + number, boot_id="b", collected_at=datetime.now(UTC), indicators={})
        back, last = asyncio.run(converse(wire, [encode(report).decode()], run_id=f"run-{number}"))
        if last == CloseCode.SLOW_DOWN:
            break
        assert back[-1] == Ack(up_to_seq=200_000 + number)
        wire.counter = back[0].join_counter
    assert last == CloseCode.SLOW_DOWN
    assert 90 <= number <= 115
    time.sleep(2.5)
    assert rows(collector)["presence_event"] <= number + 5


def test_a_connection_without_the_subprotocol_is_told_to_upgrade(wire):
    """A program that is no agent of ours learns so at once."""

    async def connect() -> int | None:
        async with aiohttp.ClientSession() as http, http.ws_connect(f"{wire.pinned.origin}/v1/agent/link") as socket:
            await socket.receive()
            return socket.close_code

    assert asyncio.run(connect()) == CloseCode.UPGRADE


def test_a_copied_disk_is_caught(tmp_path, own_collector, own_agent):
    """Two agents with one state: the older counter is refused, the original stays."""
    agent, collector = own_agent, own_collector
    agent.stop()
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", str(agent.folder), str(copy)], check=True)
    agent.start()
    agent.await_online()
    wait_for(lambda: counter(agent.folder) == counter(copy) + 1, 10, "the original to move on")
    time.sleep(1.5)
    config = copy / "agent.toml"
    config.write_text(config.read_text().replace(str(agent.folder), str(copy)))
    clone = subprocess.Popen(
        program("agent", "run", "--config", str(config)), stderr=subprocess.PIPE, env=environment(), text=True
    )
    try:
        wait_for(lambda: any(one.get("code") == "clone" for one in collector.events()), 20, "the copy to be noticed")
    finally:
        clone.kill()
        clone.communicate()
    assert [one["event"] for one in collector.events()].count("link.joined") >= 2
    assert agent.cli("status").returncode == 0


def counter(folder: Path) -> int:
    with sqlite3.connect(folder / "state" / "agent.db") as state:
        return int(state.execute("SELECT value FROM meta WHERE name = 'join_counter'").fetchone()[0])


def test_a_revoked_machine_is_cut_off_within_a_second(own_collector, own_agent):
    """Its link closes with 4403 and it does not come back."""
    agent, collector = own_agent, own_collector
    began = time.monotonic()
    collector.ask("POST", f"/v1/machines/{agent.hardware_id}/revoke")
    wait_for(lambda: "revoked" in agent.cli("status").stdout, 5, "the agent to notice")
    closed = next(
        one for one in collector.events() if one["event"] == "link.closed" and one["code"] == CloseCode.REVOKED
    )
    assert closed["hardware_id"] == agent.hardware_id
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"kind": "wipe", "username": "root", "methods": ["home_directory_purge"]}, 409, "unknown_account"),
        ({"kind": "wipe", "username": "../../etc", "methods": ["home_directory_purge"]}, 409, "unknown_account"),
        ({"kind": "wipe", "username": "nobody", "methods": ["home_directory_purge"]}, 409, "unknown_account"),
        ({"kind": "wipe", "username": "x", "methods": []}, 400, "invalid"),
        ({"kind": "wipe", "username": "x", "methods": ["rm_rf"]}, 400, "invalid"),
        ({"kind": "wipe", "path": "/etc", "username": "x", "methods": ["home_directory_purge"]}, 400, "invalid"),
        ({"kind": "run_script", "script": "id"}, 400, "invalid"),
        ({"kind": "benchmark", "components": []}, 400, "invalid"),
        ({"kind": "benchmark", "components": ["cpu"], "expires_in_s": 0}, 400, "invalid"),
        ({"kind": "benchmark", "components": ["cpu"], "hardware_id": "hw_other"}, 404, "not_found"),
    ],
)
def test_orders_that_cannot_be_are_refused_by_the_api(collector, agent, body, status, code):
    """A wipe of root, of a path, of nobody we know; an unknown kind: no command is made."""
    before = rows(collector)
    assert refusal(agent.order, **body) == (status, code)
    assert rows(collector)["command"] == before["command"]


@pytest.mark.parametrize("username", ["root", "../../etc", "-rf", "ro ot", "nobody"])
def test_grants_that_cannot_be_are_refused_by_the_machine(agent, username):
    """The wiper judges names itself; the command ends as refused, with the code, and nothing is made."""
    row = agent.ended(agent.order(kind="access_grant", username=username)["command_id"])
    assert row["state"] in {"refused", "failed"}
    assert row["code"] in {"bad_account_name", "protected_account", "account_exists"}
    passwd = agent.simulated / "etc" / "passwd"
    assert not passwd.exists() or username not in passwd.read_text()


def test_a_command_waits_for_its_machine(collector, agent):
    """Queued while the agent is away, done when it comes back."""
    agent.kill()
    row = agent.order(kind="benchmark", components=["disk"], quick=True)
    assert row["state"] == "queued"
    agent.start()
    assert agent.ended(row["command_id"])["state"] == "succeeded"


def test_a_command_that_nobody_takes_can_be_canceled_or_expires(own_collector, own_agent):
    """Both are ends, and the machine never does it."""
    agent, collector = own_agent, own_collector
    agent.kill()
    collector.kill()
    collector.start()
    collector.await_ready()
    first = agent.order(kind="benchmark", components=["disk"], quick=True)["command_id"]
    second = agent.order(kind="benchmark", components=["disk"], quick=True, expires_in_s=10)["command_id"]
    assert collector.ask("POST", f"/v1/commands/{first}/cancel")["state"] == "canceled"
    assert refusal(collector.ask, "POST", f"/v1/commands/{first}/cancel") == (409, "conflict")
    assert agent.ended(second, 30)["state"] == "expired"
    agent.start()
    agent.await_online()
    with agent.state() as state:
        assert state.execute("SELECT count(*) FROM command").fetchone()[0] == 0
    assert collector.items("/v1/benchmarks") == []


def test_two_agents_on_one_state_directory(agent):
    """The second one stops with one line and leaves the first alone."""
    done = agent.cli("run")
    assert (done.returncode, "already_running" in done.stderr) == (75, True)
    assert agent.cli("status").returncode == 0


def test_a_port_in_use_is_one_line(collector):
    """Exit 75, the code, and what to do."""
    done = subprocess.run(
        program("collector", "serve", "--config", str(collector.config)),
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 75
    assert "port_in_use" in done.stderr
    assert "Traceback" not in done.stderr


def newer(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        database.execute("INSERT INTO alembic_version VALUES ('9999')")


@pytest.mark.parametrize(
    ("prepare", "code", "exit_code"),
    [
        (lambda path: None, "database_missing", 78),
        (lambda path: path.write_bytes(b""), "database_missing", 78),
        (newer, "database_newer", 78),
        (lambda path: path.write_bytes(b"no database" * 1000), "store_unavailable", 73),
    ],
)
def test_a_database_that_cannot_be_used_is_one_line(tmp_path, prepare, code, exit_code):
    """Missing, empty, newer or not a database at all."""
    path = tmp_path / "rackproof.db"
    prepare(path)
    done = subprocess.run(
        program("collector", "serve", "--data-dir", str(tmp_path)),
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert f": {code}: " in done.stderr
    assert (done.returncode, "Traceback" in done.stderr) == (exit_code, False)


def test_a_locked_database_is_waited_for_and_nothing_is_lost(collector, agent):
    """While another process holds the lock nothing is acknowledged; afterwards every report is there."""
    with collector.database() as lock:
        lock.isolation_level = None
        lock.execute("BEGIN EXCLUSIVE")
        time.sleep(4)
        lock.execute("COMMIT")
    with agent.state() as state:
        last = state.execute("SELECT seq FROM sqlite_sequence WHERE name = 'sample'").fetchone()["seq"]

    def stored() -> bool:
        return collector.report_numbers() >= set(range(1, last + 1))

    wait_for(stored, 20, "every report to be stored")


def test_the_collector_stops_in_time_with_links_open(collector, agent):
    """SIGTERM with an open link: below two seconds, exit 0, and the agent is told when to come back."""
    began = time.monotonic()
    assert collector.stop() == 0
    assert time.monotonic() - began < 2.0
    wait_for(lambda: "goodbye" in agent.log.read_text(), 5, "the agent to hear it")
    collector.start()
    collector.await_ready()
    agent.await_online()


def test_a_repeated_post_gets_the_first_answer(own_collector, own_agent):
    """An Idempotency-Key makes one command of two requests, and refuses a different third."""
    agent, collector = own_agent, own_collector
    body = {"kind": "benchmark", "hardware_id": agent.hardware_id, "components": ["disk"], "quick": True}
    key = {"Idempotency-Key": "once"}
    first = collector.ask("POST", "/v1/commands", body, key)
    second = collector.ask("POST", "/v1/commands", body, key)
    assert first["command_id"] == second["command_id"]
    assert len(collector.items("/v1/commands")) == 1
    assert refusal(collector.ask, "POST", "/v1/commands", body | {"quick": False}, key) == (409, "idempotency_mismatch")
    assert agent.ended(first["command_id"])["state"] == "succeeded"


def test_a_token_is_needed_and_its_role_is_kept(collector):
    """No token, a wrong one, a reader that writes, a revoked one."""
    admin = collector.token
    collector.token = ""
    assert refusal(collector.ask, "GET", "/v1/machines") == (401, "unauthenticated")
    collector.token = admin[:-1] + ("0" if admin[-1] != "0" else "1")
    assert refusal(collector.ask, "GET", "/v1/machines") == (401, "unauthenticated")
    collector.token = collector.cli("token", "create", "--role", "auditor", "--name", "reader")
    assert isinstance(collector.items("/v1/machines"), list)
    assert refusal(collector.ask, "POST", "/v1/enrollment_tokens", {"customer_id": "usr_1"}) == (403, "forbidden")
    collector.cli("token", "revoke", "_".join(collector.token.split("_")[:2]))
    assert refusal(collector.ask, "GET", "/v1/machines") == (401, "unauthenticated")
    collector.token = admin


def test_keys_of_machines_are_never_shown(collector, agent):
    """No answer of the API and no log line holds a secret."""
    secret = (agent.folder / "state" / "agent.key").read_text().strip()
    assert secret not in agent.log.read_text() + collector.log.read_text()
    assert collector.token.split("_")[2] not in collector.log.read_text()
    assert "key" not in json.dumps(collector.items("/v1/machines"))
