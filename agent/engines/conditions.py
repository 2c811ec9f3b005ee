"""What goes on beside a measurement: other work, heat, clocks, the host above; and which marks that makes."""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from msgspec import Struct

from shared.marks import Mark

MOST_STEAL = 0.03
"""Share of the time that a host above may have taken."""
_CPUS = Path("/sys/devices/system/cpu")


class Look(Struct, frozen=True, kw_only=True):
    """One look: load of the last minute, ticks of /proc/stat by column, throttle events of all CPUs since boot."""

    load_1min: float
    ticks: tuple[int, ...]
    throttled: int | None


class Beside(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    What went on during a measurement.

    Attributes:
        load_before: Load average of the minute before it.
        steal_share: Share of all CPUs' time that a host above gave to others, 0 to 1.
        throttle_events: How often a CPU slowed itself down for heat; None where the kernel does not count it.
        governor: The frequency governor of the first CPU.
        mhz: Its frequency at the end.
        virtual: Whether this is a virtual machine.
    """

    kernel: str
    boot_id: str
    python: str
    rackproof: str
    load_before: float
    steal_share: float
    throttle_events: int | None = None
    governor: str | None = None
    mhz: int | None = None
    virtual: bool = False


def look() -> Look:
    """Read what changes."""
    first = Path("/proc/stat").read_text().partition("\n")[0].split()[1:]
    counts = [_text(file) for file in sorted(_CPUS.glob("cpu[0-9]*/thermal_throttle/package_throttle_count"))]
    return Look(
        load_1min=os.getloadavg()[0],
        ticks=tuple(int(one) for one in first),
        throttled=sum(int(one) for one in counts if one) if counts else None,
    )


def between(before: Look, after: Look) -> Beside:
    """Return what went on between two looks."""
    mhz = _text(_CPUS / "cpu0/cpufreq/scaling_cur_freq")
    return Beside(
        kernel=platform.release(),
        boot_id=_text(Path("/proc/sys/kernel/random/boot_id")) or "",
        python=platform.python_version(),
        rackproof=version("rackproof"),
        load_before=round(before.load_1min, 2),
        steal_share=round(steal_share(before.ticks, after.ticks), 4),
        throttle_events=grown(before.throttled, after.throttled),
        governor=_text(_CPUS / "cpu0/cpufreq/scaling_governor"),
        mhz=int(mhz) // 1000 if mhz and mhz.isdigit() else None,
        virtual=is_virtual(Path("/proc/cpuinfo").read_text()),
    )


def marks(beside: Beside) -> tuple[Mark, ...]:
    """Return the marks that every figure measured under these conditions bears."""
    found: Mapping[Mark, bool] = {
        Mark.DISTURBED: beside.steal_share > MOST_STEAL,
        Mark.THROTTLED: bool(beside.throttle_events),
    }
    return tuple(mark for mark, there in found.items() if there)


def steal_share(before: tuple[int, ...], after: tuple[int, ...]) -> float:
    """
    Return the share of all CPUs' time that was stolen between two looks, 0 to 1.

    Args:
        before: Ticks by column: user, nice, system, idle, iowait, irq, softirq, steal, then guests' (in user already).
        after: The same, later.

    Source: proc_stat(5).
    """
    grew = [max(0, now - then) for then, now in zip(before[:8], after[:8], strict=True)]
    total = sum(grew)
    return grew[7] / total if total else 0.0


def grown(before: int | None, after: int | None) -> int | None:
    """Return by how much a count grew; None where there is none."""
    return None if before is None or after is None else max(0, after - before)


def is_virtual(cpuinfo: str) -> bool:
    """Return whether a CPU says that it runs under a hypervisor (x86; other architectures do not tell)."""
    flags = next((line for line in cpuinfo.splitlines() if line.startswith("flags")), "")
    return "hypervisor" in flags.split()


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
