"""The file systems of a machine as they are walked: each once, hidden files included, container storage left out."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

from agent.wiper.engines import storage
from agent.wiper.system import uncover
from agent.wiper.system.mountinfo import Mount, beneath
from agent.wiper.system.walk import Walked, walk

Visit = Callable[[int, str, os.stat_result], None]


def walk_over(
    mount: Mount,
    alive: Callable[[], None],
    seen: Visit,
    left: Visit | None = None,
    before: Callable[[int], None] | None = None,
) -> Walked:
    """
    Walk one file system as far as it is mounted, hidden files included; `before` gets its top directory first.

    Where a single file is mounted it is shown only if nothing is taken away on the way back (`left` is None).

    Raises:
        OSError: it cannot be reached, for another mount hides it.
    """
    fd = open_root(mount, seen if left is None else None)
    if fd is None:
        return Walked()
    try:
        if before is not None:
            before(fd)
        return walk(fd, seen, left=left, skip=engine_directories(), alive=alive)
    finally:
        os.close(fd)


def open_root(mount: Mount, seen: Visit | None = None) -> int | None:
    """
    Open the root of one file system, as far as it is mounted; None where that is a file, which is shown to `seen`.

    Raises:
        OSError: it cannot be reached, for another mount hides it.
    """
    root = uncover.root_of(mount)
    try:
        facts = os.fstat(root)
        if not stat.S_ISDIR(facts.st_mode):
            if seen is not None:
                seen(root, "", facts)
            return None
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    finally:
        os.close(root)


def engine_directories() -> frozenset[tuple[int, int]]:
    """
    Return device and inode of the directories with containers' files.

    User ids in there mean something inside a container only; whose files they are cannot be told from outside.

    Raises:
        OSError, ValueError: an engine's settings cannot be read, so that nobody knows where they are.
    """
    found = set()
    for path in storage.everything():
        try:
            facts = Path(path).stat(follow_symlinks=False)
        except OSError:
            continue
        found.add((facts.st_dev, facts.st_ino))
    return frozenset(found)


def without_engines(mounts: tuple[Mount, ...]) -> tuple[Mount, ...]:
    """Return the mounts that are not in a container engine's storage."""
    places = storage.everything()
    return tuple(mount for mount in mounts if not any(beneath(mount.point, path) for path in places))
