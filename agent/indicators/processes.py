"""Processes: how many, stuck in the kernel, or dead and not collected."""

from collections import Counter

from agent.host import Host, text_or_none
from agent.indicators import Indicator, NotHere, Reading

INTERVAL_S = 300.0
"""A file for each process is read: 60 ms of CPU on a server with 3000 of them, too much for every report."""


def parse_state(stat: str) -> str:
    """
    Return a process's state letter, "?" if the text has none.

    The name before it is in parentheses and may itself hold parentheses and spaces. Source: proc_pid_stat(5).
    """
    rest = stat.rpartition(")")[2].split()
    return rest[0] if rest else "?"


def read(host: Host, _before: None) -> Reading | NotHere:
    """Read every process's state; one that ends meanwhile is not counted."""
    stats = (text_or_none(host, f"/proc/{name}/stat") for name in host.names("/proc") if name.isdigit())
    states = Counter(parse_state(stat) for stat in stats if stat is not None)
    return Reading({"total": states.total(), "uninterruptible": states["D"], "zombies": states["Z"]})


INDICATOR = Indicator(
    name="processes",
    interval_s=INTERVAL_S,
    deadline_s=10.0,
    read=read,
    describes={
        "total": "processes",
        "uninterruptible": "processes that wait in the kernel and cannot be killed (state D)",
        "zombies": "processes that ended and were not collected by their parent (state Z)",
    },
)
