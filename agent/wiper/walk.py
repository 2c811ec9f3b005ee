"""Walking a tree of any depth by descriptors, at most 64 of them open, never through a link or a mount point."""

import errno
import os
import stat
from collections.abc import Callable, Container

from agent.wiper.kernel import open_beneath

MAX_OPEN = 64
"""Directories kept open; those above are opened again on the way back and compared."""

Seen = Callable[[int, str, os.stat_result], None]
"""Gets the open directory, the name in it and what it is."""


class Walked:
    """What a walk looked at. `unread`: directories it could not look into; `mounts`: mount points it did not enter."""

    def __init__(self) -> None:
        self.inodes = 0
        self.unread = 0
        self.mounts = 0


class _Frame:
    """A directory on the way down: its descriptor while it is open, and the directories in it still to be entered."""

    def __init__(self, fd: int, name: str, facts: os.stat_result) -> None:
        self.fd: int | None = fd
        self.name = name
        self.facts = facts
        self.pending: list[tuple[str, os.stat_result]] = []


def walk(
    root: int,
    seen: Seen,
    *,
    left: Seen | None = None,
    skip: Container[tuple[int, int]] = (),
    alive: Callable[[], None] = lambda: None,
) -> Walked:
    """
    Show every entry below a directory; directories are shown before, and to `left` again after, what is in them.

    Args:
        root: The directory; it stays open and is not shown itself.
        seen: Called once for each entry; it may remove what is not a directory.
        left: Called for each directory that was walked, with its parent; it may remove it.
        skip: Device and inode of directories that are shown but not entered.
        alive: Called before each directory.

    Raises:
        OSError: the tree was moved while it was walked, so that nobody can say what was seen.
    """
    walked = Walked()
    stack = [_Frame(os.dup(root), ".", os.fstat(root))]
    try:
        _list(stack[0], seen, skip, walked)
        while stack:
            alive()
            frame = stack[-1]
            if frame.pending:
                _enter(stack, seen, skip, walked)
            else:
                stack.pop()
                _leave(stack, frame, left)
    finally:
        for frame in stack:
            if frame.fd is not None:
                os.close(frame.fd)
    return walked


def _list(frame: _Frame, seen: Seen, skip: Container[tuple[int, int]], walked: Walked) -> None:
    assert frame.fd is not None
    with os.scandir(frame.fd) as entries:
        for entry in entries:
            try:
                facts = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            walked.inodes += 1
            seen(frame.fd, entry.name, facts)
            if stat.S_ISDIR(facts.st_mode) and (facts.st_dev, facts.st_ino) not in skip:
                frame.pending.append((entry.name, facts))


def _enter(stack: list[_Frame], seen: Seen, skip: Container[tuple[int, int]], walked: Walked) -> None:
    parent = stack[-1]
    assert parent.fd is not None
    name, facts = parent.pending.pop()
    try:
        fd = open_beneath(parent.fd, name, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno == errno.EXDEV:
            walked.mounts += 1
        else:
            walked.unread += 1
        return
    now = os.fstat(fd)
    frame = _Frame(fd, name, facts)
    if (now.st_dev, now.st_ino) != (facts.st_dev, facts.st_ino):
        os.close(fd)
        walked.unread += 1
        return
    stack.append(frame)
    if len(stack) > MAX_OPEN + 1:
        _rest(stack[-MAX_OPEN - 1])
    try:
        _list(frame, seen, skip, walked)
    except PermissionError:
        walked.unread += 1


def _rest(frame: _Frame) -> None:
    """Close a directory high above; the way back opens it again."""
    if frame.fd is not None:
        os.close(frame.fd)
        frame.fd = None


def _leave(stack: list[_Frame], frame: _Frame, left: Seen | None) -> None:
    assert frame.fd is not None
    try:
        if not stack:
            return
        above = stack[-1]
        if above.fd is None:
            above.fd = os.open("..", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=frame.fd)
            now = os.fstat(above.fd)
            if (now.st_dev, now.st_ino) != (above.facts.st_dev, above.facts.st_ino):
                raise OSError(errno.ESTALE, "the tree was moved while it was walked")
        if left is not None:
            left(above.fd, frame.name, frame.facts)
    finally:
        os.close(frame.fd)
        frame.fd = None
