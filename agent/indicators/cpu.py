"""CPU: how busy, how hot, how often throttled."""

from collections.abc import Mapping

from msgspec import Struct

from agent.host import Host, names_or_nothing, number_or_none, text_or_none
from agent.indicators import EVERY_REPORT_S, Counters, Indicator, Items, NotHere, Reading, growth, without_nothing

TICKS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
"""The first columns of /proc/stat's "cpu" line; guest time, after them, is counted in user. Source: proc_stat(5)."""

SENSORS = frozenset({"coretemp", "k10temp", "zenpower", "cpu_thermal"})
"""Drivers whose temp1 is the whole package. Source: Linux, Documentation/hwmon/coretemp and k10temp."""

CORES_ASKED = 4
"""Cores whose frequency is read: asking all 256 of a large server would cost more than the rest of the report."""

_CPUS = "/sys/devices/system/cpu"


class Kept(Struct, frozen=True):
    """What the next read needs: ticks, and the first CPU of each package, which is looked for once."""

    ticks: Counters
    packages: Mapping[str, str]


def parse_ticks(stat: str) -> dict[str, float]:
    """
    Return the ticks that all CPUs spent in each state since boot.

    Raises:
        ValueError: the text has no "cpu" line of numbers.
    """
    first = stat.partition("\n")[0].split()
    if not first or first[0] != "cpu" or len(first) <= len(TICKS):
        raise ValueError("/proc/stat does not begin with the line of all CPUs")
    return {name: float(ticks) for name, ticks in zip(TICKS, first[1:], strict=False)}


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
    shares = {"use_percent": total - idle, "iowait_percent": grown.get("iowait"), "steal_percent": grown.get("steal")}
    return {name: round(100 * ticks / total, 1) for name, ticks in shares.items() if ticks is not None}


def parse_load(loadavg: str) -> dict[str, float]:
    """Return the load averages over 1, 5 and 15 minutes. Source: proc_loadavg(5)."""
    one, five, fifteen = loadavg.split()[:3]
    return {"load_1": float(one), "load_5": float(five), "load_15": float(fifteen)}


def _temperatures(host: Host) -> Items:
    """Return each package's temperature."""
    found: Items = {}
    for name in names_or_nothing(host, "/sys/class/hwmon"):
        sensor = text_or_none(host, f"/sys/class/hwmon/{name}/name")
        if sensor in SENSORS:
            millidegrees = number_or_none(host, f"/sys/class/hwmon/{name}/temp1_input")
            if millidegrees is not None:
                found[f"package {len(found)}"] = round(millidegrees / 1000, 1)
    return found


def _frequency_mhz(host: Host, logical: int | None) -> float | None:
    """Return the mean of a few cores' frequencies, spread over all of them."""
    step = max(1, (logical or 1) // CORES_ASKED)
    paths = (f"{_CPUS}/cpu{number}/cpufreq/scaling_cur_freq" for number in range(0, logical or 1, step))
    found = [khz for path in paths if (khz := number_or_none(host, path)) is not None]
    return round(sum(found) / len(found) / 1000) if found else None


def _packages(host: Host, logical: int | None) -> dict[str, str]:
    """Return the first CPU of each package that counts its throttling."""
    first: dict[str, str] = {}
    for number in range(logical or 0):
        cpu = f"{_CPUS}/cpu{number}"
        count = f"{cpu}/thermal_throttle/package_throttle_count"
        package = text_or_none(host, f"{cpu}/topology/physical_package_id")
        if package is not None and package not in first and text_or_none(host, count) is not None:
            first[package] = count
    return first


def read(host: Host, before: Kept | None) -> Reading | NotHere:
    """Read the CPUs; shares of time need a second read."""
    cores = host.cores()
    now = Counters(host.monotonic_s(), parse_ticks(host.text("/proc/stat")))
    packages = before.packages if before is not None else _packages(host, cores.logical)
    throttled: Items = {
        f"package {name}": count for name, path in packages.items() if (count := number_or_none(host, path)) is not None
    }
    values = without_nothing(
        {
            "logical_cpus": cores.logical,
            "physical_cores": cores.physical,
            **parse_shares(before.ticks if before is not None else None, now),
            **parse_load(host.text("/proc/loadavg")),
            "frequency_mhz": _frequency_mhz(host, cores.logical),
            "temperature_celsius": _temperatures(host),
            "throttle_count": throttled,
        }
    )
    return Reading(values, Kept(now, packages))


INDICATOR = Indicator(
    name="cpu",
    interval_s=EVERY_REPORT_S,
    deadline_s=5.0,
    read=read,
    describes={
        "logical_cpus": "CPUs the kernel schedules on",
        "physical_cores": "cores, without hyper-threads",
        "use_percent": "time not idle and not waiting for disks, since the last read (/proc/stat)",
        "iowait_percent": "time idle while a disk had work, since the last read (/proc/stat)",
        "steal_percent": "time the hypervisor gave to others, since the last read (/proc/stat)",
        "load_1": "mean number of running and blocked tasks over 1 minute (/proc/loadavg)",
        "load_5": "the same over 5 minutes",
        "load_15": "the same over 15 minutes",
        "frequency_mhz": "mean frequency of up to five cores (cpufreq)",
        "temperature_celsius": "by package (hwmon)",
        "throttle_count": "times each package got too hot since boot (thermal_throttle)",
    },
)
