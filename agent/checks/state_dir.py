"""State directory: whether the agent can keep there what must outlive it, and nobody else can look in."""

import stat
from pathlib import Path

from agent.checks import Check, Finding, Group, Scene, fine, nearest, problem, unknown

LIMIT = "writable, the agent's alone"


def judge(directory: str, mode: int | None, *, there: bool, writable: bool, root: bool) -> Finding:
    """
    Judge the state directory.

    Args:
        directory: Where it is.
        mode: Its mode; None where it is not there or may not be looked at.
        there: Whether it is there, not only one above it.
        writable: Whether we can make files in it, or where it would be made.
        root: Whether we are root.
    """
    if not writable and root:
        remedy = f"see whether its file system is read-only: findmnt --target {directory}; dmesg | tail"
        return problem("state_dir_unwritable", f"{directory}: not even root can write", limit=LIMIT, remedy=remedy)
    if not writable:
        return unknown(
            f"{directory} is the agent's: only its user or root can tell"
            if there
            else f"{directory} is not there yet; root makes it at the enrollment"
        )
    if mode is not None and mode & 0o077:
        value = f"{directory} has mode {stat.S_IMODE(mode):o}"
        return problem("state_dir_open", value, limit=LIMIT, remedy=f"chmod 700 {directory}")
    return fine(directory if there else f"{directory} is not there yet, it can be made", LIMIT)


def look(scene: Scene) -> Finding:
    """Look at the directory, or at the nearest one above it; nothing is written to find out."""
    directory = scene.settings.state_dir
    there = nearest(scene.host, directory)
    existing = there[0] if there is not None else "/"
    return judge(
        directory,
        _mode(directory),
        there=existing == directory,
        writable=scene.host.writable(existing),
        root=scene.root,
    )


def _mode(directory: str) -> int | None:
    try:
        return Path(directory).stat().st_mode
    except OSError:
        return None


CHECK = Check(
    name="state_dir",
    title="state directory",
    group=Group.STATE,
    look=look,
    codes={
        "state_dir_unwritable": "Reports and orders that cannot be written down are not kept, and orders are refused.",
        "state_dir_open": "Others can look at the machine's key and at its orders.",
    },
)
