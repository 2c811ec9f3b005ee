"""The commands of a provider, on a machine whose agent really runs: they tell the truth, and secrets stay where they are."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.system.harness import Agent, Collector, environment, wait_for

SCRIPT = Path(sys.executable).with_name("rackproof-agent")
WAY = ("dns", "tcp", "answer", "skew")


def command(agent: Agent, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the console script as it is installed."""
    argv = (SCRIPT, *arguments, "--config", str(agent.config))
    return subprocess.run(
        argv, capture_output=True, text=True, env=environment(), check=False, timeout=120, cwd=agent.folder
    )


def doctor(agent: Agent, *names: str) -> dict[str, dict[str, str]]:
    ended = command(agent, "doctor", *names, "--json")
    lines = json.loads(ended.stdout)
    assert ended.returncode == int(any(line["state"] == "problem" for line in lines)), ended.stderr
    return {line["check"]: line for line in lines}


def test_a_machine_that_is_heard_has_nothing_to_mend_on_the_way(collector: Collector, agent: Agent) -> None:
    """From its identity to the collector's clock; status agrees."""
    found = doctor(agent)
    for name in ("configuration", "enrollment", "service", "state_dir", "outbox", *WAY):
        assert found[name]["state"] == "fine", found[name]
    assert found["enrollment"]["value"] == f"{agent.hardware_id} of usr_1"
    assert found["tls"]["value"] == "plain HTTP, which does not leave this machine"
    status = command(agent, "status")
    assert status.returncode == 0
    assert "online" in status.stdout


def test_scan_shows_what_the_collector_gets(collector: Collector, agent: Agent) -> None:
    """The same indicators, by the same names, with the same settings' digest."""
    scanned = json.loads(command(agent, "scan", "--json").stdout)
    wait_for(
        lambda: "agent" in (collector.ask("GET", f"/v1/machines/{agent.hardware_id}")["health_indicators"] or {}),
        10,
        "a report",
    )
    sent = collector.ask("GET", f"/v1/machines/{agent.hardware_id}")
    assert set(scanned["indicators"]) == set(sent["health_indicators"])
    hashes = [
        one["agent"]["values"]["configuration_hash"] for one in (scanned["indicators"], sent["health_indicators"])
    ]
    assert hashes[0] == hashes[1]
    assert scanned["facts"]["os"] == sent["os"]


def test_no_key_and_no_name_of_the_enrollment_is_in_a_bundle(agent: Agent) -> None:
    """Not the keys, not in part; nor the id of the hardware."""
    ended = command(agent, "support-bundle", "--output", "bundle.tar.gz")
    assert ended.returncode == 0, ended.stderr
    with tarfile.open(agent.folder / "bundle.tar.gz") as archive:
        held = b"\n".join(archive.extractfile(entry).read() for entry in archive)
    key = (agent.folder / "state" / "agent.key").read_text().strip()
    wiper_key = (agent.folder / "wiper" / "wiper.key").read_text().strip()
    assert len(key) == len(wiper_key) == 64
    for secret in (key, key[:16], wiper_key, agent.hardware_id):
        assert secret.encode() not in held
    assert b"hw_" in held


def test_what_stops_is_told_by_doctor_and_status(own_collector: Collector, own_agent: Agent) -> None:
    """A collector that is gone, then an agent that is gone: each by its own code, and nothing else is blamed."""
    own_collector.kill()
    wait_for(lambda: "online" not in command(own_agent, "status").stdout, 30, "the agent to notice")
    found = doctor(own_agent)
    assert found["tcp"]["code"] == "tcp_refused"
    assert found["service"]["code"] == "agent_offline"
    assert [found[name]["state"] for name in ("dns", "answer", "skew")] == ["fine", "unknown", "unknown"]
    assert command(own_agent, "status").returncode == 1
    own_agent.kill()
    assert doctor(own_agent, "service")["service"]["code"] == "agent_stopped"
    assert "not running" in command(own_agent, "status").stdout


@pytest.mark.parametrize("name", ["agent.key", "agent.db", "pinned.json"])
def test_a_damaged_state_is_a_line_and_no_traceback(own_agent: Agent, name: str) -> None:
    """Whatever file it is."""
    own_agent.kill()
    for file in (own_agent.folder / "state").glob(f"{name}*"):  # the database's log too, from which it would be mended
        file.write_bytes(b"\xff damaged" * 100)
    ended = command(own_agent, "doctor", "enrollment", "outbox", "hardware", "--json")
    assert ended.returncode == 1
    assert ended.stderr == ""
    codes = {line["code"] for line in json.loads(ended.stdout)} - {"", "hardware_changed"}
    assert codes == {
        {"agent.key": "key_missing", "agent.db": "outbox_unreadable", "pinned.json": "enrollment_unreadable"}[name]
    }
