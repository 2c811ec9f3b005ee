"""System directories: what is in them, and taking one name out."""

import errno
import os
from collections.abc import Callable

from agent.wiper.system.ground import Ground
from agent.wiper.system.removal import remove


def entries(ground: Ground, folder: str) -> list[tuple[str, os.stat_result]]:
    """
    Return the names in a directory and what they are; nothing where there is none.

    Raises:
        OSError: it cannot be looked at.
    """
    try:
        directory = ground.open_directory(folder)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            return []
        raise
    try:
        with os.scandir(directory) as found:
            return [(entry.name, entry.stat(follow_symlinks=False)) for entry in found]
    finally:
        os.close(directory)


def take(ground: Ground, folder: str, name: str, ours: Callable[[int], bool], *, directory: bool = False) -> None:
    """
    Take a name out of a directory, and flush that.

    Args:
        ground: Where.
        folder: Absolute; no link is followed in any part of it.
        name: In it.
        ours: As for `removal.remove`.
        directory: Whether the name is an (empty) directory.

    Raises:
        OSError: it is still there.
    """
    above = ground.open_directory(folder)
    try:
        remove(above, name, folder=directory, ours=ours)
        os.fsync(above)
    finally:
        os.close(above)
