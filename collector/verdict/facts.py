"""Whether what a machine says it is differs from what it said before."""

from shared.messages import Facts

HARDWARE = ("gpu_model", "cpu_model", "ram_gb", "disk_type", "disk_size_gb", "network_bandwidth")
"""Facts about hardware; the system may be updated any day."""


def changes(before: Facts, now: Facts) -> str:
    """
    Say which hardware is another one now; empty where it is the same.

    What was not known before is no change: a machine is seen for the first time, or what was lost is back.
    """
    pairs = ((name, getattr(before, name), getattr(now, name)) for name in HARDWARE)
    return ", ".join(
        f"{name} from {old} to {new if new is not None else 'unknown'}"
        for name, old, new in pairs
        if old is not None and old != new
    )
