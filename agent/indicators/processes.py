"""Processes: how many, stuck in the kernel, or dead and not collected; and what they use up."""

from collections import Counter
from collections.abc import Mapping

from agent.host import Host, number_or_none, text_or_none
from agent.indicators import Indicator, NotHere, Reading, without_nothing

INTERVAL_S = 300.0
"""A file for each process is read: 60 ms of CPU on a server with 3000 of them, too much for every report."""

NO_LIMIT = 1 << 40
"""From here a limit on open files is none: the kernel's default is the largest number it knows."""


def parse_state(stat: str) -> str:
    """
    Return a process's state letter, "?" if the text has none.

    The name before it is in parentheses and may itself hold parentheses and spaces. Source: proc_pid_stat(5).
    """
    rest = stat.rpartition(")")[2].split()
    return rest[0] if rest else "?"


def parse_threads(loadavg: str) -> int | None:
    """Return how many tasks there are; None if the text has no "running/all". Source: proc_loadavg(5)."""
    words = loadavg.split()
    every = words[3].partition("/")[2] if len(words) > 3 else ""
    return int(every) if every.isdecimal() else None


def parse_open_files(file_nr: str) -> tuple[int, int] | None:
    """Return how many files are open and how many may be; None if the text does not tell. Source: proc_sys_fs(5)."""
    words = file_nr.split()
    return (int(words[0]), int(words[2])) if len(words) == 3 and all(word.isdecimal() for word in words) else None


def _waiting(states: Mapping[str, str]) -> frozenset[str]:
    return frozenset(name for name, state in states.items() if state == "D")


def read(host: Host, before: frozenset[str] | None) -> Reading | NotHere:
    """Read every process's state; one that ends meanwhile is not counted."""
    stats = ((name, text_or_none(host, f"/proc/{name}/stat")) for name in host.names("/proc") if name.isdecimal())
    states = {name: parse_state(stat) for name, stat in stats if stat is not None}
    counts, waiting = Counter(states.values()), _waiting(states)
    threads = parse_threads(text_or_none(host, "/proc/loadavg") or "")
    most_threads = number_or_none(host, "/proc/sys/kernel/pid_max")
    files = parse_open_files(text_or_none(host, "/proc/sys/fs/file-nr") or "")
    values = without_nothing(
        {
            "total": counts.total(),
            "uninterruptible": counts["D"],
            "stuck": len(waiting & before) if before is not None else None,
            "zombies": counts["Z"],
            "threads": threads,
            "threads_used_percent": round(100 * threads / most_threads, 1) if threads and most_threads else None,
            "open_files": files[0] if files is not None else None,
            "open_files_used_percent": round(100 * files[0] / files[1], 1)
            if files and 0 < files[1] < NO_LIMIT
            else None,
        }
    )
    return Reading(values, waiting)


INDICATOR = Indicator(
    name="processes",
    interval_s=INTERVAL_S,
    deadline_s=10.0,
    read=read,
    describes={
        "total": "processes",
        "uninterruptible": "processes that wait in the kernel and cannot be killed (state D)",
        "stuck": "processes that were in state D also at the read before, five minutes ago",
        "zombies": "processes that ended and were not collected by their parent (state Z)",
        "threads": "tasks the kernel keeps, threads among them (/proc/loadavg)",
        "threads_used_percent": "threads of the most there may be (/proc/sys/kernel/pid_max)",
        "open_files": "files open on the whole machine (/proc/sys/fs/file-nr)",
        "open_files_used_percent": "open files of the most there may be; left out where there is no limit",
    },
)
