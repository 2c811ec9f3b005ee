"""Recorded machines' reports, as the agent makes them, judged over twenty minutes."""

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from collector.verdict import HealthState
from collector.verdict.conclusion import reasons
from collector.verdict.judging import judge
from collector.verdict.memory import Memory
from shared.messages import Indicators
from tests.collector.known import NOW

RECORDINGS = Path(__file__).parents[2] / "host" / "recordings"
EXPECTED = {
    "plain-vm": (HealthState.DEGRADED, {("clock_unsynchronized", "")}),
    "arm64": (HealthState.DEGRADED, {("cpu_offline", "")}),
    "gpu-server": (
        HealthState.UNHEALTHY,
        {
            ("disk_filesystem_errors", "md0"),
            ("disk_io_errors", "nvme2n1"),
            ("disk_read_only", "/home"),
            ("gpu_lost", ""),
            ("gpu_nvlink_down", "GPU-00000006"),
            ("gpu_pcie_width", "GPU-00000006"),
            ("gpu_temperature", "GPU-00000005"),
            ("gpu_unreadable", "index 7"),
            ("gpu_xid_reboot", "0000:a5:00.0"),
            ("memory_uncorrected", "mc1"),
        },
    ),
    "lost-gpu": (HealthState.UNHEALTHY, {("gpu_lost", ""), ("gpu_xid_reboot", "0000:b7:00.0")}),
    "no-driver": (HealthState.UNHEALTHY, {("gpu_driver_missing", "")}),
    "ecc-xid": (
        HealthState.UNHEALTHY,
        {
            ("gpu_ecc_uncorrected", "GPU-00000002"),
            ("gpu_lost", ""),
            ("gpu_row_remap_failed", "GPU-00000007"),
            ("gpu_row_remap_pending", "GPU-00000002"),
            ("gpu_unreadable", "GPU-00000005"),
            ("gpu_xid_reset", "0000:37:00.0"),
            ("gpu_xid_reset", "0000:67:00.0"),
            ("machine_checks", ""),
            ("memory_uncorrected", "mc1"),
            ("memory_uncorrected_logged", ""),
        },
    ),
    "raid-degraded": (
        HealthState.UNHEALTHY,
        {
            ("array_degraded", "md0"),
            ("array_degraded", "md1"),
            ("array_disk_faulty", "md0 sdb2"),
            ("array_disk_faulty", "md1 sde"),
            ("array_pool_degraded", "zfs backup"),
            ("clock_offset", ""),
            ("clock_unsynchronized", ""),
            ("disk_full", "/"),
            ("disk_pending_sectors", "sdb"),
            ("disk_read_only", "/srv"),
            ("disk_smart_failing", "sdb"),
            ("disk_uncorrectable_sectors", "sdb"),
            ("memory_uncorrected", "mc0 dimm2"),
        },
    ),
}
"""What each is found to be, and why; what is on trial left out."""


class Recorded(msgspec.Struct):
    """A golden report."""

    indicators: Indicators


def judged(name: str) -> Memory:
    report = msgspec.json.decode((RECORDINGS / name / "report.json").read_bytes(), type=Recorded)
    memory = Memory(hardware_id="hw_1")
    for number in range(40):
        judge(memory, report.indicators, NOW + timedelta(seconds=30 * number), "b", 0.0)
    return memory


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_recorded_machine_is_found_to_be_what_it_is(name) -> None:
    """Every fault that was recorded is told, and no other."""
    memory = judged(name)
    found = {(one.code, one.item) for one in reasons(memory) if not one.shadow}
    assert (memory.state, found) == EXPECTED[name]


def test_every_recorded_report_can_be_judged() -> None:
    """Nothing that the agent sends is unreadable."""
    for folder in RECORDINGS.iterdir():
        if (folder / "report.json").exists():
            told = {one.code for one in reasons(judged(folder.name))}
            assert "unreadable" not in told, folder.name
