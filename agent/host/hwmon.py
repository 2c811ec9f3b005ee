"""Sensors of the hardware monitor: which chips there are, by the name of their driver."""

from collections.abc import Collection

from agent.host import Host, names_or_nothing, number_or_none, text_or_none

_HWMON = "/sys/class/hwmon"


def chips(host: Host, drivers: Collection[str]) -> tuple[tuple[str, str], ...]:
    """Return folder and driver of every chip that one of these drivers serves, in the order of their numbers."""
    names = sorted(names_or_nothing(host, _HWMON), key=lambda name: (len(name), name))
    found = ((f"{_HWMON}/{name}", text_or_none(host, f"{_HWMON}/{name}/name")) for name in names)
    return tuple((folder, driver) for folder, driver in found if driver is not None and driver in drivers)


def celsius(host: Host, path: str) -> float | None:
    """Return a sensor's temperature; None where it does not tell. Source: Linux, hwmon/sysfs-interface.rst."""
    millidegrees = number_or_none(host, path)
    return round(millidegrees / 1000, 1) if millidegrees is not None else None
