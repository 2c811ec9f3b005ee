"""What stands beside the score and is no part of it: the CPU's kind, its caches, its clock."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

_CPUS = "sys/devices/system/cpu"


def machine(root: Path = Path("/")) -> dict[str, Any]:
    """Return the model, microcode, sockets, cores, threads, SMT, third-level caches; what is not told is left out."""
    first = _fields((root / "proc/cpuinfo").read_text().partition("\n\n")[0])
    topology = list((root / _CPUS).glob("cpu[0-9]*/topology"))
    caches = [cache for cache in (root / _CPUS).glob("cpu[0-9]*/cache/index*") if _text(cache / "level") == "3"]
    sizes = {_text(cache / "shared_cpu_list"): _text(cache / "size") for cache in caches}
    told = {
        "model": first.get("model name"),
        "microcode": first.get("microcode"),
        "sockets": len({_text(one / "physical_package_id") for one in topology}),
        "cores": len({_text(one / "thread_siblings_list") for one in topology}),
        "threads": len(topology),
        "smt": {"0": False, "1": True}.get(_text(root / _CPUS / "smt/active") or ""),
        "l3_mib": sum(int(size.removesuffix("K")) for size in sizes.values() if size) // 1024 or None,
    }
    return {name: value for name, value in told.items() if value is not None}


def mean_mhz(cpus: Sequence[int], root: Path = Path("/")) -> int | None:
    """Return the mean clock of some of the CPUs now, in MHz; None where it is not told."""
    # Older kernels take 20 ms for each.
    cpus = cpus[:: len(cpus) // 16 or 1]
    files = [root / _CPUS / f"cpu{cpu}/cpufreq/scaling_cur_freq" for cpu in cpus]
    clocks = [int(khz) / 1000 for khz in map(_text, files) if khz]
    if not clocks:
        blocks = map(_fields, (root / "proc/cpuinfo").read_text().split("\n\n"))
        clocks = [float(one["cpu MHz"]) for one in blocks if "cpu MHz" in one and int(one.get("processor", -1)) in cpus]
    return round(sum(clocks) / len(clocks)) if clocks else None


def available_bytes(root: Path = Path("/")) -> int:
    """Return how much memory could be used without swapping."""
    return int(_fields((root / "proc/meminfo").read_text())["MemAvailable"].removesuffix("kB")) * 1024


def _fields(text: str) -> dict[str, str]:
    """Return what stands behind the colons, by what stands before them."""
    pairs = [line.partition(":") for line in text.splitlines()]
    return {name.strip(): value.strip() for name, _, value in pairs}


def _text(path: Path) -> str | None:
    with suppress(OSError):
        return path.read_text().strip()
    return None
