"""Pressure: how long tasks waited for a CPU, memory or disks. Source: Linux, Documentation/accounting/psi.rst."""

from agent.host import Host, text_or_none


def parse_pressure(text: str) -> dict[str, float]:
    """Return the microseconds in which some, or all, tasks waited since boot, by "some" and "full"."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        who, _, rest = line.partition(" ")
        total = rest.rpartition("total=")[2]
        if who in {"some", "full"} and total.isdecimal():
            found[who] = float(total)
    return found


def pressure(host: Host, subject: str) -> dict[str, float]:
    """Return the waiting for "cpu", "memory" or "io"; empty where the kernel does not count it (psi=0)."""
    return parse_pressure(text_or_none(host, f"/proc/pressure/{subject}") or "")


def percent(rates: dict[str, float], who: str) -> float | None:
    """Turn microseconds a second into a share of the time, in percent."""
    return round(min(rates[who] / 10_000, 100.0), 2) if who in rates else None
