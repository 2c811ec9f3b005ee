"""GPUs: NVIDIA's, as NVML sees them and as they stand on the PCI bus; the two may differ."""

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Struct

from agent.host import SHORT_UUID, Gpu, Gpus, GpuUnreadable, Host, pci
from agent.indicators import EVERY_REPORT_S, Indicator, Items, NotHere, Reading, without_nothing
from shared.messages import Values

WAIT_S = 0.4
"""How long a report waits for NVML; what comes later is in the next one. So no heartbeat is late for NVML's sake."""

READS = 10
"""Reads of which a share is made where the driver does not count the time itself."""

_SW_POWER_CAP, _HW_SLOWDOWN, _SW_THERMAL, _HW_THERMAL, _POWER_BRAKE = 0x04, 0x08, 0x20, 0x40, 0x80
HELD_DOWN: Mapping[str, tuple[str, int]] = {
    "throttled_thermal_percent": ("throttled_thermal_ns", _SW_THERMAL | _HW_THERMAL),
    "throttled_power_percent": ("throttled_power_ns", _SW_POWER_CAP),
    "throttled_power_brake_percent": ("throttled_power_brake_ns", _POWER_BRAKE),
    "throttled_hardware_percent": ("throttled_hardware_ns", _HW_SLOWDOWN | _HW_THERMAL | _POWER_BRAKE),
}
"""Shares of time in which something held the clock down: the driver's counter, and the bits that stand for it.

Source: nvml.h, NVML_FI_DEV_CLOCKS_EVENT_REASON_… and nvmlClocksEventReason…."""


class Kept(Struct, frozen=True):
    """What the next read needs: devices on the bus, and by GPU the counters of time and the newest reasons."""

    devices: Mapping[str, bool]
    counters: Mapping[str, Mapping[str, float]] = {}
    reasons: Mapping[str, tuple[int, ...]] = {}


def item_names(uuids: Sequence[str]) -> dict[str, str]:
    """Return the short name of each GPU by its UUID; the UUID itself where two would be called the same."""
    short = Counter(uuid[:SHORT_UUID] for uuid in uuids)
    return {uuid: uuid[:SHORT_UUID] if short[uuid[:SHORT_UUID]] == 1 else uuid for uuid in uuids}


def newest_reasons(gpus: Sequence[Gpu], before: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the reasons of each GPU's newest reads, this one last."""
    now = {gpu.uuid: gpu.readings.get("throttle_reasons") for gpu in gpus}
    return {
        uuid: (*before.get(uuid, ()), bits)[-READS:] if isinstance(bits, int) else before.get(uuid, ())
        for uuid, bits in now.items()
    }


def parse_shares(gpu: Gpu, before: Mapping[str, float], reasons: Sequence[int]) -> dict[str, float]:
    """
    Return for which share of the time something held this GPU's clock down, in percent.

    Args:
        gpu: With the counters of the driver, where it has them.
        before: The counters of the read before; without them, a counter says nothing yet.
        reasons: The bits of the newest reads, for what the driver does not count.
    """
    passed_ns = gpu.counters.get("at_ns", 0.0) - before.get("at_ns", 0.0) if before else 0.0
    shares: dict[str, float] = {}
    for name, (counter, bits) in HELD_DOWN.items():
        if counter in gpu.counters:
            held_ns = gpu.counters[counter] - before.get(counter, 0.0)
            if passed_ns > 0 and counter in before and held_ns >= 0:
                shares[name] = min(100.0, round(100 * held_ns / passed_ns, 1))
        elif reasons and "throttle_reasons" in gpu.readings:
            shares[name] = round(100 * sum(bool(one & bits) for one in reasons) / len(reasons), 1)
    return shares


def parse_gpus(found: Gpus, pci_count: int, expected: int | None, kept: Kept) -> Values:
    """Turn NVML's answer into readings by GPU; `kept` has the counters of the read before, and this one's reasons."""
    by_name: dict[str, Items] = {}
    names = item_names([gpu.uuid for gpu in found.gpus])
    for gpu in found.gpus:
        said = {
            "uuid": gpu.uuid if gpu.uuid != names[gpu.uuid] else None,
            "model": gpu.model or None,
            "error": gpu.error[:300] or None,
            "pci_address": gpu.pci_address or None,
            **gpu.readings,
            **parse_shares(gpu, kept.counters.get(gpu.uuid, {}), kept.reasons.get(gpu.uuid, ())),
        }
        for name, value in said.items():
            if value is not None:
                by_name.setdefault(name, {})[names[gpu.uuid]] = value
    return without_nothing(
        {
            "on_pci_bus": pci_count,
            "seen_by_nvml": sum(bool(gpu.readings) for gpu in found.gpus) if found.complete else None,
            "expected": expected,
            "driver": found.driver or None,
            "probe": found.probe[:300],
            "probe_restarts": found.restarts,
            **by_name,
        }
    )


def without_nvml(count: int, drivers: set[str], why: str) -> str:
    """Say what stands on the bus when NVML refuses."""
    others = sorted(drivers - {"nvidia"})
    held = f"driver {', '.join(others)}" if others else "no driver loaded"
    return f"{count} NVIDIA GPU{'s' if count > 1 else ''} on the PCI bus, {held}: {why}"


def read(host: Host, before: Kept | None) -> Reading | NotHere:
    """Read the GPUs; NVML is asked only where one is on the bus."""
    devices = pci.devices(host, before.devices if before is not None else None)
    gpus_on_bus = [address for address, is_gpu in devices.items() if is_gpu]
    expected = host.gpus_expected()
    if not gpus_on_bus and not expected:
        return NotHere("no NVIDIA GPU on the PCI bus")
    try:
        found = host.gpus(WAIT_S) if gpus_on_bus else Gpus(probe="no NVIDIA GPU on the PCI bus")
    except GpuUnreadable as error:
        drivers = pci.drivers(host, gpus_on_bus)
        bare = error.without_driver and "nvidia" not in drivers
        words = without_nvml(len(gpus_on_bus), drivers, str(error)) if bare else str(error)
        found = Gpus(probe=words, restarts=error.restarts, complete=error.refused)
    before = before or Kept(devices)
    reasons = newest_reasons(found.gpus, before.reasons)
    values = parse_gpus(found, len(gpus_on_bus), expected, Kept(devices, before.counters, reasons))
    counters = {gpu.uuid: gpu.counters for gpu in found.gpus if gpu.counters}
    return Reading(values, Kept(devices, {**before.counters, **counters}, reasons))


INDICATOR = Indicator(
    name="gpu",
    interval_s=EVERY_REPORT_S,
    deadline_s=2.0,
    read=read,
    describes={
        "on_pci_bus": "NVIDIA display controllers on the PCI bus",
        "seen_by_nvml": "GPUs that NVML can read; fewer than on the bus: one is ill; left out when it cannot be told",
        "expected": "GPUs that the provider says there are (agent's setting expected_gpus)",
        "driver": "version of the NVIDIA driver",
        "probe": 'what became of the process that asks NVML: "ok", or what happened',
        "probe_restarts": "how often that process hung or crashed and was replaced, since the agent's start",
        "uuid": "by GPU: the name that stays when GPUs are swapped between slots",
        "model": "by GPU",
        "error": "what NVML answered for a GPU it cannot read, or which of its calls hung or crashed",
        "pci_address": "by GPU: domain, bus, device and function",
        "temperature_celsius": "of the chip",
        "memory_temperature_celsius": "of the memory, where it has a sensor",
        "slowdown_celsius": "temperature at which the hardware slows itself down",
        "slowdown_margin_celsius": "degrees left until then",
        "utilization_percent": "time in which a kernel ran, over the last sample period",
        "memory_used_bytes": "memory in use, with the driver's own",
        "memory_total_bytes": "memory of the GPU",
        "power_w": "power drawn",
        "power_limit_w": "power limit in force",
        "sm_clock_mhz": "clock of the multiprocessors",
        "sm_clock_max_mhz": "highest clock of the multiprocessors",
        "memory_clock_mhz": "clock of the memory",
        "memory_clock_max_mhz": "highest clock of the memory",
        "throttle_reasons": "bits of nvmlClocksThrottleReasons: why the clock is not higher",
        "throttled_thermal_percent": "time in which heat held the clock down, since the last read",
        "throttled_power_percent": "time in which the power limit held the clock down, since the last read",
        "throttled_power_brake_percent": "time in which an outside power brake did, since the last read",
        "throttled_hardware_percent": "time in which the hardware slowed itself down, since the last read; these four"
        f" are shares of the last {READS} reads where the driver does not count the time",
        "ecc_mode": "whether errors of memory are corrected",
        "ecc_corrected_errors": "memory errors corrected since the driver was loaded",
        "ecc_uncorrected_errors": "memory errors not corrected since the driver was loaded",
        "ecc_uncorrected_lifetime": "memory errors not corrected, ever",
        "rows_remapped": "memory rows replaced by spare ones, ever",
        "rows_remapped_uncorrected": "of these, after an error that could not be corrected",
        "row_remap_pending": "whether a row waits for a reset to be replaced",
        "row_remap_failed": "whether a row could not be replaced",
        "retired_pages": "memory pages taken out of use, ever (before Ampere)",
        "retired_pages_pending": "whether a page waits for a reboot to be taken out of use",
        "pcie_generation": "PCIe generation in use; falls while idle",
        "pcie_generation_max": "PCIe generation of GPU and slot",
        "pcie_width": "PCIe lanes in use",
        "pcie_width_max": "PCIe lanes of GPU and slot",
        "pcie_replays": "PCIe packets sent again since the driver was loaded",
        "nvlinks": "NVLinks of the GPU",
        "nvlinks_active": "NVLinks that work",
        "nvlink_errors": "replays, recoveries and wrong checksums of all NVLinks since the driver was loaded",
        "processes": "processes that compute on it",
        "persistence": "whether the driver stays loaded without a user (persistence mode)",
        "mig": "whether the GPU is split (MIG mode)",
    },
)
