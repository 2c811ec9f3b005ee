"""Walking a tree of any depth by descriptors, at most 64 of them open, never through a link or a mount point."""

import errno
import os
import stat
from collections.abc import Callable, Container, Iterator
from typing import NamedTuple

from agent.wiper.system.kernel import open_beneath

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


class Sight(NamedTuple):
    """An entry: the open directory it is in, its name, what it is; `left`: shown again after what is in it."""

    directory: int
    name: str
    facts: os.stat_result
    left: bool = False


class Tour:
    """
    One walk of a tree, entry by entry; directories are shown before, and once more after, what is in them.

    Whoever gets an entry may remove it, but a directory only when it is shown the second time.

    Args:
        root: The directory; it stays open and is not shown itself.
        skip: Device and inode of directories that are shown but not entered.
        alive: Called before each directory.

    Attributes:
        walked: What was looked at so far.
    """

    def __init__(
        self, root: int, *, skip: Container[tuple[int, int]] = (), alive: Callable[[], None] = lambda: None
    ) -> None:
        self.walked = Walked()
        self._alive = alive
        self._root = root
        self._skip = skip
        self._stack: list[_Frame] = []

    @property
    def depth(self) -> int:
        """How deep the directory lies in which the entry shown last is; 0 for those of the root."""
        return len(self._stack) - 1

    @property
    def path(self) -> str:
        """The path below the root of the directory in which the entry shown last is; empty, or ending in "/"."""
        return "".join(f"{frame.name}/" for frame in self._stack[1:])

    def __iter__(self) -> Iterator[Sight]:
        """
        Walk.

        Raises:
            OSError: the tree was moved while it was walked, so that nobody can say what was seen.
        """
        stack = self._stack = [_Frame(os.dup(self._root), ".", os.fstat(self._root))]
        try:
            yield from self._list(stack[0])
            while stack:
                self._alive()
                frame = stack[-1]
                if frame.pending:
                    yield from self._enter()
                else:
                    stack.pop()
                    yield from _leave(stack, frame)
        finally:
            for frame in stack:
                if frame.fd is not None:
                    os.close(frame.fd)

    def _list(self, frame: _Frame) -> Iterator[Sight]:
        assert frame.fd is not None
        with os.scandir(frame.fd) as entries:
            for entry in entries:
                try:
                    facts = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                self.walked.inodes += 1
                yield Sight(frame.fd, entry.name, facts)
                if stat.S_ISDIR(facts.st_mode) and (facts.st_dev, facts.st_ino) not in self._skip:
                    frame.pending.append((entry.name, facts))

    def _enter(self) -> Iterator[Sight]:
        stack, walked = self._stack, self.walked
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
            yield from self._list(frame)
        except PermissionError:
            walked.unread += 1


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
    tour = Tour(root, skip=skip, alive=alive)
    for directory, name, facts, again in tour:
        if not again:
            seen(directory, name, facts)
        elif left is not None:
            left(directory, name, facts)
    return tour.walked


def _rest(frame: _Frame) -> None:
    """Close a directory high above; the way back opens it again."""
    if frame.fd is not None:
        os.close(frame.fd)
        frame.fd = None


def _leave(stack: list[_Frame], frame: _Frame) -> Iterator[Sight]:
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
        yield Sight(above.fd, frame.name, frame.facts, left=True)
    finally:
        os.close(frame.fd)
        frame.fd = None
