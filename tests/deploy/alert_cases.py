"""For every alert: figures at which it fires, and such at which it must not. Values as promtool's unit tests write them."""

from typing import NamedTuple

M = "rackproof_machine_"
HW = 'hardware_id="hw_1"'


class Case(NamedTuple):
    """Series by name and labels, at `minutes`: those that make the alert fire, and those that must leave it silent; a value each `step`."""

    minutes: int
    bad: dict[str, str]
    good: dict[str, str]
    step: str = "1m"


def one(name: str, bad: str, good: str, minutes: int, labels: str = "") -> Case:
    """A case of a single series of a machine."""
    series = f"{M}{name}{{{HW}{',' if labels else ''}{labels}}}"
    return Case(minutes, {series: bad}, {series: good})


def two(first: str, second: str, bad: tuple[str, str], good: tuple[str, str], minutes: int, labels: str = "") -> Case:
    """A case of two series of a machine that are compared."""
    names = [f"{M}{name}{{{HW}{',' if labels else ''}{labels}}}" for name in (first, second)]
    return Case(minutes, dict(zip(names, bad, strict=True)), dict(zip(names, good, strict=True)))


def own(series: str, bad: str, good: str, minutes: int) -> Case:
    """A case of a single series of the collector."""
    return Case(minutes, {series: bad}, {series: good})


HEARD = f"{M}last_report_timestamp_seconds{{{HW}}}"
UP = f"{M}up{{{HW}}}"
GPU, PCI, SDA, HOME = 'gpu="GPU-1"', 'pci_address="0000:17:00.0"', 'device="sda"', 'mountpoint="/home"'
ONCE, NONE = "0x30 1x90", "0x120"
"""A count that grows by one after half an hour, and one that does not grow."""
SIZE, LEFT = f"{M}filesystem_size_bytes{{{HW},{HOME}}}", f"{M}filesystem_available_bytes{{{HW},{HOME}}}"
CHORE = 'job="c",instance="i",chore="tidy"'
DONE, EVERY = (f"rackproof_chore_{name}{{{CHORE}}}" for name in ("last_success_timestamp_seconds", "interval_seconds"))
STARTED = 'process_start_time_seconds{job="c",instance="i"}'
SLOW, FAST = (
    {f'rackproof_commit_duration_seconds_bucket{{job="c",instance="i",le="{le}"}}': value for le, value in buckets}
    for buckets in (
        (("0.1", "0x40"), ("1.0", "0+1x40"), ("2.5", "0+60x40"), ("+Inf", "0+60x40")),
        (("0.1", "0+60x40"), ("1.0", "0+60x40"), ("2.5", "0+60x40"), ("+Inf", "0+60x40")),
    )
)

CASES: dict[str, Case] = {
    "RackproofMachineOffline": Case(10, {UP: "0x20", HEARD: "0x20"}, {UP: "0x20"}),
    "RackproofMachineFlapping": one("up", "0 1 " * 30, "0 1 0 1" + " 1" * 60, 59),
    "RackproofMachineUnhealthy": one("health_state", "1x9", "0x9", 5, 'state="unhealthy"'),
    "RackproofMachineDegraded": one("health_state", "1x60", "0x40 1x20", 45, 'state="degraded"'),
    "RackproofClockWrong": one("clock_skew_seconds", "-9x20", "-2x20", 15),
    "RackproofClockNotSynchronized": one("clock_synchronized", "0x90", "1x90", 70),
    "RackproofReportsDropped": one("agent_dropped_reports_total", ONCE, "7x120", 40),
    "RackproofOutboxGrows": one("agent_outbox_reports", "90x30", "3x30", 20),
    "RackproofIndicatorFailed": one("indicator_up", "0x30", "1x10 0x3 1x20", 20, 'indicator="disks"'),
    "RackproofReadingsLeftOut": one("readings_left_out", "5x90", "0x90", 70),
    "RackproofGpuLost": two("gpus_readable", "gpus_on_pci_bus", ("7x20", "8x20"), ("8x20", "8x20"), 10),
    "RackproofGpuXid": one("gpu_xid_errors_total", ONCE, NONE, 40, f'{PCI},kind="reset"'),
    "RackproofGpuXidOften": one("gpu_xid_errors_total", "0+1x120", "0x50 3x70", 80, f'{PCI},kind="application"'),
    "RackproofGpuEccUncorrected": one("gpu_ecc_errors_total", ONCE, "2x120", 40, f'{GPU},kind="uncorrected"'),
    "RackproofGpuRowRemapFailed": one("gpu_row_remap_failed", "1x20", "0x20", 10, GPU),
    "RackproofGpuRowRemapPending": one("gpu_row_remap_pending", "1x90", "0x90", 70, GPU),
    "RackproofGpuHot": two(
        "gpu_slowdown_celsius", "gpu_temperature_celsius", ("87x30", "85x30"), ("87x30", "70x30"), 15, GPU
    ),
    "RackproofGpuThrottled": one("gpu_throttled_ratio", "0.4x30", "0.05x30", 20, f'{GPU},reason="thermal"'),
    "RackproofGpuPcieNarrow": two("gpu_pcie_lanes", "gpu_pcie_lanes_max", ("8x90", "16x90"), ("16x90",) * 2, 70, GPU),
    "RackproofNvlinkDown": two("gpu_nvlinks_active", "gpu_nvlinks", ("17x30", "18x30"), ("18x30",) * 2, 20, GPU),
    "RackproofMemoryUncorrected": one("memory_errors_total", ONCE, NONE, 40, 'module="d0",kind="uncorrected"'),
    "RackproofMemoryCorrectedOften": one("memory_errors_total", "0+2x120", ONCE, 100, 'module="d0",kind="corrected"'),
    "RackproofDiskFull": Case(20, {SIZE: "100x30", LEFT: "2x30"}, {SIZE: "100x30", LEFT: "20x30"}),
    "RackproofDiskFillsSoon": Case(
        480, {SIZE: "1000x50", LEFT: "600-8x50"}, {SIZE: "1000x50", LEFT: "250-0.1x50"}, step="10m"
    ),
    "RackproofInodesFull": one("filesystem_inodes_used_ratio", "0.99x30", "0.5x30", 20, HOME),
    "RackproofFilesystemReadOnly": one("filesystem_read_only", "1x20", "0x20", 10, HOME),
    "RackproofDiskErrors": one("kernel_io_errors_total", ONCE, NONE, 40, SDA),
    "RackproofArrayDegraded": one("array_missing_disks", "1x20", "0x20", 10, 'array="md0"'),
    "RackproofDiskFailing": one("disk_failing", "1x20", "0x20", 10, SDA),
    "RackproofFilesystemUnreadable": one("filesystem_unreadable", "1x30", "1x4 _x30", 20, HOME),
    "RackproofDiskWorn": one("disk_wear_ratio", "0.99x90", "0.2x90", 70, SDA),
    "RackproofCpuThrottled": one("cpu_throttles_total", "0+5x60", ONCE, 40, 'package="package 0"'),
    "RackproofUnitsFailed": one("failed_units", "2x60", "0x60", 40),
    "RackproofRebootPending": one("reboot_pending", "1x200", "0x90 1x110", 180 * 60)._replace(step="1h"),
    "RackproofCollectorDown": own('up{job="rackproof-machines",instance="i"}', "0x9", "1x3 0 1x9", 5),
    "RackproofMassSilence": own("rackproof_mass_silence", "1x9", "0x9", 5),
    "RackproofCommitsFail": own("rackproof_commit_failures_total", "0+2x9", "9x9", 8),
    "RackproofReportsWait": own("rackproof_reports_waiting_seconds", "60x9", "2x9", 5),
    "RackproofCommitsSlow": Case(30, SLOW, FAST),
    "RackproofReportsRefused": own("rackproof_health_reports_refused_total", ONCE, NONE, 40),
    "RackproofMessagesNotStored": own('rackproof_messages_not_stored_total{code="x"}', "0+1x60", NONE, 40),
    "RackproofDatabaseAway": own('rackproof_database_failures_total{code="x"}', "0+1x20", "4x20", 10),
    # Evaluated at 0 s + minutes: a process that started at 0 and has done nothing, and one that did it a while ago.
    "RackproofChoreNotDone": Case(
        60,
        {DONE: "0x90", EVERY: "900x90", STARTED: "0x90"},
        {DONE: "0x40 2000x50", EVERY: "900x90", STARTED: "0x90"},
    ),
    "RackproofEvidenceChainGap": own("rackproof_evidence_chain_gaps_total", ONCE, NONE, 40),
    "RackproofCopiedMachine": own('rackproof_joins_total{outcome="clone"}', ONCE, NONE, 40),
    "RackproofCommandsUnknown": own('rackproof_commands{state="unknown"}', "1x90", "1x20 0x70", 70),
}

LASTING: dict[str, Case] = {
    # One reading that comes and goes: it is one alert, from the first to the last.
    "RackproofMachineUnhealthy": one(
        "health_state", "1x4 " + "0x3 1x3 " * 9, "0 1 0 1 0 1 0 1 0", 0, 'state="unhealthy"'
    ),
    "RackproofIndicatorFailed": one("indicator_up", "0x20 " + "1x3 0x3 " * 5, "1 0 1 0 1 0 1 0", 0, 'indicator="gpu"'),
    "RackproofGpuLost": two(
        "gpus_readable",
        "gpus_on_pci_bus",
        ("7x5 8x3 7x3 8x3 7x3 8x3", "8x40"),
        ("8 7 8 7 8 7 8 7 8", "8x40"),
        0,
    ),
}
"""By alert: figures at which it must stay once it fires, and such at which it must never begin."""
