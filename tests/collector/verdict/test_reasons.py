"""Every reason: what makes it, how soon it is told, and that it goes again; over virtual time."""

import pytest

from collector.verdict import HealthState
from collector.verdict.rulebook import BY_CODE
from collector.verdict.thresholds import THRESHOLDS, WINDOWED, Test
from tests.collector.verdict.watched import BUS, EVERY_S, GPUS, WELL, Watched, by_gpu, with_changes

D, U = HealthState.DEGRADED, HealthState.UNHEALTHY
ONE = GPUS[3]

CASES = [
    ("gpu_missing", "", U, {"gpu.on_pci_bus": 7, "gpu.seen_by_nvml": 7, "gpu.expected": 8}),
    ("gpu_lost", "", U, {"gpu.seen_by_nvml": 7}),
    ("gpu_unreadable", "index 7", U, {"gpu.error": {"index 7": "GPU is lost"}}),
    (
        "gpu_driver_missing",
        "",
        U,
        {"gpu.probe": "the NVIDIA kernel driver is not loaded: sudo modprobe nvidia, or reboot"},
    ),
    ("gpu_probe_hung", "", U, {"gpu.probe": "nvmlInit_v2 hung since 12:00:00 UTC"}),
    ("gpu_probe_hung", "", U, {"gpu.probe": "3 GPU probes hang in the driver and cannot be ended: reboot the machine"}),
    ("gpu_probe_failed", "", D, {"gpu.probe": "NVML crashed in nvmlInit_v2: signal SIGABRT, restart in 9 s"}),
    ("gpu_probe_restarts", "", D, {"gpu.probe_restarts": 3}),
    ("gpu_xid_replace", BUS, U, {"kernel_log.xid_replace": {BUS: 1}}),
    ("gpu_xid_reboot", BUS, U, {"kernel_log.xid_reboot": {BUS: 1}}),
    ("gpu_xid_reset", BUS, D, {"kernel_log.xid_reset": {BUS: 1}}),
    ("gpu_xid_reset", BUS, U, {"kernel_log.xid_reset": {BUS: 3}}),
    ("gpu_xid_unknown", BUS, D, {"kernel_log.xid_unknown": {BUS: 1}}),
    ("gpu_xid_application", BUS, D, {"kernel_log.xid_application": {BUS: 20}}),
    ("gpu_sxid_fatal", BUS, U, {"kernel_log.sxid_fatal": {BUS: 1}}),
    ("gpu_sxid_nonfatal", BUS, D, {"kernel_log.sxid_nonfatal": {BUS: 10}}),
    ("gpu_ecc_uncorrected", ONE, D, {"gpu.ecc_uncorrected_errors": {ONE: 1}}),
    ("gpu_ecc_uncorrected", ONE, U, {"gpu.ecc_uncorrected_errors": {ONE: 5}}),
    ("gpu_ecc_corrected", ONE, D, {"gpu.ecc_corrected_errors": {ONE: 1000}}),
    ("gpu_row_remap_failed", ONE, U, {"gpu.row_remap_failed": {ONE: True}}),
    ("gpu_row_remap_pending", ONE, D, {"gpu.row_remap_pending": {ONE: True}}),
    ("gpu_retired_pages", ONE, D, {"gpu.retired_pages": {ONE: 15}}),
    ("gpu_retired_pages", ONE, U, {"gpu.retired_pages": {ONE: 60}}),
    ("gpu_retired_pages_pending", ONE, D, {"gpu.retired_pages_pending": {ONE: True}}),
    ("gpu_retired_pages_pending", ONE, D, {"gpu.retired_pages_pending": {ONE: 2}}),
    ("gpu_hardware_slowdown", ONE, D, {"gpu.throttled_hardware_percent": {ONE: 75.0}}),
    ("gpu_hardware_slowdown", ONE, U, {"gpu.throttled_hardware_percent": {ONE: 100.0}}),
    ("gpu_thermal_slowdown", ONE, D, {"gpu.throttled_thermal_percent": {ONE: 75.0}}),
    ("gpu_power_brake", ONE, D, {"gpu.throttled_power_brake_percent": {ONE: 75.0}}),
    ("gpu_temperature", ONE, D, {"gpu.slowdown_margin_celsius": {ONE: 2}}),
    ("gpu_temperature", ONE, U, {"gpu.slowdown_margin_celsius": {ONE: -1}}),
    ("gpu_memory_temperature", ONE, D, {"gpu.memory_temperature_celsius": {ONE: 101}}),
    ("gpu_pcie_width", ONE, D, {"gpu.pcie_width": {ONE: 8}}),
    ("gpu_pcie_generation", ONE, D, {"gpu.pcie_generation": {ONE: 3}}),
    ("gpu_pcie_replays", ONE, D, {"gpu.pcie_replays": {ONE: 80}}),
    ("gpu_nvlink_down", ONE, U, {"gpu.nvlinks_active": {ONE: 17}}),
    ("gpu_nvlink_lost", ONE, D, {"gpu.nvlinks_active": {ONE: 0}}),
    ("gpu_nvlink_errors", ONE, D, {"gpu.nvlink_errors": {ONE: 1000}}),
    ("disk_full", "/home", D, {"disks.used_percent": {"/home": 95.5}}),
    ("disk_full", "/home", U, {"disks.used_percent": {"/home": 100}}),
    ("disk_inodes", "/", D, {"disks.inodes_used_percent": {"/": 95.5}}),
    ("disk_read_only", "/home", U, {"disks.read_only": {"/home": True}}),
    ("disk_unreadable", "/data", U, {"disks.error": {"/data": "Input/output error"}}),
    ("disk_io_errors", "sda", D, {"kernel_log.io_errors": {"sda": 1}}),
    ("disk_io_errors", "sda", U, {"kernel_log.io_errors": {"sda": 10}}),
    ("disk_device_errors", "sda", D, {"disks.io_errors": {"sda": 13}}),
    ("disk_timeouts", "nvme0n1", D, {"kernel_log.disk_timeouts": {"nvme0n1": 1}}),
    ("disk_filesystem_errors", "sda2", D, {"kernel_log.filesystem_errors": {"sda2": 1}}),
    ("disk_smart_failing", "sda", U, {"smart.health": {"sda": "failed"}}),
    ("disk_wear", "nvme0n1", D, {"smart.wear_percent": {"nvme0n1": 101}}),
    ("disk_spare", "nvme0n1", D, {"smart.spare_percent": {"nvme0n1": 9}}),
    ("disk_spare", "nvme0n1", U, {"smart.spare_percent": {"nvme0n1": 0}}),
    ("disk_media_errors", "nvme0n1", D, {"smart.media_errors": {"nvme0n1": 2}}),
    ("disk_pending_sectors", "sda", D, {"smart.pending_sectors": {"sda": 1}}),
    ("disk_reallocated_sectors", "sda", D, {"smart.reallocated_sectors": {"sda": 9}}),
    ("disk_uncorrectable_sectors", "sda", D, {"smart.uncorrectable_sectors": {"sda": 1}}),
    ("disk_cable_errors", "sda", D, {"smart.cable_errors": {"sda": 10}}),
    ("disk_self_test", "sda", D, {"smart.self_test_errors": {"sda": 1}}),
    ("disk_warned", "sda", D, {"smart.warnings": {"sda": "Health, SelfTest"}}),
    ("disk_controller", "nvme0", U, {"smart.controller_state": {"nvme0": "dead"}}),
    ("disk_silent", "sda", D, {"disks.device_error": {"sda": "no answer since 12:00:00 UTC"}}),
    ("disk_device_timeouts", "sda", D, {"disks.io_timeouts": {"sda": 1}}),
    ("disk_temperature", "nvme0n1", D, {"disks.temperature_celsius": {"nvme0n1": 76.0}}),
    ("array_degraded", "md0", D, {"arrays.missing_disks": {"md0": 1}}),
    ("array_pool_degraded", "zfs tank", D, {"arrays.state": {"zfs tank": "DEGRADED"}}),
    ("array_failed", "zfs tank", U, {"arrays.state": {"zfs tank": "FAULTED"}}),
    ("array_disk_faulty", "md0 sdb2", D, {"arrays.faulty": {"md0 sdb2": True}}),
    ("array_device_errors", "btrfs a sdb", D, {"arrays.device_errors": {"btrfs a sdb": 1}}),
    ("array_corrected_errors", "md0 sdb2", D, {"arrays.corrected_errors": {"md0 sdb2": 10}}),
    ("array_failed", "md0", U, {"arrays.state": {"md0": "inactive"}}),
    ("memory_uncorrected", "mc1", U, {"memory.uncorrected_errors": {"mc1": 1}}),
    ("memory_corrected", "mc0", D, {"memory.corrected_errors": {"mc0": 22}}),
    ("memory_uncorrected_logged", "", D, {"kernel_log.memory_uncorrected": 1}),
    ("memory_corrected_logged", "", D, {"kernel_log.memory_corrected": 10}),
    ("memory_oom_kills", "", D, {"memory.oom_kills": 5}),
    ("memory_pressure", "", D, {"memory.pressure_full_percent": 25.0}),
    ("memory_swap", "", D, {"memory.swap_used_bytes": 8_000_000_000}),
    ("cpu_throttled", "package 1", D, {"cpu.throttle_count": {"package 1": 17}}),
    ("cpu_throttled_logged", "", D, {"kernel_log.cpu_throttles": 6}),
    ("cpu_temperature", "package 0", D, {"cpu.temperature_celsius": {"package 0": 96.0}}),
    ("cpu_offline", "", D, {"cpu.offline_cpus": 2}),
    ("cpu_steal", "", D, {"cpu.steal_percent": 25.0}),
    ("machine_checks", "", D, {"kernel_log.machine_checks": 1}),
    ("pcie_errors", BUS, D, {"kernel_log.pcie_errors": {BUS: 100}}),
    ("kernel_lockups", "", D, {"kernel_log.lockups": 1}),
    ("kernel_bugs", "", D, {"kernel_log.kernel_bugs": 1}),
    ("kernel_log_lost", "", D, {"kernel_log.messages_lost": 1}),
    ("clock_unsynchronized", "", D, {"system.clock_synchronized": False}),
    ("clock_offset", "", D, {"system.clock_offset_ms": -60.0}),
    ("failed_units", "", D, {"system.failed_units": 1}),
    ("reboot_pending", "", D, {"system.reboot_pending": True}),
    ("processes_stuck", "", D, {"processes.stuck": 3}),
    ("processes_full", "", D, {"processes.threads_used_percent": 81.0}),
    ("files_full", "", U, {"processes.open_files_used_percent": 99.0}),
    ("processes_zombie", "", D, {"processes.zombies": 500}),
    ("network_errors", "eno1", D, {"network.errors": {"eno1": 1004}}),
    ("network_drops", "eno1", D, {"network.drops": {"eno1": 100_006}}),
    ("network_flaps", "eno1", D, {"network.carrier_changes": {"eno1": 8}}),
    ("network_slower", "eno1", D, {"network.speed_mbit_s": {"eno1": 1000}}),
    ("network_round_trip", "", D, {"network.collector_rtt_ms": 1200.0}),
    ("network_resent", "", D, {"network.collector_resent_percent": 6.0}),
    ("agent_slow", "", D, {"agent.loop_lag_ms": 2500.0}),
    ("agent_dropped_samples", "", D, {"agent.dropped_samples": 1}),
    ("agent_backlog", "", D, {"agent.outbox_depth": 101}),
]
"""Code, item, what it makes of the machine, and the readings that make it, beside all that is well."""

JUDGED_ANYWAY = {"clock_skew", "cpu_throttled", "files_full", "processes_full", "reboots"}
"""Limits that no vendor names and nobody would dispute."""

ELSEWHERE = {
    "clock_skew",
    "hardware_changed",
    "indicator_failed",
    "indicator_missing",
    "nothing_measured",
    "reasons_left_out",
    "reboots",
    "unreadable",
}
"""Reasons that no reading makes; they have tests of their own."""

BESIDE = {"gpu_nvlink_down": {"gpu_nvlink_lost"}, "gpu_unreadable": set()}
"""Reasons that rightly come with another."""


def test_every_reason_is_tried() -> None:
    """A threshold that nobody has seen at work is none."""
    assert {case[0] for case in CASES} | ELSEWHERE == set(BY_CODE)


@pytest.mark.parametrize(("code", "item", "state", "changes"), CASES, ids=[f"{case[0]}-{case[2]}" for case in CASES])
def test_a_reading_makes_its_reason_and_no_other(code, item, state, changes) -> None:
    """It is told when it has been seen for long enough, not before; and goes when it has been gone long enough."""
    threshold, machine, ill = BY_CODE[code], Watched(), with_changes(changes)
    machine.during(1800, WELL)
    assert machine.told() == {}
    assert machine.memory.state is HealthState.HEALTHY
    machine.events.clear()
    machine.report(ill)
    limit = threshold.degraded or 0.0
    early_s = max(threshold.hold_s, limit / 100 * threshold.window_s if threshold.test is Test.LASTING else 0.0)
    if early_s:
        machine.during(early_s - 2 * EVERY_S, ill)
        assert (code, item) not in machine.told()
        machine.during(6 * EVERY_S + (threshold.window_s if threshold.test is Test.LASTING else 0.0), ill)
    told = machine.told()
    assert told[code, item].state is state, told
    assert told[code, item].remedy
    assert {one for one, _ in told} == {code} | BESIDE.get(code, set())
    expected = HealthState.HEALTHY if threshold.shadow else state
    assert machine.memory.state is expected
    assert [event.to_state for event in machine.events if event.code == code][-1] is state

    counted = threshold.test in WINDOWED and threshold.test is not Test.LASTING
    after = ill if counted else WELL
    machine.during(threshold.gone_s + threshold.window_s * 1.2 + 600, after, every_s=120)
    assert machine.told() == {}
    assert machine.memory.state is HealthState.HEALTHY
    assert [event.to_state for event in machine.events if event.code == code][-1] is HealthState.HEALTHY


def test_what_is_not_loaded_may_use_fewer_pcie_lanes() -> None:
    """Width and generation fall while a GPU is idle; only a loaded one that has fewer is ill."""
    machine = Watched()
    idle = with_changes(
        {"gpu.pcie_width": by_gpu(4), "gpu.pcie_generation": by_gpu(1), "gpu.utilization_percent": by_gpu(0)}
    )
    machine.during(3600, idle)
    assert machine.told() == {}


def test_all_gpus_gone_is_told_though_the_indicator_says_there_are_none() -> None:
    """A machine whose GPUs have stood on the bus for an hour is expected to have them."""
    machine = Watched()
    machine.during(3600 + 60, WELL)
    assert machine.memory.gpus_expected == 8
    machine.during(180, {**WELL, "gpu": None})
    told = machine.told()["gpu_missing", ""]
    assert (told.state, told.words) == (U, "0 GPUs on the PCI bus, 8 expected")


def test_gpus_that_were_there_for_minutes_are_not_expected() -> None:
    """A GPU that is tried out and taken away again is not missed; a count that cannot be is not believed."""
    machine = Watched()
    machine.during(3600 + 60, with_changes({"gpu.on_pci_bus": 4, "gpu.seen_by_nvml": 4}))
    machine.during(1800, WELL)
    machine.during(1800, with_changes({"gpu.on_pci_bus": 4, "gpu.seen_by_nvml": 4}))
    assert machine.memory.gpus_expected == 4
    machine.during(7200, with_changes({"gpu.on_pci_bus": 10**9, "gpu.seen_by_nvml": 10**9}))
    assert machine.memory.gpus_expected == 4
    assert machine.told()["unreadable", "gpu.on_pci_bus"].state is D


def test_a_reboot_starts_counts_anew_and_what_is_counted_then_is_growth() -> None:
    """12 before and 12 after a reboot is 12 more; a disk's lifetime count that goes on is none."""
    machine = Watched()
    machine.during(600, WELL)
    machine.boot_id = "boot-2"
    machine.report(WELL, after_s=120)
    told = machine.told()
    assert ("memory_corrected", "mc0") in told
    assert ("disk_reallocated_sectors", "sda") not in told
    assert told["memory_corrected", "mc0"].words == "memory errors corrected within a day: 12; 10 is the limit"


def test_three_boots_within_a_day_are_told() -> None:
    """A machine that restarts again and again is not to be let, whatever it says in between."""
    machine = Watched()
    machine.during(600, WELL)
    for number in range(3):
        machine.boot_id = f"boot-{number + 2}"
        machine.during(600, with_changes({"memory.corrected_errors": {"mc0": 0}}))
    assert ("reboots", "") in machine.told()


def test_a_fault_before_the_machine_was_ever_judged_is_news() -> None:
    """An Xid of yesterday counts when the agent comes; a count of packets since boot does not."""
    machine = Watched()
    machine.report(with_changes({"kernel_log.xid_reset": {BUS: 2}, "network.carrier_changes": {"eno1": 90}}))
    assert set(machine.told()) == {("gpu_xid_reset", BUS)}


def test_an_indicator_that_fails_is_told_and_what_it_showed_stays() -> None:
    """A failed indicator says nothing: neither that all is well, nor anything else."""
    machine = Watched()
    machine.during(600, with_changes({"gpu.row_remap_failed": {ONE: True}}))
    machine.during(3600, {**WELL, "gpu": "no answer within 5 s, asked at 2026-05-01 12:00:00 UTC"})
    told = machine.told()
    assert told["indicator_failed", "gpu"].words.startswith("cannot be read: no answer within 5 s")
    assert told["gpu_row_remap_failed", ONE].state is U
    machine.during(1200, WELL)
    assert machine.told() == {}


def test_a_subject_that_is_not_there_any_more_has_no_reasons() -> None:
    """An array that was taken apart is not degraded for ever."""
    machine = Watched()
    machine.during(300, with_changes({"arrays.missing_disks": {"md0": 1}}))
    assert ("array_degraded", "md0") in machine.told()
    machine.during(900, {**WELL, "arrays": None})
    assert machine.told() == {}


def test_reports_without_any_usual_reading_make_a_machine_unknown() -> None:
    """An agent that tells nothing does not keep a machine healthy."""
    machine = Watched()
    machine.during(600, WELL)
    machine.during(300, {"agent": WELL["agent"]})
    assert machine.memory.state is HealthState.UNKNOWN
    assert machine.told()["nothing_measured", ""].state is HealthState.UNKNOWN
    machine.during(300, {"agent": WELL["agent"]})
    assert machine.told()["indicator_missing", "cpu"].shadow


@pytest.mark.parametrize("skew_s", [11.0, -301.0])
def test_a_clock_that_is_wrong_is_told_whichever_way(skew_s) -> None:
    """Measured by the collector, not by what the machine says of its own clock."""
    machine = Watched()
    machine.skew_s = skew_s
    machine.report(WELL)
    assert machine.told()["clock_skew", ""].state is (U if abs(skew_s) > 300 else D)


def test_every_threshold_has_a_source_and_a_remedy() -> None:
    """Nobody has to guess where a limit comes from, or what to do."""
    for one in THRESHOLDS:
        assert len(one.source) >= 10, one.code
        assert len(one.remedy) >= 10, one.code
        assert "no vendor names a limit" not in one.source or one.shadow or one.code in JUDGED_ANYWAY, one.code


def test_a_count_that_starts_again_is_growth_unless_it_is_a_lifetime_s() -> None:
    """A driver that was loaded anew counts from 0; a disk's own count falls only with another disk."""
    machine = Watched()
    machine.during(600, WELL)
    machine.report(with_changes({"memory.corrected_errors": {"mc0": 11}, "smart.reallocated_sectors": {"sda": 3}}))
    told = machine.told()
    assert set(told) == {("memory_corrected", "mc0")}
    assert told["memory_corrected", "mc0"].words.startswith("memory errors corrected within a day: 11;")
