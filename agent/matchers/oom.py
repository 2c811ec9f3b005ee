"""
Processes that were killed for want of memory, the machine's or a group's.

Source: Linux, mm/oom_kill.c, __oom_kill_process().
"""

import re

from agent.matchers import Event, Matcher

_LINE = re.compile(
    r"(?:(Memory cgroup out of memory|Out of memory(?: \(oom_kill_allocating_task\))?): )?Killed process \d{1,10} \("
)


def match(text: str) -> Event | None:
    """Return the kill in a line; whose it was is not passed on."""
    found = _LINE.match(text)
    if found is None:
        return None
    group = (found[1] or "").startswith("Memory cgroup")
    return Event(reading="oom_kills", words=f"process killed, {'its group' if group else 'the machine'} out of memory")


MATCHER = Matcher(
    name="oom",
    match=match,
    describes={"oom_kills": "processes killed for want of memory, a group's limit included, as logged since boot"},
    scalars=("oom_kills",),
)
