"""
Files by the tenant's user ids anywhere on this machine's own file systems: temporary ones, mail, schedules, the rest.

Each file system is walked through a private copy of its mount, so that what lies hidden below other mounts is seen too.
What changed last before the account existed cannot be the tenant's: it is kept and reported.
"""

import errno
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

from agent.wiper.containers import STORAGE
from agent.wiper.kernel import clone_of_mount
from agent.wiper.mountinfo import Mount, beneath, current, to_look_at
from agent.wiper.removal import remove
from agent.wiper.steps import NOT_APPLICABLE, NOT_EXAMINED, RESIDUE, Erased, Found, Looked, Subject, Tell
from agent.wiper.walk import Walked, walk

TELL_EVERY_S = 0.5
CLOCK_GRAIN_S = 2
"""Slack between the wall clock and the kernel's coarse time stamps."""

Visit = Callable[[int, str, os.stat_result], None]


class Elsewhere:
    """The tenant's files outside the home."""

    name = "elsewhere"

    def __init__(self, subject: Subject) -> None:
        self._simulated = subject.ground.simulated
        self._owns = subject.tenant.owns
        self._since_s = subject.tenant.granted_at.timestamp() - CLOCK_GRAIN_S

    def find(self) -> Found:
        """Do not count: one walk of the whole machine finds and erases."""
        return Found(0)

    def erase(self, tell: Tell) -> Erased:
        """Take away each file and empty directory of the tenant's, wherever it is."""
        if self._simulated:
            return Erased(0)
        sweep = _Sweep(self._is_erasable, self._owns, tell)
        mounts, _ = to_look_at(_without_engines(current()))
        for mount in mounts:
            try:
                _walk(mount, sweep.file, sweep.folder)
            except OSError as error:
                sweep.notes.append(f"a {mount.kind} file system was not walked to its end: {error.strerror}")
        return Erased(sweep.removed, tuple(dict.fromkeys(sweep.notes)))

    def verify(self) -> Looked:
        """Count what is left by the same ids, the old and the odd included; say where it could not look."""
        if self._simulated:
            return Looked(NOT_APPLICABLE, reason="a simulated machine has no other places")
        count = _Count(self._owns, self._since_s)
        mounts, unknown = to_look_at(_without_engines(current()))
        unread = 0
        for mount in mounts:
            try:
                unread += _walk(mount, count.see).unread
            except OSError:
                unread += 1
        reasons = [f"{mount.kind} file system not looked at" for mount in unknown]
        if unread:
            reasons.append(f"{unread} directories could not be read")
        if count.left:
            older = f", {count.older} of them older than the account" if count.older else ""
            return Looked(RESIDUE, count.left, "; ".join([f"{count.left} items{older}", *reasons])[:300])
        if reasons:
            return Looked(NOT_EXAMINED, 0, "; ".join(dict.fromkeys(reasons))[:300])
        return Looked("clean")

    def _is_erasable(self, facts: os.stat_result) -> bool:
        device = stat.S_ISBLK(facts.st_mode) or stat.S_ISCHR(facts.st_mode)
        return self._owns(facts.st_uid) and not device and facts.st_ctime >= self._since_s


class _Sweep:
    """Removes what a walk shows it."""

    def __init__(self, erasable: Callable[[os.stat_result], bool], owns: Callable[[int], bool], tell: Tell) -> None:
        self.removed = 0
        self.notes: list[str] = []
        self._erasable = erasable
        self._owns = owns
        self._tell = tell
        self._looked = 0
        self._told = 0.0

    def file(self, directory: int, name: str, facts: os.stat_result) -> None:
        """Take a file away; directories come back when they are empty."""
        self._looked += 1
        if self._looked % 1000 == 0 and time.monotonic() - self._told > TELL_EVERY_S:
            self._told = time.monotonic()
            self._tell(self._looked, self._looked)
        if not stat.S_ISDIR(facts.st_mode) and self._erasable(facts):
            self._remove(directory, name, folder=False)

    def folder(self, directory: int, name: str, facts: os.stat_result) -> None:
        """Take a directory away if nothing of others is in it."""
        # The walk itself changed the directory's times by emptying it, so its age is the one seen before.
        if self._erasable(facts):
            self._remove(directory, name, folder=True)

    def _remove(self, directory: int, name: str, *, folder: bool) -> None:
        try:
            remove(directory, name, folder=folder, ours=self._owns)
            self.removed += 1
        except OSError as error:
            self.notes.append(f"an item stays: {error.strerror}")


class _Count:
    """Counts what a walk shows it."""

    def __init__(self, owns: Callable[[int], bool], since_s: float) -> None:
        self.left = 0
        self.older = 0
        self._owns = owns
        self._since_s = since_s

    def see(self, _directory: int, _name: str, facts: os.stat_result) -> None:
        """Count an item of the tenant's."""
        if self._owns(facts.st_uid):
            self.left += 1
            self.older += facts.st_ctime < self._since_s


def _walk(mount: Mount, seen: Visit, left: Visit | None = None) -> Walked:
    """
    Walk one file system as far as it is mounted, hidden files included.

    Raises:
        OSError: it cannot be reached, for another mount hides it.
    """
    root = clone_of_mount(mount.point)
    try:
        facts = os.fstat(root)
        device = f"{os.major(facts.st_dev)}:{os.minor(facts.st_dev)}"
        # btrfs gives each subvolume a device number of its own, so there it cannot be compared.
        if device != mount.device and mount.kind != "btrfs":
            raise OSError(errno.ESTALE, "another mount hides it")
        if not stat.S_ISDIR(facts.st_mode):
            if left is None:
                seen(root, "", facts)
            return Walked()
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    finally:
        os.close(root)
    try:
        return walk(fd, seen, left=left, skip=_engine_directories())
    finally:
        os.close(fd)


def _engine_directories() -> frozenset[tuple[int, int]]:
    """User ids in there mean something inside a container only; whose files they are cannot be told from outside."""
    found = set()
    for path in STORAGE:
        try:
            facts = Path(path).stat(follow_symlinks=False)
        except OSError:
            continue
        found.add((facts.st_dev, facts.st_ino))
    return frozenset(found)


def _without_engines(mounts: tuple[Mount, ...]) -> tuple[Mount, ...]:
    return tuple(mount for mount in mounts if not any(beneath(mount.point, path) for path in STORAGE))
