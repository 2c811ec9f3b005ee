"""kill -9 at random moments: every command ends once, nothing acknowledged is lost, and all books agree."""

import base64
import hashlib
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.system.harness import children, environment, program, wait_for

BENCHMARKS, WIPES, GRANTS = 3, 10, 7
PRECIOUS = b"the neighbour's\n"


@pytest.mark.slow
def test_nothing_is_lost_or_done_twice_when_both_ends_are_killed(own_agent, own_collector, request):
    """Commands are queued while agent, collector and wiper are killed at random moments."""
    agent, collector = own_agent, own_collector
    kills = request.config.getoption("--kills")
    seed = int(os.environ.get("KILL_SEED", time.time_ns() % 10**9))
    print(f"seed {seed}, {kills} kills")
    dice = random.Random(seed)
    # First of all: no benchmark runs beside a tenant.
    bodies = [{"kind": "benchmark", "components": ["cpu"], "quick": True}] * BENCHMARKS
    ended = killed_at(dice, agent, collector, bodies, kills // 3)

    tenants = [f"tenant{number}" for number in range(WIPES)]
    for name in tenants:
        assert agent.ended(agent.order(kind="access_grant", username=name)["command_id"])["state"] == "succeeded"
        fill(agent.simulated / "home" / name)
    neighbour = agent.simulated / "home" / "neighbour"
    neighbour.mkdir()
    (neighbour / "precious").write_bytes(PRECIOUS)
    bodies = [{"kind": "wipe", "username": name, "methods": ["home_directory_purge"]} for name in tenants]
    bodies += [{"kind": "access_grant", "username": f"later{number}"} for number in range(GRANTS)]
    dice.shuffle(bodies)
    ended += killed_at(dice, agent, collector, bodies, kills - kills // 3)

    wait_for(lambda: settled(agent), 60, "every answer to be confirmed")
    books_agree(agent, collector, ended)
    assert (neighbour / "precious").read_bytes() == PRECIOUS
    assert not [name for name in tenants if (agent.simulated / "home" / name).exists()]
    no_report_is_missing(agent, collector)


def killed_at(dice: random.Random, agent, collector, bodies: list, kills: int) -> list:
    """Queue commands while both ends are killed; return how each of them ended: well, and once."""
    waiting, queued = list(bodies), []
    for number in range(kills):
        while waiting and len(queued) <= number * len(bodies) // kills:
            queued.append(agent.order(**waiting.pop())["command_id"])
        time.sleep(dice.uniform(0.0, 1.2))
        kill_one(dice, agent, collector)
    queued += [agent.order(**body)["command_id"] for body in waiting]
    ended = [agent.ended(command_id, 180) for command_id in queued]
    assert [(row["kind"], row["state"], row["code"]) for row in ended if not well(row)] == []
    assert len(set(queued)) == len(bodies)
    return ended


def well(row: dict) -> bool:
    """A benchmark is well without a figure too, where it was the machine that was busy."""
    return row["state"] == "succeeded" or (row["kind"] == "benchmark" and "components" in (row["outcome"] or {}))


def fill(home: Path) -> None:
    """Give a tenant enough files that a kill can fall into their removal."""
    for folder in range(20):
        (home / f"d{folder}").mkdir()
        for file in range(50):
            (home / f"d{folder}" / f"f{file}").write_bytes(b"x" * 100)


def kill_one(dice: random.Random, agent, collector) -> None:
    """Kill the agent, the collector, or the agent with the wiper it started; and start it again."""
    victim = dice.choice(["agent", "collector", "agent and wiper"])
    if victim == "collector":
        collector.kill()
        collector.start()
        collector.await_ready()
        return
    for pid in children(agent.process.pid) if victim == "agent and wiper" else []:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    agent.kill()
    agent.start()


def settled(agent) -> bool:
    with agent.state() as state:
        return state.execute("SELECT count(*) FROM command WHERE state != 'settled'").fetchone()[0] == 0


def books_agree(agent, collector, ended) -> None:
    """The agent's journal, the commands, and the rows they made tell the same story."""
    with agent.state() as state:
        journal = {row["command_id"]: row for row in state.execute("SELECT * FROM command")}
    commands = {row["command_id"]: row for row in collector.items("/v1/commands?limit=500")}
    assert set(journal) == set(commands)
    assert {row["state"] for row in journal.values()} == {"settled"}
    benchmarks = [row["command_id"] for row in collector.items("/v1/benchmarks")]
    wipes = collector.items("/v1/data_wipes")
    by_kind = {
        kind: sorted(row["command_id"] for row in ended if row["kind"] == kind) for kind in ("benchmark", "wipe")
    }
    assert sorted(benchmarks) == by_kind["benchmark"]
    assert sorted(row["command_id"] for row in wipes) == by_kind["wipe"]
    for row in wipes:
        assert row["status"] == "success"
        assert not row["chain_gap"]
        document = json.loads(Path(urlsplit(row["wipe_evidence_uri"]).path).read_bytes())
        assert collector.ask("GET", f"/v1/data_wipes/{row['wipe_id']}/evidence") == document
        payload = base64.b64decode(document["evidence"]["payload"])
        assert hashlib.sha256(payload).hexdigest() == row["evidence_sha256"]
        answer = json.loads(journal[row["command_id"]]["answer"])
        assert answer["envelope"] == document["evidence"]
    # Offline, with the collector's key alone: each certificate holds, and together they are one chain without a gap.
    (key,) = {collector.ask("GET", "/v1/collector_key")["public_key"]}
    verify = [*program("collector", "verify", str(collector.data / "evidence")), "--collector-key", key, "--json"]
    done = subprocess.run(verify, capture_output=True, text=True, check=True, env=environment())
    assert [json.loads(line)["trust"] for line in done.stdout.splitlines()] == ["collector_key"] * len(wipes)


def no_report_is_missing(agent, collector) -> None:
    """Each report's number is at the collector or still in the outbox, from the first to the last."""
    with agent.state() as state:
        kept = {row["seq"] for row in state.execute("SELECT seq FROM sample")}
        last = state.execute("SELECT seq FROM sqlite_sequence WHERE name = 'sample'").fetchone()["seq"]
        assert state.execute("SELECT value FROM meta WHERE name = 'dropped'").fetchone()["value"] == "0"
    assert last > 10
    assert set(range(1, last + 1)) - collector.report_numbers() - kept == set()
