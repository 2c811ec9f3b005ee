"""The thresholds as data: complete, and about readings that exist."""

import pytest

import agent.indicators
from agent.indicators import Indicator
from agent.plugins import load
from collector.verdict import own
from collector.verdict.thresholds import THRESHOLDS, parse

TOLD = {one.name: set(one.describes) for one in load(agent.indicators, "INDICATOR", Indicator)}
TOLD[own.NAME] = set(own.DESCRIBES)

AWAITED = {
    "arrays.missing_disks",
    "arrays.state",
    "cpu.offline_cpus",
    "disks.used_percent",
    "gpu.memory_temperature_celsius",
    "gpu.nvlink_errors",
    "gpu.nvlinks",
    "gpu.nvlinks_active",
    "gpu.pcie_generation_max",
    "gpu.pcie_replays",
    "gpu.probe",
    "gpu.probe_restarts",
    "gpu.retired_pages",
    "gpu.retired_pages_pending",
    "gpu.slowdown_margin_celsius",
    "gpu.throttled_hardware_percent",
    "gpu.throttled_power_brake_percent",
    "gpu.throttled_thermal_percent",
    "kernel_log.disk_timeouts",
    "kernel_log.filesystem_errors",
    "kernel_log.io_errors",
    "kernel_log.kernel_bugs",
    "kernel_log.lockups",
    "kernel_log.machine_checks",
    "kernel_log.memory_corrected",
    "kernel_log.memory_uncorrected",
    "kernel_log.messages_lost",
    "kernel_log.pcie_errors",
    "kernel_log.sxid_fatal",
    "kernel_log.sxid_nonfatal",
    "kernel_log.xid_application",
    "kernel_log.xid_reboot",
    "kernel_log.xid_replace",
    "kernel_log.xid_reset",
    "kernel_log.xid_unknown",
    "memory.pressure_full_percent",
    "network.carrier_changes",
    "network.collector_resent_percent",
    "network.collector_rtt_ms",
    "smart.health",
    "smart.media_errors",
    "smart.pending_sectors",
    "smart.reallocated_sectors",
    "smart.spare_percent",
    "smart.wear_percent",
    "system.failed_units",
}
"""Readings that no indicator has yet."""


def named() -> set[str]:
    readings = {f"{one.indicator}.{one.reading}" for one in THRESHOLDS}
    readings |= {f"{one.indicator}.{one.other}" for one in THRESHOLDS if one.other}
    return readings | {f"{one.indicator}.{one.busy}" for one in THRESHOLDS if one.busy}


def test_every_reading_that_is_judged_is_one_that_an_indicator_tells() -> None:
    """A threshold for a reading that nobody sends would stay silent for ever."""
    there = {f"{indicator}.{reading}" for indicator, readings in TOLD.items() for reading in readings}
    assert named() - there - AWAITED == set()
    assert AWAITED & there == set()


GOOD = """
[[threshold]]
code = "a"
indicator = "cpu"
reading = "x"
test = "above"
degraded = 1
words = "w"
remedy = "r"
source = "s"
"""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("degraded = 1", ""), "needs a limit"),
        (("degraded = 1", 'degraded = 1\nstate = "degraded"'), "needs a state, or must have none"),
        (('"above"', '"grown"'), "needs a window"),
        (('"above"', '"short"'), "needs another reading"),
        (('"above"', '"sideways"'), "sideways"),
        (('source = "s"', 'source = ""'), "a source"),
        (("degraded = 1", "degraded = 1\ngone_s = 1"), "gone"),
        (("degraded = 1", "degradet = 1"), "degradet"),
        (("[[threshold]]", GOOD + "[[threshold]]"), "told twice: a"),
    ],
)
def test_an_entry_that_cannot_be_judged_is_refused(change, words) -> None:
    """The words name what is wrong."""
    assert [one.code for one in parse(GOOD)] == ["a"]
    with pytest.raises(ValueError, match=words):
        parse(GOOD.replace(*change))
