"""What the service manager tells: the units that failed, by its own program."""

import os

from agent.host import programs

FAILED = ("systemctl", "list-units", "--state=failed", "--plain", "--full", "--no-legend", "--no-pager")
_DEADLINE_S, _MOST_BYTES = 3.0, 262_144


def parse_units(lines: tuple[bytes, ...]) -> tuple[str, ...]:
    """Return the names of listed units: the first word of each line. Source: systemctl(1), list-units, --plain."""
    words = (line.decode("utf-8", "replace").split() for line in lines)
    return tuple(line[0] for line in words if line)


def failed_units() -> tuple[str, ...] | None:
    """
    Return the units that failed; None where systemd does not run, or does not answer in time.

    Source: sd_booted(3).
    """
    if not os.path.isdir("/run/systemd/system"):  # noqa: PTH112 - a fixed path, as documented
        return None
    try:
        return parse_units(tuple(programs.lines(*FAILED, deadline_s=_DEADLINE_S, most_bytes=_MOST_BYTES)))
    except OSError:
        return None
