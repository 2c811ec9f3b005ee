"""
The home: taken over, renamed to a quarantine name beside it, emptied without recursion, removed.

The rename is atomic: afterwards the path is free, keys in the home admit nobody, and a run that was cut off finds the
quarantine. Directories found deeper are renamed up into the quarantine before they are emptied, so that no depth costs
a stack, and no path is ever longer than two names. Out of a btrfs subvolume only other subvolumes can be renamed: in
one, directories are renamed up to its own top.
"""

import errno
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from itertools import islice

from agent.wiper.blocks import btrfs, media
from agent.wiper.blocks.overwriting import Decide, Overwriter
from agent.wiper.blocks.treated import Treated
from agent.wiper.root.lookout import is_device
from agent.wiper.root.powers import gives_power
from agent.wiper.steps import Erased, Found, Item, Looked, Subject, Tell, clean_or, printable
from agent.wiper.system.kernel import clone_of_mount, open_beneath
from agent.wiper.system.removal import remove, unlock
from agent.wiper.system.walk import Seen, Tour, walk

BATCH = 2_000
TELL_EVERY_S = 0.5
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
COMPROMISE = "what only root makes lay in the home: the tenant had root, nothing here can prove the machine clean"


class Home:
    """
    The tenant's home directory, under its own name and under the quarantine's.

    Args:
        subject: Whose.
        decide: Whether its files are overwritten, asked once of the quarantine.
    """

    name = "home"

    def __init__(self, subject: Subject, decide: Decide = media.overwrites) -> None:
        self._decide: Decide | None = (
            decide if subject.policy.overwrite == "auto" and not subject.ground.simulated else None
        )
        self._treated: list[Treated] = []
        self._tenants = subject.tenant.owns
        self._ground = subject.ground
        self._parent, _, self._name = subject.tenant.home.rpartition("/")
        self._quarantine = subject.tenant.quarantine
        self._alive = subject.alive
        self._owners = {subject.ground.owner(subject.tenant.uid), os.geteuid()}
        self._quarantined = -1
        self._removed = 0
        self._expected = 0
        self._told = 0.0

    def find(self) -> Found:
        """Count what is in the home, and notice proof that the tenant was root."""
        findings = set()

        def seen(directory: int, name: str, facts: os.stat_result) -> None:
            if is_device(facts) or gives_power(directory, name, facts):
                findings.add(COMPROMISE)

        self._expected = self._count(seen)
        return Found(self._expected, tuple(findings) if not self._ground.simulated else ())

    def erase(self, tell: Tell) -> Erased:
        """Take the home over, move it out of the way, and empty it."""
        parent = self._ground.open_directory(self._parent)
        notes: list[str] = []
        try:
            self._empty_quarantine(parent, tell, notes)
            if self._take_over(parent):
                self._empty_quarantine(parent, tell, notes)
        finally:
            os.close(parent)
        return Erased(self._removed, tuple(dict.fromkeys(notes)), treated=tuple(self._treated))

    def verify(self) -> Looked:
        """See whether either name still exists, and count what is below."""
        return clean_or(self._count(lambda *_: None), "items in the home or in its quarantine")

    def _count(self, seen: Seen) -> int:
        items = 0
        parent = self._ground.open_directory(self._parent)
        try:
            for name in (self._name, self._quarantine):
                items += _count_tree(parent, name, seen, self._alive)
        finally:
            os.close(parent)
        return items

    def _take_over(self, parent: int) -> bool:
        """Make the home root's and rename it; return whether there was one."""
        self._open_up_if_ours(parent, self._name)
        try:
            fd = open_beneath(parent, self._name, DIRECTORY)
        except FileNotFoundError:
            return False
        try:
            facts = os.fstat(fd)
            if facts.st_uid not in self._owners:
                raise OSError(errno.EPERM, "the home changed hands after it was checked")
            unlock(fd)
            if not self._ground.simulated:
                os.fchown(fd, 0, 0)
            os.fchmod(fd, 0o700)
            os.rename(self._name, self._quarantine, src_dir_fd=parent, dst_dir_fd=parent)
            now = os.stat(self._quarantine, dir_fd=parent, follow_symlinks=False)
            if (now.st_dev, now.st_ino) != (facts.st_dev, facts.st_ino):
                raise OSError(errno.ESTALE, "another directory took the home's name meanwhile")
            os.fsync(parent)
        finally:
            os.close(fd)
        return True

    def _empty_quarantine(self, parent: int, tell: Tell, notes: list[str]) -> None:
        try:
            quarantine = open_beneath(parent, self._quarantine, DIRECTORY)
        except FileNotFoundError:
            return
        try:
            if os.fstat(quarantine).st_uid != os.geteuid():
                raise OSError(errno.EPERM, "the quarantine is not ours")
            self._quarantined = quarantine
            self._overwrite(quarantine, tell, notes)
            self._drain(quarantine, quarantine, tell, notes)
        finally:
            os.close(quarantine)
        try:
            remove(parent, self._quarantine, folder=True, ours=self._ours)
            self._removed += 1
        except OSError as error:
            notes.append(f"the home's directory stays: {error.strerror}")
        os.fsync(parent)

    def _overwrite(self, quarantine: int, tell: Tell, notes: list[str]) -> None:
        """Walk all of it once before it is emptied, where that means something: one sync then does for all."""
        if self._decide is None or not self._decide(quarantine):
            return
        overwriter = Overwriter(self._tenants, lambda: self._tell(tell))

        def file(directory: int, name: str, facts: os.stat_result) -> None:
            if stat.S_ISREG(facts.st_mode):
                overwriter.overwrite(directory, name)

        walk(quarantine, file, alive=self._alive)
        overwriter.settle(quarantine)
        self._treated += overwriter.treated(quarantine)
        notes += overwriter.notes()

    def _drain(self, directory: int, top: int, tell: Tell, notes: list[str]) -> None:
        """Empty one directory; the top's directories are emptied and removed, others are renamed up into the top."""
        stuck: set[str] = set()
        while batch := _batch(directory, stuck):
            for name, folder in batch:
                try:
                    if not folder:
                        remove(directory, name, folder=False, ours=self._ours)
                        self._removed += 1
                    elif self._hoist(directory, name, top):
                        pass
                    elif directory == top:
                        self._drain_child(top, name, tell, notes)
                    else:
                        self._move_up(directory, name, top)
                except OSError as error:
                    stuck.add(name)
                    notes.append(f"an item stays: {error.strerror}")
                self._tell(tell)

    def _drain_child(self, top: int, name: str, tell: Tell, notes: list[str]) -> None:
        self._open_up_if_ours(top, name)
        child = open_beneath(top, name, DIRECTORY)
        try:
            unlock(child)
            own = child if self._is_other_volume(child, top) else top
            self._drain(child, own, tell, notes)
        finally:
            os.close(child)
        remove(top, name, folder=True, ours=self._ours)
        self._removed += 1

    def _hoist(self, directory: int, name: str, top: int) -> bool:
        """Move a subvolume out of the one it is in, so that no chain costs a stack; return whether it was one."""
        if top == self._quarantined:
            return False
        try:
            self._move_up(directory, name, self._quarantined)
        except OSError as error:
            if error.errno == errno.EXDEV:
                return False
            raise
        return True

    def _move_up(self, directory: int, name: str, top: int) -> None:
        self._open_up_if_ours(directory, name)
        target = secrets.token_hex(16)
        try:
            os.rename(name, target, src_dir_fd=directory, dst_dir_fd=top)
        except OSError as error:
            if error.errno not in {errno.EPERM, errno.EROFS}:
                raise
            child = open_beneath(directory, name, DIRECTORY)
            try:
                unlock(child)
                self._make_writable(directory, child)
            finally:
                os.close(child)
            os.rename(name, target, src_dir_fd=directory, dst_dir_fd=top)

    def _is_other_volume(self, child: int, top: int) -> bool:
        """Return whether a directory, in the same mount, is of another subvolume; it can be written then."""
        if os.fstat(child).st_dev == os.fstat(top).st_dev:
            return False
        self._make_writable(top, child)
        return True

    def _make_writable(self, directory: int, volume: int) -> None:
        """Make a subvolume writable that the tenant could have made; one in others' directory is their snapshot."""
        if directory == self._quarantined or self._tenants(os.fstat(directory).st_uid):
            btrfs.make_writable(volume)

    def _open_up_if_ours(self, directory: int, name: str) -> None:
        """On a simulated machine give the owner access to his own directory; root needs none."""
        if not self._ground.simulated:
            return
        try:
            fd = open_beneath(directory, name, os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            return
        try:
            os.chmod(f"/proc/self/fd/{fd}", 0o700)  # noqa: PTH101 - by descriptor on purpose: no link is followed
        finally:
            os.close(fd)

    def _tell(self, tell: Tell) -> None:
        if time.monotonic() - self._told > TELL_EVERY_S:
            self._told = time.monotonic()
            tell(self._removed, max(self._expected, self._removed))

    def _ours(self, owner: int) -> bool:
        return owner in self._owners

    def list(self) -> Iterator[Item]:
        """
        Give each name in the home, that of a directory before what is in it.

        Seen through a private copy of the mount: what lies hidden under other mounts goes when those are detached.
        """
        parent = self._ground.open_directory(self._parent)
        try:
            bare = parent if self._ground.simulated else clone_of_mount(f"/proc/self/fd/{parent}")
            try:
                for name in (self._name, self._quarantine):
                    yield from _items(bare, name, f"{self._parent}/{name}")
            finally:
                if bare != parent:
                    os.close(bare)
        finally:
            os.close(parent)


def _batch(directory: int, stuck: set[str]) -> list[tuple[str, bool]]:
    """Return some names of a directory and whether each is a directory; the next call sees what is left."""
    # btrfs lists what was there when the directory was opened or wound back, and directories are moved in since then.
    os.lseek(directory, 0, os.SEEK_SET)
    with os.scandir(directory) as entries:
        fresh = (entry for entry in entries if entry.name not in stuck)
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in islice(fresh, BATCH)]


def _items(parent: int, name: str, path: str) -> Iterator[Item]:
    try:
        fd = open_beneath(parent, name, DIRECTORY)
    except FileNotFoundError:
        return
    try:
        yield Item("directory", printable(path))
        tour = Tour(fd)
        for sight in tour:
            if not sight.left:
                kind = "directory" if stat.S_ISDIR(sight.facts.st_mode) else "file"
                yield Item(kind, printable(f"{path}/{tour.path}{sight.name}"))
    finally:
        os.close(fd)
    if tour.walked.unread:
        yield Item("directories", f"{tour.walked.unread} in {printable(path)}", goes=False, why="they cannot be read")


def _count_tree(parent: int, name: str, seen: Seen, alive: Callable[[], None]) -> int:
    try:
        facts = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return 0
    if not stat.S_ISDIR(facts.st_mode):
        return 1
    try:
        fd = open_beneath(parent, name, DIRECTORY)
    except PermissionError:
        return 1
    try:
        walked = walk(fd, seen, alive=alive)
    finally:
        os.close(fd)
    return walked.inodes + 1
