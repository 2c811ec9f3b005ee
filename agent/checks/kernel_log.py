"""Kernel log: whether the agent may read what drivers and disks complain about."""

import os

from agent.checks import Check, Finding, Group, Scene, advice, fine, unknown

DEVICE = "/dev/kmsg"
"""Source: Linux, Documentation/ABI/testing/dev-kmsg; with kernel.dmesg_restrict it wants CAP_SYSLOG at the opening."""

DROP_IN = "rackproof-agent.service.d/kernel-log.conf"


def judge(opened: OSError | None, drop_in: str | None, *, root: bool) -> Finding:
    """
    Judge the access to the kernel's log.

    Args:
        opened: What stood in the way of opening it; None where it could be opened.
        drop_in: Where the service manager has the file that hands the log to the agent; None where it has none.
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
        f"sudo install -Dm644 deploy/systemd/{DROP_IN} /etc/systemd/system/{DROP_IN}; "
        "sudo systemctl daemon-reload; sudo systemctl restart rackproof-agent"
    )
    value = "root may; the agent's user is not handed it" if opened is None else f"{DEVICE}: {opened.strerror}"
    return advice("kernel_log_closed", value, limit=limit, remedy=remedy)


def look(scene: Scene) -> Finding:
    """Try to open the log, and look for the drop-in."""
    places = (
        f"{folder}/{DROP_IN}" for folder in ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system")
    )
    drop_in = next((place for place in places if os.path.exists(place)), None)  # noqa: PTH110 - false where forbidden
    try:
        os.close(os.open(DEVICE, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        return judge(error, drop_in, root=scene.root)
    return judge(None, drop_in, root=scene.root)


CHECK = Check(
    name="kernel_log",
    title="kernel log",
    group=Group.HEALTH,
    look=look,
    codes={
        "kernel_log_closed": "GPU faults (Xid), disk and memory errors stand there alone; unread, a tenant finds them.",
    },
)
