"""A real agent and a real collector: a machine that lacks its GPUs is found to be unhealthy, with what to do about it."""

import pytest

from tests.system.harness import Agent, Collector, wait_for

pytestmark = pytest.mark.slow

CODE = "gpu_missing"


@pytest.fixture
def collector(tmp_path):
    made = Collector(tmp_path).up()
    yield made
    made.kill()


@pytest.fixture
def agent(tmp_path, collector):
    made = Agent(tmp_path, collector)
    with made.config.open("a") as config:
        config.write("expected_gpus = 64\n")
    yield made
    made.kill()


def test_a_machine_that_lacks_its_gpus_is_unhealthy_and_unknown_when_it_is_silent(collector, agent) -> None:
    """The reason, its words and its remedy; the events; and a restart of the collector tells none of them again."""
    agent.up()
    path = f"/v1/machines/{agent.hardware_id}"

    def verdict() -> dict:
        return collector.ask("GET", f"{path}/health/verdict")

    def told() -> bool:
        return CODE in {one["code"] for one in verdict()["reasons"]}

    # This machine's kernel may have other reasons to tell.
    wait_for(told, 180, "the missing GPUs to be told")
    assert verdict()["state"] == "unhealthy"
    (reason,) = [one for one in verdict()["reasons"] if one["code"] == CODE]
    assert reason["words"].endswith("GPUs on the PCI bus, 64 expected")
    assert "lspci" in reason["remedy"]
    events = collector.items(f"{path}/events")
    assert [one["to_state"] for one in events if one["code"] == CODE] == ["unhealthy"]
    assert ("health", "unhealthy") in {(one["code"], one["to_state"]) for one in events}
    assert collector.items(f"{path}/events?code={CODE}&limit=1")[0]["words"] == reason["words"]

    collector.stop()
    collector.start()
    collector.await_ready()
    agent.await_online()
    wait_for(told, 60, "the verdict to be there after the restart")
    agent.kill()
    wait_for(lambda: verdict()["state"] == "unknown", 180, "the silent machine to be unknown")
    codes = [one["code"] for one in verdict()["reasons"]]
    assert codes[0] == "no_reports"
    assert CODE in codes
    assert [one["to_state"] for one in collector.items(f"{path}/events?code={CODE}")] == ["unhealthy"]
