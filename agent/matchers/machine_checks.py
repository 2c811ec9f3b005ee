"""
Machine checks: errors that the processor or the firmware found in the hardware.

Source: Linux, arch/x86/kernel/cpu/mce/core.c; drivers/edac/mce_amd.c; drivers/acpi/apei/ghes.c.
"""

import re

from agent.matchers import Event, Matcher

_LINE = re.compile(
    r"mce: \[Hardware Error\]: (?:Machine check events logged|CPU \d+: Machine Check)"
    r"|\[Hardware Error\]: CPU:\d+ \([0-9a-f:]{3,12}\) MC\d+_STATUS"
    r"|(?:\{\d+\})?\[Hardware Error\]: Hardware error from APEI Generic Hardware Error Source"
)


def match(text: str) -> Event | None:
    """Return the machine check in a line."""
    return Event(reading="machine_checks", words="machine check") if _LINE.match(text) else None


MATCHER = Matcher(
    name="machine_checks",
    match=match,
    describes={"machine_checks": "messages of hardware errors by processor and firmware, since boot; one may give two"},
    scalars=("machine_checks",),
)
