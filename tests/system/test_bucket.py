"""Evidence in a bucket: while that is away nothing is confirmed, and nothing is lost."""

import json
import subprocess

import pytest

from tests.system.harness import Agent, Collector, environment, program, wait_for


@pytest.fixture
def collector(bucket, tmp_path):
    """A collector that keeps evidence in a bucket."""
    made = Collector(tmp_path, evidence=bucket.url).up()
    yield made
    made.kill()


@pytest.fixture
def agent(collector):
    made = Agent(collector.data.parent, collector).up()
    yield made
    made.kill()


@pytest.mark.slow
def test_a_wipe_whose_evidence_could_not_be_stored_comes_again(agent, collector, bucket, tmp_path):
    """No row and no receipt without the bucket, health goes on; afterwards the same answer, stored, checked offline."""
    granted = agent.order(kind="access_grant", username="alice")["command_id"]
    assert agent.ended(granted)["state"] == "succeeded"
    bucket.kill()
    try:
        wipe = agent.order(kind="wipe", username="alice", methods=["home_directory_purge"])["command_id"]
        wait_for(lambda: refused(collector), 40, "the collector to say that it could not store the result")
        assert collector.ask("GET", f"/v1/commands/{wipe}")["state"] in {"accepted", "running"}
        assert collector.items("/v1/data_wipes") == []
        with agent.state() as state:
            row = state.execute("SELECT state, answer FROM command WHERE command_id = ?", (wipe,)).fetchone()
        assert row["state"] != "settled"
        assert row["answer"] is not None
    finally:
        bucket.start()
    # What waited is sent first thing on a new link.
    agent.kill()
    agent.start()
    assert agent.ended(wipe, 90)["state"] == "succeeded"
    (made,) = collector.items("/v1/data_wipes")
    assert made["wipe_evidence_uri"].startswith(bucket.url)
    certificate = tmp_path / f"{made['evidence_sha256']}.json"
    certificate.write_text(json.dumps(collector.ask("GET", f"/v1/data_wipes/{made['wipe_id']}/evidence")))
    key = collector.ask("GET", "/v1/collector_key")["public_key"]
    verify = program("collector", "verify", str(certificate), "--collector-key", key)
    done = subprocess.run(verify, capture_output=True, text=True, check=False, env=environment())
    assert (done.returncode, done.stderr) == (0, "")
    assert "home_directory_purge: success" in done.stdout


def refused(collector: Collector) -> bool:
    events = (one for one in collector.events() if one["event"] == "message.not_stored")
    return any((one["code"], one["message"]) == ("store_unavailable", "Result") for one in events)
