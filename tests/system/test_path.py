"""The way to the collector, in the report of a real agent over a real link."""

import pytest

from tests.system.harness import wait_for


def test_a_report_tells_round_trip_and_loss_to_the_collector(collector, agent):
    """On loopback: short, and nothing is sent again."""
    found = {}

    def told() -> bool:
        network = collector.ask("GET", f"/v1/machines/{agent.hardware_id}")["health_indicators"]["network"]
        if network["outcome"] == "absent":
            pytest.skip("this machine has no network link but the loopback")
        found.update(network["values"])
        return "collector_resent_percent" in found

    wait_for(told, 20, "a report that was made while the link was open")
    assert 0 < found["collector_rtt_ms"] < 1000
    assert 0 <= found["collector_resent_percent"] < 100
