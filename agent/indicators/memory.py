"""Memory: how full, what the kernel had to kill, and the errors that ECC saw."""

from agent.host import Host, names_or_nothing, number_or_none
from agent.indicators import EVERY_REPORT_S, Indicator, Items, NotHere, Reading, without_nothing

_EDAC = "/sys/devices/system/edac/mc"
_NEEDED = ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree")


def parse_meminfo(text: str) -> dict[str, int]:
    """
    Return /proc/meminfo's sizes in bytes.

    Raises:
        ValueError: a line's number is not one, or a size this indicator needs is not there.

    Source: proc_meminfo(5); its "kB" are 1024 bytes.
    """
    pairs = (line.split(":", 1) for line in text.splitlines() if line.endswith(" kB"))
    sizes = {name: int(size.split()[0]) * 1024 for name, size in pairs}
    if missing := [name for name in _NEEDED if name not in sizes]:
        raise ValueError(f"/proc/meminfo has no {', '.join(missing)}")
    return sizes


def parse_oom_kills(vmstat: str) -> int | None:
    """Return how many processes the kernel killed for want of memory since boot; None before Linux 4.13."""
    for line in vmstat.splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return None


def _errors(host: Host, file: str) -> Items:
    """Return a memory error counter by controller. Source: Linux, Documentation/ABI/testing/sysfs-devices-edac."""
    controllers = (name for name in names_or_nothing(host, _EDAC) if name.startswith("mc") and name[2:].isdigit())
    counts = {name: number_or_none(host, f"{_EDAC}/{name}/{file}") for name in controllers}
    return {name: count for name, count in counts.items() if count is not None}


def read(host: Host, _before: None) -> Reading | NotHere:
    """Read the memory."""
    sizes = parse_meminfo(host.text("/proc/meminfo"))
    return Reading(
        without_nothing(
            {
                "total_bytes": sizes["MemTotal"],
                "used_bytes": sizes["MemTotal"] - sizes["MemAvailable"],
                "available_bytes": sizes["MemAvailable"],
                "swap_total_bytes": sizes["SwapTotal"],
                "swap_used_bytes": sizes["SwapTotal"] - sizes["SwapFree"],
                "oom_kills": parse_oom_kills(host.text("/proc/vmstat")),
                "corrected_errors": _errors(host, "ce_count"),
                "uncorrected_errors": _errors(host, "ue_count"),
            }
        )
    )


INDICATOR = Indicator(
    name="memory",
    interval_s=EVERY_REPORT_S,
    deadline_s=5.0,
    read=read,
    describes={
        "total_bytes": "memory the kernel manages; a little less than is installed (/proc/meminfo)",
        "used_bytes": "total without available",
        "available_bytes": "what new programs could get without swapping (/proc/meminfo)",
        "swap_total_bytes": "swap space (/proc/meminfo)",
        "swap_used_bytes": "swap in use (/proc/meminfo)",
        "oom_kills": "processes killed for want of memory since boot (/proc/vmstat)",
        "corrected_errors": "memory errors corrected since boot, by controller (EDAC)",
        "uncorrected_errors": "memory errors not corrected since boot, by controller (EDAC)",
    },
)
