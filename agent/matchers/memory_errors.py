"""
Memory errors: corrected by ECC, or not.

Source: Linux, drivers/edac/edac_mc.c, edac_mc_printk() in edac_ce_error() and edac_ue_error(); mm/memory-failure.c,
action_result().
"""

import re

from agent.matchers import Event, Matcher

_EDAC = re.compile(r"EDAC MC\d{1,3}: (?:(\d{1,6}) )?(CE|UE) [^\n]{0,400}?page[: ]0x")
_FAILURE = re.compile(r"Memory failure: 0x[0-9a-f]{1,16}: recovery action for ")


def match(text: str) -> Event | None:
    """Return the memory errors in a line."""
    if found := _EDAC.match(text):
        corrected = found[2] == "CE"
        return Event(
            reading="memory_corrected" if corrected else "memory_uncorrected",
            words=f"memory error, {'corrected' if corrected else 'not corrected'}",
            count=int(found[1] or 1),
        )
    if _FAILURE.match(text):
        return Event(reading="memory_uncorrected", words="memory error, page taken out of use")
    return None


MATCHER = Matcher(
    name="memory_errors",
    match=match,
    describes={
        "memory_corrected": "memory errors that ECC corrected, as logged since boot",
        "memory_uncorrected": "memory errors that were not corrected, as logged since boot",
    },
    scalars=("memory_corrected", "memory_uncorrected"),
)
