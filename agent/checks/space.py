"""Space: whether the file system of the state has room."""

from agent.checks import Check, Finding, Group, Scene, fine, nearest, problem, unknown
from agent.host import Usage

LEAST_BYTES = 500_000_000
"""A full outbox takes 60 MB, the ballast 17; the rest keeps the database away from a full disk."""

LEAST_INODES = 1000


def judge(directory: str, found: Usage | None) -> Finding:
    """
    Judge a file system.

    Args:
        directory: What is, or will be, on it.
        found: How full it is; None where it cannot be told.
    """
    if found is None:
        return unknown("no file system answers")
    value, limit = f"{found.available_bytes / 1e9:.1f} GB free", f"at least {LEAST_BYTES / 1e9:g} GB"
    remedy = f"free some space on the file system of {directory}: sudo du -xh --max-depth=2 / | sort -h | tail"
    if found.available_bytes < LEAST_BYTES:
        return problem("state_space_low", value, limit=limit, remedy=remedy)
    if found.inodes and found.inodes_free < LEAST_INODES:
        value, limit = f"{found.inodes_free} inodes free", f"at least {LEAST_INODES}"
        return problem(
            "state_inodes_low", value, limit=limit, remedy="remove files where there are very many small ones"
        )
    return fine(value, limit)


def look(scene: Scene) -> Finding:
    """Ask the file system that the state is on, or will be."""
    directory = scene.settings.state_dir
    there = nearest(scene.host, directory)
    return judge(directory, there[1] if there is not None else None)


CHECK = Check(
    name="space",
    title="space for state",
    group=Group.STATE,
    look=look,
    codes={
        "state_space_low": "On a full disk no report is kept and no order is taken.",
        "state_inodes_low": "Without free inodes no file can be made, however much space there is.",
    },
)
