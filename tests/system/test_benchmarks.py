"""Benchmarks over the whole path: never at a tenant's cost, and the agent is heard meanwhile."""

import subprocess
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from tests.system.harness import children, environment, program, wait_for

pytestmark = pytest.mark.slow
HEAVY = ("numpy", "zstandard", "libcuda", "libcublas", "libnvidia-ml", "paramiko")


def measuring(agent) -> list[int]:
    return [
        one
        for one in children(agent.process.pid)
        if b"agent.benchmarks" in Path("/proc", str(one), "cmdline").read_bytes()
    ]


def state(agent, command_id: str) -> str:
    return agent.collector.ask("GET", f"/v1/commands/{command_id}")["state"]


def test_a_grant_ends_a_benchmark_within_a_second(agent):
    """The tenant gets his account as if nothing had run; the benchmark's end says why; then nothing is measured."""
    ordered = agent.order(kind="benchmark", components=["cpu"])["command_id"]
    wait_for(lambda: measuring(agent), 20, "the benchmark to run")
    began = time.monotonic()
    granted = agent.order(kind="access_grant", username="erin")["command_id"]
    wait_for(lambda: not measuring(agent), 5, "the benchmark's end")
    assert time.monotonic() - began < 1.5  # half a second of it is ours, for a busy test machine
    assert agent.ended(granted)["state"] == "succeeded"
    row = agent.ended(ordered)
    assert (row["state"], row["code"]) == ("failed", "booked"), row
    try:
        late = agent.ended(agent.order(kind="benchmark", components=["cpu"], quick=True)["command_id"])
        assert (late["state"], late["code"]) == ("failed", "booked")
        assert "erin" in late["detail"]
        by_hand = agent.cli("bench", "cpu", "--quick")
        assert (by_hand.returncode, by_hand.stdout) == (75, ""), by_hand.stderr
        assert "booked" in by_hand.stderr
        assert agent.collector.items(f"/v1/benchmarks?command_id={ordered}") == []
    finally:
        wiped = agent.ended(agent.order(kind="wipe", username="erin", methods=["home_directory_purge"])["command_id"])
    assert wiped["state"] == "succeeded"
    again = agent.ended(agent.order(kind="benchmark", components=["cpu"], quick=True)["command_id"])
    assert again["code"] != "booked"


def test_a_measurement_by_hand_ends_when_a_tenant_comes(agent):
    """It knows by what the running agent tells."""
    by_hand = subprocess.Popen(
        program("agent", "bench", "cpu", "--config", str(agent.config)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    wait_for(lambda: children(by_hand.pid), 20, "it to measure")
    assert agent.ended(agent.order(kind="access_grant", username="frank")["command_id"])["state"] == "succeeded"
    granted_at = time.monotonic()
    out, told = by_hand.communicate(timeout=20)
    took_s = time.monotonic() - granted_at
    wiped = agent.ended(agent.order(kind="wipe", username="frank", methods=["home_directory_purge"])["command_id"])
    assert wiped["state"] == "succeeded"
    assert (by_hand.returncode, out) == (75, ""), told
    assert took_s < 2


def test_an_order_waits_for_a_measurement_by_hand(agent):
    """Two at once would disturb each other; both get their figures or their reasons."""
    by_hand = subprocess.Popen(
        program("agent", "bench", "cpu", "--quick", "--json", "--config", str(agent.config)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    wait_for(lambda: children(by_hand.pid), 20, "it to measure")
    refused = agent.cli("bench", "cpu", "--quick")
    assert (refused.returncode, "busy" in refused.stderr) == (75, True), refused.stderr
    ordered = agent.order(kind="benchmark", components=["cpu"], quick=True)["command_id"]
    out, _ = by_hand.communicate(timeout=60)
    assert b"cpu" in out
    assert agent.ended(ordered)["code"] is None


def test_the_agent_is_heard_while_every_cpu_is_busy(agent):
    """No report is late while the CPU benchmark runs, and nothing heavy comes into the daemon."""
    ordered = agent.order(kind="benchmark", components=["cpu", "disk"])["command_id"]
    wait_for(lambda: measuring(agent), 20, "the benchmark to run")
    ended = agent.ended(ordered, 180)
    began_at, ended_at = (datetime.fromisoformat(ended[one]) for one in ("accepted_at", "finished_at"))
    reports = agent.collector.ask("GET", f"/v1/machines/{agent.hardware_id}/health?limit=500")["items"]
    times = sorted(datetime.fromisoformat(one["received_at"]) for one in reports)
    beside = [one for one in times if began_at <= one <= ended_at]
    assert len(beside) >= 5
    gaps = [(later - one).total_seconds() for one, later in pairwise(beside)]
    # One report a second here; a late one would be a beat that is missing.
    assert max(gaps) < 2.4, gaps
    mapped = Path("/proc", str(agent.process.pid), "maps").read_text()
    assert [one for one in HEAVY if one in mapped] == []
