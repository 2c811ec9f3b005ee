"""The system: how long up, whether its clock can be trusted, what failed, whether it waits for a reboot."""

import math
import re
from collections.abc import Iterable

from msgspec import Struct

from agent.host import Host, Unreadable, names_or_nothing, numbers, text_or_none
from agent.indicators import EVERY_REPORT_S, Indicator, NotHere, Reading, without_nothing

REBOOT_REQUIRED = "reboot-required"
REBOOT_PACKAGES = "/run/reboot-required.pkgs"
"""Made in /run by packages that take effect at the next boot. Source: Debian and Ubuntu, update-notifier."""

SESSIONS = "/run/systemd/sessions"
"""Source: systemd, src/login/logind-session.c, session_save()."""

UNITS_EVERY_S = 60.0
"""A program is started for them, 10 ms of CPU."""

_MOST_NAMES, _MOST_TEXT = 10, 300
_FLAVOUR = re.compile(r"[-.]([a-z]\w*(?:-[a-z]\w*)*)$", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,9}")


class Kept(Struct, frozen=True):
    """The failed units, and the monotonic second they were asked for at."""

    at_s: float
    failed_units: tuple[str, ...] | None


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


def parse_release(release: str) -> tuple[str, tuple[int, ...]]:
    """Return a kernel's flavour ("amd64", "generic") and its numbers; only those of one flavour can be compared."""
    found = _FLAVOUR.search(release)
    version = release[: found.start()] if found else release
    return found[1] if found else "", tuple(int(number) for number in _NUMBER.findall(version))


def newest_kernel(running: str, installed: Iterable[str]) -> str | None:
    """Return the newest of the installed kernels that could replace the running one; None where there is none."""
    flavour = parse_release(running)[0]
    others = [release for release in installed if parse_release(release)[0] == flavour]
    return max(others, key=parse_release, default=None)


def parse_session_user(session: str) -> str | None:
    """Return the user of a session file, None where it is not somebody's log-in."""
    fields = dict(line.partition("=")[::2] for line in session.splitlines())
    return fields.get("USER") if fields.get("CLASS") == "user" else None


def reboot_reason(asked_for: bool, packages: str | None, running: str | None, installed: str | None) -> str | None:  # noqa: FBT001
    """
    Return why the machine waits for a reboot, None where it does not.

    Args:
        asked_for: Whether a package left its mark.
        packages: Their names, a line each.
        running: The running kernel.
        installed: The newest one that is installed.
    """
    reasons = []
    if running and installed and parse_release(installed) > parse_release(running):
        reasons.append(f"kernel {installed} is installed, {running} runs")
    if asked_for:
        names = sorted({line.strip() for line in (packages or "").splitlines() if line.strip()})[:_MOST_NAMES]
        reasons.append(f"asked for by {', '.join(names) or 'a package'}")
    return "; ".join(reasons)[:_MOST_TEXT] or None


def _units(host: Host, before: Kept | None) -> Kept:
    """Ask for the failed units, if that was long enough ago."""
    now_s = host.monotonic_s()
    if before is not None and now_s - before.at_s < UNITS_EVERY_S:
        return before
    return Kept(now_s, host.failed_units())


def _users(host: Host) -> int | None:
    """Count who is logged in, by the record of logins or else by logind's; None where there is neither."""
    users = host.users()
    if users is not None:
        return len(users)
    try:
        names = host.names(SESSIONS)
    except OSError:
        return None
    sessions = (text_or_none(host, f"{SESSIONS}/{name}") for name in names if not name.endswith(".ref"))
    return len({parse_session_user(session) for session in sessions if session} - {None})


def read(host: Host, before: Kept | None) -> Reading | NotHere:
    """Read the system's state."""
    clock = host.clock()
    kernel = text_or_none(host, "/proc/sys/kernel/osrelease")
    images = (name.removeprefix("vmlinuz-") for name in names_or_nothing(host, "/boot") if name.startswith("vmlinuz-"))
    installed = newest_kernel(kernel, images) if kernel else None
    asked_for = REBOOT_REQUIRED in names_or_nothing(host, "/run")
    reason = reboot_reason(asked_for, text_or_none(host, REBOOT_PACKAGES) if asked_for else None, kernel, installed)
    units = _units(host, before)
    failed = units.failed_units
    return Reading(
        without_nothing(
            {
                "uptime_s": parse_uptime_s(host.text("/proc/uptime")),
                "boot_id": text_or_none(host, "/proc/sys/kernel/random/boot_id"),
                "kernel": kernel,
                "kernel_installed": installed,
                "clock_synchronized": clock.synchronized,
                "clock_offset_ms": clock.offset_ms,
                "processes_blocked": parse_blocked(host.text("/proc/stat")),
                "failed_units": None if failed is None else len(failed),
                "failed_unit_names": ", ".join(failed[:_MOST_NAMES])[:_MOST_TEXT] if failed else None,
                "users_logged_in": _users(host),
                "reboot_pending": reason is not None,
                "reboot_reason": reason,
            }
        ),
        units,
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
        "kernel_installed": "newest installed kernel of the running one's flavour (/boot)",
        "clock_synchronized": "whether a time service keeps the clock right (adjtimex)",
        "clock_offset_ms": "what the time service still has to correct (adjtimex)",
        "processes_blocked": "tasks that wait for a disk right now (/proc/stat)",
        "failed_units": "units that failed, asked for every minute (systemctl)",
        "failed_unit_names": "the first ten of them",
        "users_logged_in": "different users who are logged in (utmp, or logind)",
        "reboot_pending": "whether a package asks for a reboot, or a newer kernel than the running one is installed",
        "reboot_reason": "why a reboot is pending",
    },
)
