"""Kernel log: whether the agent may read what drivers and disks complain about."""

import os
from pathlib import Path

from agent.checks import Check, Finding, Group, Scene, advice, fine, unknown
from agent.host.kernel import DEVICE

UNIT = "rackproof-agent.service"
FOLDERS = ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")
"""Where units and what is added to them lie. Source: systemd.unit(5)."""

HANDED_OVER = f"StandardInput=file:{DEVICE}"


def judge(opened: OSError | None, drop_in: str | None, *, root: bool) -> Finding:
    """
    Judge the access to the kernel's log.

    Args:
        opened: What stood in the way of opening it; None where it could be opened.
        drop_in: The file by which the service manager hands the log to the agent; None where there is none.
        root: Whether we are root, so that what we may says nothing of the agent's user.
    """
    limit = "the agent can read it"
    if isinstance(opened, FileNotFoundError):
        return unknown(f"there is no {DEVICE} here, as in a container")
    if drop_in is not None:
        return fine(f"handed to the agent by {drop_in}", limit)
    if opened is None and not root:
        return fine(f"{DEVICE} is open to this user", limit)
    remedy = (
        f"sudo systemctl edit rackproof-agent; write into it, a line each: [Service] {HANDED_OVER} "
        f"DeviceAllow={DEVICE} r; then: sudo systemctl restart rackproof-agent"
    )
    value = "root may; an agent that is not root is not handed it" if opened is None else f"{DEVICE}: {opened.strerror}"
    return advice("kernel_log_closed", value, limit=limit, remedy=remedy)


def look(scene: Scene) -> Finding:
    """Try to open the log, and look for the drop-in."""
    drop_in = _drop_in()
    try:
        os.close(os.open(DEVICE, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        return judge(error, drop_in, root=scene.root)
    return judge(None, drop_in, root=scene.root)


def _drop_in() -> str | None:
    """Return the service's own or an added file that hands the log over; None where none does, or may be read."""
    for folder in FOLDERS:
        for file in (Path(folder, UNIT), *sorted(Path(folder, f"{UNIT}.d").glob("*.conf"))):
            try:
                lines = file.read_text().splitlines()
            except (OSError, UnicodeDecodeError):
                continue
            if HANDED_OVER in lines:
                return str(file)
    return None


CHECK = Check(
    name="kernel_log",
    title="kernel log",
    group=Group.HEALTH,
    look=look,
    codes={
        "kernel_log_closed": "GPU faults (Xid), disk and memory errors stand there alone; unread, a tenant finds them.",
    },
)
