"""CPU: what it is, how busy, how hot, how often throttled."""

from collections.abc import Mapping

from msgspec import Struct

from agent.host import Host, Unreadable, number_or_none, numbers, text_or_none
from agent.host.cpus import parse_cpu_list, parse_cpu_model
from agent.host.hwmon import celsius, chips
from agent.host.pressure import percent, pressure
from agent.indicators import (
    EVERY_REPORT_S,
    Counters,
    Held,
    Indicator,
    Items,
    NotHere,
    Reading,
    growth,
    held,
    per_second,
    without_nothing,
)

TICKS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
"""The first columns of /proc/stat's "cpu" line; guest time, after them, is counted in user. Source: proc_stat(5)."""

SENSORS = frozenset({"coretemp", "k10temp", "zenpower", "cpu_thermal", "apm_xgene"})
"""Drivers whose temp1 is the whole package. Source: Linux, Documentation/hwmon/coretemp, k10temp and xgene-hwmon.c."""

CHIPLETS = tuple(f"temp{number}" for number in range(3, 15))
"""Where AMD's driver shows the temperature of each of its up to 12 dies. Source: Linux, Documentation/hwmon/k10temp."""

CORES_ASKED = 4
"""Cores whose frequency is read, or a few more: asking all 256 of a large server would cost more than the rest."""

MODEL_HOLDS_S = 3600.0
"""A CPU is not changed while the machine runs, and for /proc/cpuinfo the kernel interrupts every core."""

PARTS_HOLD_S = 600.0
"""Drivers are loaded and CPUs taken offline by hand, rarely."""

_CPUS = "/sys/devices/system/cpu"
_THERMAL = "/sys/class/thermal"


class Parts(Struct, frozen=True):
    """What is looked for rarely: which sensors there are, packages that count their throttling, and offline CPUs."""

    sensors: Mapping[str, str]
    packages: Mapping[str, str]
    offline: int | None
    frequency_max_mhz: int | None


class Kept(Struct, frozen=True):
    """What the next read needs."""

    ticks: Counters
    waiting: Counters
    model: Held[str | None]
    parts: Held[Parts]


def parse_ticks(stat: str) -> dict[str, float]:
    """
    Return the ticks that all CPUs spent in each state since boot.

    Raises:
        Unreadable: the text has no "cpu" line of numbers.
    """
    first = stat.partition("\n")[0].split()
    if not first or first[0] != "cpu" or len(first) <= len(TICKS):
        raise Unreadable("/proc/stat does not begin with the line of all CPUs")
    return dict(zip(TICKS, numbers(first[1 : len(TICKS) + 1], "/proc/stat"), strict=True))


def parse_shares(before: Counters | None, now: Counters) -> dict[str, float]:
    """
    Return the shares of time between two reads, in percent; empty until there are two reads.

    A count that went back, as the kernel's idle and iowait ticks may, leaves a state out and never makes a share
    negative. Source: proc_stat(5), on iowait.
    """
    grown = growth(before, now)
    total = sum(grown.values())
    if not total:
        return {}
    idle = grown.get("idle", 0.0) + grown.get("iowait", 0.0)
    shares = {
        "use_percent": total - idle,
        "user_percent": grown.get("user", 0.0) + grown.get("nice", 0.0),
        "system_percent": sum(grown.get(state, 0.0) for state in ("system", "irq", "softirq")),
        "iowait_percent": grown.get("iowait"),
        "steal_percent": grown.get("steal"),
    }
    return {name: round(100 * ticks / total, 1) for name, ticks in shares.items() if ticks is not None}


def parse_load(loadavg: str) -> dict[str, float]:
    """
    Return the load averages over 1, 5 and 15 minutes.

    Raises:
        Unreadable: there are no three numbers.

    Source: proc_loadavg(5).
    """
    words = loadavg.split()[:3]
    if len(words) != 3:
        raise Unreadable("/proc/loadavg does not begin with three load averages")
    one, five, fifteen = numbers(words, "/proc/loadavg")
    return {"load_1": one, "load_5": five, "load_15": fifteen}


def _sensors(host: Host) -> dict[str, str]:
    """Return the file of each sensor by its name; a thermal zone of the CPU where no driver has one."""
    found: dict[str, str] = {}
    for number, (folder, driver) in enumerate(chips(host, SENSORS)):
        found[f"package {number}"] = f"{folder}/temp1_input"
        for temp in CHIPLETS if driver in {"k10temp", "zenpower"} else ():
            label = text_or_none(host, f"{folder}/{temp}_label")
            if label is not None and label.startswith("Tccd"):
                found[f"package {number} {label[:20]}"] = f"{folder}/{temp}_input"
    return found or _zones(host)


def _zones(host: Host) -> dict[str, str]:
    """Return the CPU's thermal zones. Source: Linux, Documentation/ABI/testing/sysfs-class-thermal."""
    zones = (f"{_THERMAL}/thermal_zone{number}" for number in range(8))
    kinds = ((zone, text_or_none(host, f"{zone}/type") or "") for zone in zones)
    return {kind[:40]: f"{zone}/temp" for zone, kind in kinds if "cpu" in kind.lower() or kind == "x86_pkg_temp"}


def _asked_cores(logical: int | None) -> range:
    """Return the numbers of a few cores, spread over all of them."""
    return range(0, logical or 1, max(1, (logical or 1) // CORES_ASKED))


def _frequencies_mhz(host: Host, logical: int | None, file: str) -> list[float]:
    """Return a frequency of a few cores."""
    paths = (f"{_CPUS}/cpu{number}/cpufreq/{file}" for number in _asked_cores(logical))
    return [khz / 1000 for path in paths if (khz := number_or_none(host, path)) is not None]


def _packages(host: Host, logical: int | None) -> dict[str, str]:
    """Return the first CPU of each package that counts its throttling."""
    first: dict[str, str] = {}
    for number in range(logical or 0):
        cpu = f"{_CPUS}/cpu{number}"
        count = f"{cpu}/thermal_throttle/package_throttle_count"
        package = text_or_none(host, f"{cpu}/topology/physical_package_id")
        if package is not None and package not in first and text_or_none(host, count) is not None:
            first[package[:20]] = count
    return first


def _offline(host: Host) -> int | None:
    """Return how many CPUs are there and switched off: hotplugged, or taken out after an error."""
    present, online = (text_or_none(host, f"{_CPUS}/{file}") for file in ("present", "online"))
    if present is None or online is None:
        return None
    there, used = parse_cpu_list(present), parse_cpu_list(online)
    return max(0, there - used) if there is not None and used is not None else None


def _parts(host: Host, logical: int | None) -> Parts:
    fastest = _frequencies_mhz(host, logical, "cpuinfo_max_freq")
    return Parts(
        sensors=_sensors(host),
        packages=_packages(host, logical),
        offline=_offline(host),
        frequency_max_mhz=round(max(fastest)) if fastest else None,
    )


def read(host: Host, before: Kept | None) -> Reading | NotHere:
    """Read the CPUs; shares of time need a second read."""
    cores, now_s = host.cores(), host.monotonic_s()
    ticks = Counters(now_s, parse_ticks(host.text("/proc/stat")))
    waiting = Counters(now_s, pressure(host, "cpu"))
    model = held(
        before.model if before is not None else None,
        now_s,
        MODEL_HOLDS_S,
        lambda: parse_cpu_model(text_or_none(host, "/proc/cpuinfo") or ""),
    )
    parts = held(before.parts if before is not None else None, now_s, PARTS_HOLD_S, lambda: _parts(host, cores.logical))
    frequencies = _frequencies_mhz(host, cores.logical, "scaling_cur_freq")
    temperatures = {name: celsius(host, path) for name, path in parts.value.sensors.items()}
    throttled = {name: number_or_none(host, path) for name, path in parts.value.packages.items()}
    values = without_nothing(
        {
            "model": model.value,
            "logical_cpus": cores.logical,
            "physical_cores": cores.physical,
            "offline_cpus": parts.value.offline,
            **parse_shares(before.ticks if before is not None else None, ticks),
            **parse_load(host.text("/proc/loadavg")),
            "pressure_some_percent": percent(
                per_second(before.waiting if before is not None else None, waiting), "some"
            ),
            "frequency_mhz": round(sum(frequencies) / len(frequencies)) if frequencies else None,
            "frequency_max_mhz": parts.value.frequency_max_mhz,
            "temperature_celsius": _told(temperatures),
            "throttle_count": {f"package {name}": count for name, count in throttled.items() if count is not None},
        }
    )
    return Reading(values, Kept(ticks, waiting, model, parts))


def _told(items: Mapping[str, float | None]) -> Items:
    return {name: value for name, value in items.items() if value is not None}


INDICATOR = Indicator(
    name="cpu",
    interval_s=EVERY_REPORT_S,
    deadline_s=5.0,
    read=read,
    describes={
        "model": "its name; on ARM the core's, by implementer and part (/proc/cpuinfo)",
        "logical_cpus": "CPUs the kernel schedules on",
        "physical_cores": "cores, without hyper-threads",
        "offline_cpus": "CPUs that are present and switched off (sysfs: present, online)",
        "use_percent": "time not idle and not waiting for disks, since the last read (/proc/stat)",
        "user_percent": "time in programs, since the last read (/proc/stat: user, nice)",
        "system_percent": "time in the kernel, since the last read (/proc/stat: system, irq, softirq)",
        "iowait_percent": "time idle while a disk had work, since the last read (/proc/stat)",
        "steal_percent": "time the hypervisor gave to others, since the last read (/proc/stat)",
        "load_1": "mean number of running and blocked tasks over 1 minute (/proc/loadavg)",
        "load_5": "the same over 5 minutes",
        "load_15": "the same over 15 minutes",
        "pressure_some_percent": "time in which a task waited for a CPU, since the last read (PSI)",
        "frequency_mhz": "mean frequency of a few cores (cpufreq)",
        "frequency_max_mhz": "highest frequency of those cores (cpufreq: cpuinfo_max_freq)",
        "temperature_celsius": "by sensor: package, die of a package, or thermal zone (hwmon, thermal)",
        "throttle_count": "times each package got too hot since boot (thermal_throttle)",
    },
)
