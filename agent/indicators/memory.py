"""Memory: how full, how much it is waited for, what the kernel had to kill, and the errors that ECC saw."""

from collections.abc import Mapping

from msgspec import Struct

from agent.host import Host, Unreadable, names_or_nothing, number_or_none, numbers, text_or_none
from agent.host.pressure import percent, pressure
from agent.indicators import (
    EVERY_REPORT_S,
    Counters,
    Held,
    Indicator,
    Items,
    NotHere,
    Reading,
    held,
    per_second,
    without_nothing,
)

MODULES_HOLD_S = 60.0
"""A large server has 32 modules with three files each, and their errors come by the day."""

_EDAC = "/sys/devices/system/edac/mc"
_NEEDED = ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree")


class Kept(Struct, frozen=True):
    """What the next read needs."""

    waiting: Counters
    errors: Held[Mapping[str, Items]]


def parse_meminfo(text: str) -> dict[str, int]:
    """
    Return /proc/meminfo's sizes in bytes.

    Raises:
        Unreadable: a line's number is not one, or a size this indicator needs is not there.

    Source: proc_meminfo(5); its "kB" are 1024 bytes.
    """
    pairs = (line.partition(":")[::2] for line in text.splitlines() if line.endswith(" kB"))
    sizes = {name: int(numbers(size.split()[:1], "/proc/meminfo")[0]) * 1024 for name, size in pairs if size}
    if missing := [name for name in _NEEDED if name not in sizes]:
        raise Unreadable(f"/proc/meminfo has no {', '.join(missing)}")
    return sizes


def parse_oom_kills(vmstat: str) -> int | None:
    """Return how many processes the kernel killed for want of memory since boot; None before Linux 4.13."""
    for line in vmstat.splitlines():
        name, _, count = line.partition(" ")
        if name == "oom_kill" and count.isdecimal():
            return int(count)
    return None


def _numbered(names: tuple[str, ...], *kinds: str) -> tuple[str, ...]:
    """Return the names that are one of these kinds and a number, such as "dimm12", in the order of their numbers."""
    found = (name for name in names for kind in kinds if name.startswith(kind) and name[len(kind) :].isdecimal())
    return tuple(sorted(found, key=lambda name: (len(name), name)))


def _errors(host: Host) -> dict[str, Items]:
    """
    Return the memory errors by module, where the driver knows modules, and else by controller.

    What a controller could not tell the module of stands under the controller's own name, so that a sum counts each
    error once. A module's label, which says where it sits on the board, is told once it has errors.

    Source: Linux, Documentation/ABI/testing/sysfs-devices-edac.
    """
    corrected: Items = {}
    uncorrected: Items = {}
    labels: Items = {}
    for controller in _numbered(names_or_nothing(host, _EDAC), "mc"):
        folder = f"{_EDAC}/{controller}"
        modules = _numbered(names_or_nothing(host, folder), "dimm", "rank")
        for module in modules:
            name = f"{controller} {module}"
            ce, ue = (number_or_none(host, f"{folder}/{module}/dimm_{kind}_count") for kind in ("ce", "ue"))
            corrected[name], uncorrected[name] = ce, ue
            if ce or ue:
                labels[name] = (text_or_none(host, f"{folder}/{module}/dimm_label") or "")[:100] or None
        kind = (
            "noinfo_count"
            if any(corrected.get(f"{controller} {module}") is not None for module in modules)
            else "count"
        )
        corrected[controller] = number_or_none(host, f"{folder}/ce_{kind}")
        uncorrected[controller] = number_or_none(host, f"{folder}/ue_{kind}")
    found = {"corrected_errors": corrected, "uncorrected_errors": uncorrected, "module_label": labels}
    return {name: {item: one for item, one in items.items() if one is not None} for name, items in found.items()}


def read(host: Host, before: Kept | None) -> Reading | NotHere:
    """Read the memory; pressure needs a second read."""
    sizes, now_s = parse_meminfo(host.text("/proc/meminfo")), host.monotonic_s()
    waiting = Counters(now_s, pressure(host, "memory"))
    waited = per_second(before.waiting if before is not None else None, waiting)
    errors = held(before.errors if before is not None else None, now_s, MODULES_HOLD_S, lambda: _errors(host))
    total, used = sizes["MemTotal"], sizes["MemTotal"] - sizes["MemAvailable"]
    values = without_nothing(
        {
            "total_bytes": total,
            "used_bytes": used,
            "available_bytes": sizes["MemAvailable"],
            "used_percent": round(100 * used / total, 1) if total else None,
            "swap_total_bytes": sizes["SwapTotal"],
            "swap_used_bytes": sizes["SwapTotal"] - sizes["SwapFree"],
            "pressure_some_percent": percent(waited, "some"),
            "pressure_full_percent": percent(waited, "full"),
            "oom_kills": parse_oom_kills(host.text("/proc/vmstat")),
            **errors.value,
        }
    )
    return Reading(values, Kept(waiting, errors))


INDICATOR = Indicator(
    name="memory",
    interval_s=EVERY_REPORT_S,
    deadline_s=5.0,
    read=read,
    describes={
        "total_bytes": "memory the kernel manages; a little less than is installed (/proc/meminfo)",
        "used_bytes": "total without available",
        "available_bytes": "what new programs could get without swapping (/proc/meminfo)",
        "used_percent": "used of total",
        "swap_total_bytes": "swap space (/proc/meminfo)",
        "swap_used_bytes": "swap in use (/proc/meminfo)",
        "pressure_some_percent": "time in which a task waited for memory, since the last read (PSI)",
        "pressure_full_percent": "time in which all tasks waited for memory, since the last read (PSI)",
        "oom_kills": "processes killed for want of memory since boot (/proc/vmstat)",
        "corrected_errors": "errors corrected since boot, by module; by controller where that is unknown (EDAC)",
        "uncorrected_errors": "errors not corrected since boot, by module or controller in the same way (EDAC)",
        "module_label": "where a module with errors sits on the board, by module (EDAC)",
    },
)
