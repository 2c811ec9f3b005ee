"""Which readings of GPUs are shown, and what the kernel log said of them and of all else: a table."""

from collector.exposition.figures import MEGA, PREFIX, Figure, Shown, counter, gauge
from collector.exposition.text import Family


def _said(reading: str, name: str, words: str, item: str = "", fixed: tuple[str, str] | None = None) -> Figure:
    """Return a count of the kernel log, since boot."""
    return counter("kernel_log", reading, name, f"{words} in the kernel log since boot.", item, fixed)


KERNEL_LOG = (
    *(
        _said(f"xid_{kind}", "gpu_xid_errors", "GPU driver errors (Xid)", "pci_address", ("kind", kind))
        for kind in ("application", "reset", "reboot", "replace", "unknown")
    ),
    *(
        _said(f"sxid_{kind}", "nvswitch_sxid_errors", "NVSwitch errors (SXid)", "pci_address", ("kind", kind))
        for kind in ("fatal", "nonfatal")
    ),
    _said("io_errors", "kernel_io_errors", "Errors of block devices", "device"),
    _said("disk_timeouts", "kernel_disk_timeouts", "Timeouts of disks", "device"),
    _said("filesystem_errors", "kernel_filesystem_errors", "Errors of file systems", "device"),
    _said("machine_checks", "kernel_machine_checks", "Machine checks"),
    _said("memory_corrected", "kernel_memory_errors", "Memory errors", "", ("kind", "corrected")),
    _said("memory_uncorrected", "kernel_memory_errors", "Memory errors", "", ("kind", "uncorrected")),
    _said("pcie_errors", "kernel_pcie_errors", "PCIe errors", "pci_address"),
    _said("cpu_throttles", "kernel_cpu_throttles", "Times a CPU was slowed down"),
    _said("oom_kills", "kernel_oom_kills", "Processes killed for want of memory"),
    _said("lockups", "kernel_lockups", "Lock-ups and hung tasks"),
    _said("kernel_bugs", "kernel_bugs", "Bugs and oopses"),
    _said("messages_lost", "kernel_messages_lost", "Messages that were overwritten before they were read"),
)


def _gpu(reading: str, name: str, words: str, *, times: int = 1, divide_by: int = 1) -> Figure:
    return gauge("gpu", reading, f"gpu_{name}", words, "gpu", times=times, divide_by=divide_by)


def _gpu_counter(reading: str, name: str, words: str, fixed: tuple[str, str] | None = None) -> Figure:
    return counter("gpu", reading, f"gpu_{name}", words, "gpu", fixed)


_ECC = "GPU memory errors since the driver was loaded."

GPU = (
    gauge("gpu", "on_pci_bus", "gpus_on_pci_bus", "NVIDIA GPUs on the PCI bus."),
    gauge("gpu", "seen_by_nvml", "gpus_readable", "GPUs that NVML can read."),
    counter("gpu", "probe_restarts", "gpu_probe_restarts", "Times the agent's GPU probe was started again."),
    Figure(
        indicator="gpu",
        reading="error",
        item="gpu",
        family=Family(name=f"{PREFIX}gpu_unreadable", words="1 for each GPU that NVML cannot read."),
        shown=Shown.THERE,
    ),
    _gpu("temperature_celsius", "temperature_celsius", "Temperature of the chip."),
    _gpu("memory_temperature_celsius", "memory_temperature_celsius", "Temperature of the memory."),
    _gpu("slowdown_celsius", "slowdown_celsius", "Temperature at which the hardware slows itself down."),
    _gpu("slowdown_margin_celsius", "slowdown_margin_celsius", "Degrees left until the hardware slows itself down."),
    _gpu("utilization_percent", "utilization_ratio", "Share of time in which a kernel ran.", divide_by=100),
    _gpu("memory_used_bytes", "memory_used_bytes", "GPU memory in use."),
    _gpu("memory_total_bytes", "memory_size_bytes", "GPU memory."),
    _gpu("power_w", "power_watts", "Power drawn."),
    _gpu("power_limit_w", "power_limit_watts", "Power limit in force."),
    _gpu("sm_clock_mhz", "sm_clock_hertz", "Clock of the multiprocessors.", times=MEGA),
    _gpu("sm_clock_max_mhz", "sm_clock_max_hertz", "Highest clock of the multiprocessors.", times=MEGA),
    _gpu("memory_clock_mhz", "memory_clock_hertz", "Clock of the memory.", times=MEGA),
    _gpu("memory_clock_max_mhz", "memory_clock_max_hertz", "Highest clock of the memory.", times=MEGA),
    *(
        Figure(
            indicator="gpu",
            reading=f"throttled_{why}_percent",
            item="gpu",
            fixed=("reason", why),
            family=Family(name=f"{PREFIX}gpu_throttled_ratio", words="Share of time slowed down, by reason."),
            divide_by=100,
        )
        for why in ("thermal", "power", "power_brake", "hardware")
    ),
    _gpu_counter("ecc_corrected_errors", "ecc_errors", _ECC, ("kind", "corrected")),
    _gpu_counter("ecc_uncorrected_errors", "ecc_errors", _ECC, ("kind", "uncorrected")),
    _gpu("ecc_uncorrected_lifetime", "ecc_lifetime_uncorrected_errors", "GPU memory errors not corrected, ever."),
    _gpu("rows_remapped", "rows_remapped", "Memory rows replaced by spare ones, ever."),
    _gpu("rows_remapped_uncorrected", "rows_remapped_uncorrected", "Those replaced for an uncorrected error."),
    _gpu("row_remap_pending", "row_remap_pending", "1 if a row waits for a reset to be replaced."),
    _gpu("row_remap_failed", "row_remap_failed", "1 if a row could not be replaced."),
    _gpu("retired_pages", "retired_pages", "Memory pages taken out of use, ever."),
    _gpu("retired_pages_pending", "retired_pages_pending", "1 if a page waits for a reboot to be taken out of use."),
    _gpu("pcie_generation", "pcie_generation", "PCIe generation in use; falls while idle."),
    _gpu("pcie_generation_max", "pcie_generation_max", "PCIe generation of GPU and slot."),
    _gpu("pcie_width", "pcie_lanes", "PCIe lanes in use."),
    _gpu("pcie_width_max", "pcie_lanes_max", "PCIe lanes of GPU and slot."),
    _gpu_counter("pcie_replays", "pcie_replays", "PCIe packets sent again."),
    _gpu("nvlinks", "nvlinks", "NVLinks of the GPU."),
    _gpu("nvlinks_active", "nvlinks_active", "NVLinks that work."),
    _gpu_counter("nvlink_errors", "nvlink_errors", "Errors on the GPU's NVLinks."),
    _gpu("processes", "processes", "Processes that use the GPU."),
    _gpu("ecc_mode", "ecc_enabled", "1 if errors of memory are corrected."),
    _gpu("mig", "mig_enabled", "1 if the GPU is split (MIG)."),
    _gpu("persistence", "persistence", "1 if the driver stays loaded without a user."),
)
