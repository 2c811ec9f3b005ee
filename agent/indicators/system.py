"""The system: how long up, whether its clock can be trusted, whether it waits for a reboot."""

import math

from agent.host import Host, Unreadable, names_or_nothing, numbers, text_or_none
from agent.indicators import EVERY_REPORT_S, Indicator, NotHere, Reading, without_nothing

REBOOT_REQUIRED = "reboot-required"
"""Made in /run by packages that take effect at the next boot. Source: Debian and Ubuntu, update-notifier."""


def parse_uptime_s(text: str) -> int:
    """
    Return the whole seconds since boot.

    Raises:
        Unreadable: the text does not begin with a number.

    Source: proc_uptime(5).
    """
    (uptime_s,) = numbers(text.split()[:1] or [""], "/proc/uptime")
    if not 0 <= uptime_s < math.inf:
        raise Unreadable(f"/proc/uptime: {uptime_s} is no time since boot")
    return int(uptime_s)


def parse_blocked(stat: str) -> int | None:
    """Return how many tasks wait for a disk right now; None where the kernel does not say. Source: proc_stat(5)."""
    for line in stat.splitlines():
        name, _, count = line.partition(" ")
        if name == "procs_blocked" and count.isdecimal():
            return int(count)
    return None


def read(host: Host, _before: None) -> Reading | NotHere:
    """Read the system's state."""
    clock = host.clock()
    run = names_or_nothing(host, "/run")
    return Reading(
        without_nothing(
            {
                "uptime_s": parse_uptime_s(host.text("/proc/uptime")),
                "boot_id": text_or_none(host, "/proc/sys/kernel/random/boot_id"),
                "kernel": text_or_none(host, "/proc/sys/kernel/osrelease"),
                "clock_synchronized": clock.synchronized,
                "clock_offset_ms": clock.offset_ms,
                "processes_blocked": parse_blocked(host.text("/proc/stat")),
                "reboot_pending": REBOOT_REQUIRED in run,
            }
        )
    )


INDICATOR = Indicator(
    name="system",
    interval_s=EVERY_REPORT_S,
    deadline_s=5.0,
    read=read,
    describes={
        "uptime_s": "seconds since boot (/proc/uptime)",
        "boot_id": "made anew by each boot (/proc/sys/kernel/random/boot_id)",
        "kernel": "release of the running kernel (/proc/sys/kernel/osrelease)",
        "clock_synchronized": "whether a time service keeps the clock right (adjtimex)",
        "clock_offset_ms": "what the time service still has to correct (adjtimex)",
        "processes_blocked": "tasks that wait for a disk right now (/proc/stat)",
        "reboot_pending": "whether an installed package asks for a reboot (/run/reboot-required)",
    },
)
