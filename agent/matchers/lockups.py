"""
The kernel stuck: a processor, a task, or what waits for all processors.

Source: Linux, kernel/watchdog.c; kernel/hung_task.c; kernel/rcu/tree_stall.h; kernel/workqueue.c.
"""

import re

from agent.matchers import Event, Matcher

_LINES = (
    (re.compile(r"(?:NMI )?(?:watchdog: )?BUG: soft lockup - CPU#\d"), "processor stuck (soft lockup)"),
    (re.compile(r"(?:NMI )?watchdog: Watchdog detected hard LOCKUP on cpu"), "processor stuck (hard lockup)"),
    (
        # Its name, the only thing here that a tenant chooses, is at most 15 characters; a worker's is longer.
        re.compile(
            r"INFO: task .{1,64}?:\d{1,10} (?:<[^>]{0,64}> )?blocked (?:in I/O wait )?for more than \d{1,9} seconds",
            re.DOTALL,
        ),
        "task stuck in the kernel",
    ),
    (
        re.compile(r"(?:rcu: )?INFO: rcu_\w{1,20} (?:self-)?detected (?:expedited )?stalls? on CPU"),
        "processor stuck (RCU stall)",
    ),
    (re.compile(r"BUG: workqueue lockup - pool "), "kernel worker stuck"),
)


def match(text: str) -> Event | None:
    """Return what is stuck, as far as a line says so."""
    for line, words in _LINES:
        if line.match(text):
            return Event(reading="lockups", words=words)
    return None


MATCHER = Matcher(
    name="lockups",
    match=match,
    describes={"lockups": "messages of processors and tasks that were stuck in the kernel, since boot"},
    scalars=("lockups",),
)
