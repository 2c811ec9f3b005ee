"""
Faults of the kernel itself: oopses, bugs, a panic; a fault is counted once, by the line that numbers it.

Source: Linux, arch/x86/kernel/dumpstack.c, __die(); arch/arm64/kernel/traps.c; kernel/panic.c; bad_page().
"""

import re

from agent.matchers import Event, Matcher

_LINE = re.compile(
    r"(?:Oops: )?"
    r"(?:Oops|general protection fault[^:\n]{0,80}|invalid opcode|divide error|stack segment|int3|double fault)"
    r": [0-9a-f]{4,16} \[#\d{1,6}\](?: [A-Z_ ]{1,80})?$"
    r"|Internal error: [^\n]{1,60}: [0-9a-f]{1,16} \[#\d{1,6}\]"
    r"|Kernel panic - not syncing: "
    r"|BUG: Bad (?:page state|page map) in process "
    r"|BUG: Bad rss-counter state mm:"
    r"|BUG: scheduling while atomic: "
)


def match(text: str) -> Event | None:
    """Return the kernel's own fault in a line."""
    return Event(reading="kernel_bugs", words="fault of the kernel itself") if _LINE.match(text) else None


MATCHER = Matcher(
    name="bugs",
    match=match,
    describes={"kernel_bugs": "faults of the kernel itself (oops, BUG, panic), since boot"},
    scalars=("kernel_bugs",),
)
