"""GPUs: NVIDIA's, as NVML sees them and as they stand on the PCI bus; the two may differ."""

from collections import Counter
from collections.abc import Mapping, Sequence

from agent.host import Gpus, Host, pci
from agent.indicators import EVERY_REPORT_S, Indicator, Items, NotHere, Reading, without_nothing
from shared.messages import Values

SHORT_UUID = len("GPU-8932f937")
"""Enough of a UUID to name a GPU of one machine; in full it would be half of every report.

Source: CUDA C++ Programming Guide, CUDA_VISIBLE_DEVICES, which takes the same abbreviation."""


def item_names(uuids: Sequence[str]) -> dict[str, str]:
    """Return the short name of each GPU by its UUID; the UUID itself where two would be called the same."""
    short = Counter(uuid[:SHORT_UUID] for uuid in uuids)
    return {uuid: uuid[:SHORT_UUID] if short[uuid[:SHORT_UUID]] == 1 else uuid for uuid in uuids}


def parse_gpus(found: Gpus, pci_count: int) -> Values:
    """Turn NVML's answer into readings by GPU."""
    by_name: dict[str, Items] = {}
    names = item_names([gpu.uuid for gpu in found.gpus])
    for gpu in found.gpus:
        said = {
            "uuid": gpu.uuid if gpu.uuid != names[gpu.uuid] else None,
            "model": gpu.model or None,
            "error": gpu.error[:300] or None,
            **gpu.readings,
        }
        for name, value in said.items():
            if value is not None:
                by_name.setdefault(name, {})[names[gpu.uuid]] = value
    return without_nothing(
        {
            "on_pci_bus": pci_count,
            "seen_by_nvml": sum(not gpu.error for gpu in found.gpus),
            "driver": found.driver or None,
            **by_name,
        }
    )


def read(host: Host, known: Mapping[str, bool] | None) -> Reading | NotHere:
    """Read the GPUs; NVML is asked only where one is on the bus."""
    devices = pci.devices(host, known)
    count = sum(devices.values())
    if not count:
        return NotHere("no NVIDIA GPU on the PCI bus")
    return Reading(parse_gpus(host.gpus(), count), devices)


INDICATOR = Indicator(
    name="gpu",
    interval_s=EVERY_REPORT_S,
    deadline_s=5.0,
    read=read,
    describes={
        "on_pci_bus": "NVIDIA display controllers on the PCI bus",
        "seen_by_nvml": "GPUs that NVML can read; fewer than on the bus: one is ill",
        "driver": "version of the NVIDIA driver",
        "uuid": "by GPU: the name that stays when GPUs are swapped between slots",
        "model": "by GPU",
        "error": "what NVML answered for a GPU it cannot read",
        "temperature_celsius": "of the chip",
        "slowdown_celsius": "temperature at which the hardware slows itself down",
        "utilization_percent": "time in which a kernel ran, over the last sample period",
        "memory_used_bytes": "memory in use, with the driver's own",
        "memory_total_bytes": "memory of the GPU",
        "power_w": "power drawn",
        "power_limit_w": "power limit in force",
        "sm_clock_mhz": "clock of the multiprocessors",
        "sm_clock_max_mhz": "highest clock of the multiprocessors",
        "throttle_reasons": "bits of nvmlClocksThrottleReasons: why the clock is not higher",
        "pcie_generation": "PCIe generation in use; falls while idle",
        "pcie_width": "PCIe lanes in use",
        "pcie_width_max": "PCIe lanes of GPU and slot",
        "ecc_corrected_errors": "memory errors corrected since the driver was loaded",
        "ecc_uncorrected_errors": "memory errors not corrected since the driver was loaded",
        "rows_remapped": "memory rows replaced by spare ones, ever",
        "row_remap_pending": "whether a row waits for a reset to be replaced",
        "row_remap_failed": "whether a row could not be replaced",
    },
)
