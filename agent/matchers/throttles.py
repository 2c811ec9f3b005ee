"""
Processors that were too hot to go on at full speed.

Source: Linux, drivers/thermal/intel/therm_throt.c, therm_throt_process().
"""

import re

from agent.matchers import Event, Matcher

_LINE = re.compile(
    r"(?:mce: )?CPU\d{1,5}: (Core|Package) temperature (?:is )?above threshold, cpu clock (?:is )?throttled"
)


def match(text: str) -> Event | None:
    """Return the throttling in a line."""
    return Event(reading="cpu_throttles", words="processor too hot, slowed down") if _LINE.match(text) else None


MATCHER = Matcher(
    name="throttles",
    match=match,
    describes={"cpu_throttles": "messages of processors slowed down by heat, since boot; each at most every 5 minutes"},
    scalars=("cpu_throttles",),
)
