"""A machine whose reports are judged in virtual time."""

from copy import deepcopy
from datetime import datetime, timedelta

from collector.verdict import Event, Reason
from collector.verdict.conclusion import reasons
from collector.verdict.judging import judge
from collector.verdict.memory import Memory
from shared.messages import Absent, Failed, Indicators, Measured
from tests.collector.known import NOW

EVERY_S = 30
GPUS = tuple(f"GPU-0000000{number}" for number in range(8))
BUS = "0000:17:00.0"


def by_gpu(value):
    return dict.fromkeys(GPUS, value)


WELL = {
    "cpu": {
        "logical_cpus": 256,
        "offline_cpus": 0,
        "use_percent": 12.5,
        "steal_percent": 0.0,
        "temperature_celsius": {"package 0": 61.2, "package 1": 58.0},
        "throttle_count": {"package 0": 0, "package 1": 7},
    },
    "memory": {
        "total_bytes": 2_164_184_645_632,
        "swap_total_bytes": 8_589_930_496,
        "swap_used_bytes": 0,
        "pressure_full_percent": 0.0,
        "oom_kills": 2,
        "corrected_errors": {"mc0": 12, "mc1": 0},
        "uncorrected_errors": {"mc0": 0, "mc1": 0},
    },
    "disks": {
        "used_percent": {"/": 30.0, "/home": 65.1},
        "inodes_used_percent": {"/": 4.6, "/home": 0.1},
        "read_only": {"/": False, "/home": False},
        "temperature_celsius": {"nvme0n1": 41.9, "sda": 38.0},
        "io_errors": {"sda": 3},
    },
    "arrays": {"state": {"md0": "clean"}, "missing_disks": {"md0": 0}},
    "smart": {
        "health": {"nvme0n1": "passed", "sda": "passed"},
        "wear_percent": {"nvme0n1": 3},
        "spare_percent": {"nvme0n1": 100},
        "media_errors": {"nvme0n1": 0},
        "pending_sectors": {"sda": 0},
        "reallocated_sectors": {"sda": 8},
        "cable_errors": {"sda": 0},
        "controller_state": {"nvme0": "live"},
    },
    "network": {
        "speed_mbit_s": {"eno1": 25_000},
        "errors": {"eno1": 4},
        "drops": {"eno1": 6},
        "carrier_changes": {"eno1": 2},
        "collector_rtt_ms": 18.0,
        "collector_resent_percent": 0.1,
    },
    "kernel_log": {
        "machine_checks": 0,
        "memory_corrected": 0,
        "memory_uncorrected": 0,
        "lockups": 0,
        "kernel_bugs": 0,
        "messages_lost": 0,
    },
    "system": {
        "clock_synchronized": True,
        "clock_offset_ms": -0.041,
        "failed_units": 0,
        "reboot_pending": False,
    },
    "processes": {"total": 900, "stuck": 0, "zombies": 0, "threads_used_percent": 0.1},
    "agent": {"loop_lag_ms": 1.2, "outbox_depth": 1, "dropped_samples": 0},
    "gpu": {
        "on_pci_bus": 8,
        "seen_by_nvml": 8,
        "driver": "550.90.07",
        "probe": "ok",
        "probe_restarts": 0,
        "slowdown_margin_celsius": by_gpu(41),
        "memory_temperature_celsius": by_gpu(62),
        "utilization_percent": by_gpu(97),
        "throttled_hardware_percent": by_gpu(0.0),
        "throttled_thermal_percent": by_gpu(0.0),
        "throttled_power_brake_percent": by_gpu(0.0),
        "ecc_corrected_errors": by_gpu(0),
        "ecc_uncorrected_errors": by_gpu(0),
        "row_remap_failed": by_gpu(False),
        "row_remap_pending": by_gpu(False),
        "pcie_generation": by_gpu(5),
        "pcie_generation_max": by_gpu(5),
        "pcie_width": by_gpu(16),
        "pcie_width_max": by_gpu(16),
        "pcie_replays": by_gpu(0),
        "nvlinks": by_gpu(18),
        "nvlinks_active": by_gpu(18),
        "nvlink_errors": by_gpu(0),
        "retired_pages": by_gpu(0),
        "retired_pages_pending": by_gpu(False),
    },
}
"""Every reading that has a threshold, of an 8-GPU server that is well; counts that a machine may carry for long."""


def with_changes(changes: dict) -> dict:
    """What is well, with some readings changed: by "indicator.reading", one value or some items."""
    made = deepcopy(WELL)
    for name, value in changes.items():
        indicator, _, reading = name.partition(".")
        its = made.setdefault(indicator, {})
        its[reading] = {**its.get(reading, {}), **value} if isinstance(value, dict) else value
    return made


def as_indicators(readings: dict) -> Indicators:
    """Readings as a report holds them; a text stands for a failure, None for a subject that is not there."""
    made: Indicators = {}
    for name, values in readings.items():
        if values is None:
            made[name] = Absent(reason="not here", took_ms=0)
        elif isinstance(values, str):
            made[name] = Failed(error=values, took_ms=0)
        else:
            made[name] = Measured(values=values, took_ms=0)
    return made


class Watched:
    """One machine and what was told of it."""

    def __init__(self, memory: Memory | None = None, now: datetime = NOW) -> None:
        self.memory = memory or Memory(hardware_id="hw_1")
        self.now = now
        self.boot_id = "boot-1"
        self.skew_s = 0.0
        self.events: list[Event] = []

    def report(self, readings: dict, after_s: float = EVERY_S) -> list[Event]:
        """Judge one report; return what it made known."""
        self.now += timedelta(seconds=after_s)
        new = judge(self.memory, as_indicators(readings), self.now, self.boot_id, self.skew_s)
        self.events += new
        return new

    def during(self, seconds: float, readings: dict, every_s: float = EVERY_S) -> list[Event]:
        """Judge the same report for a while."""
        return [event for _ in range(int(seconds // every_s)) for event in self.report(readings, every_s)]

    def told(self) -> dict[tuple[str, str], Reason]:
        """What is told now, by code and item."""
        return {(one.code, one.item): one for one in reasons(self.memory)}
