"""
Files by the tenant's user ids anywhere on this machine's own file systems: temporary ones, mail, schedules, the rest.

Each file system is walked through a private copy of its mount, so that what lies hidden below other mounts is seen too.
What changed last before the account existed cannot be the tenant's: it is kept and reported.
"""

import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec.structs import replace

from agent.wiper import acl, canaries, media, uncover
from agent.wiper.baseline import PROGRAMS
from agent.wiper.containers import STORAGE
from agent.wiper.groups import own_group
from agent.wiper.kernel import open_beneath
from agent.wiper.listing import Listing
from agent.wiper.mountinfo import RUNTIME, Mount, beneath, current, detached, to_look_at
from agent.wiper.overwriting import Decide, Overwriter
from agent.wiper.powers import gives_power
from agent.wiper.removal import remove
from agent.wiper.steps import (
    NOT_APPLICABLE,
    NOT_EXAMINED,
    RESIDUE,
    Erased,
    Found,
    Item,
    Looked,
    Subject,
    Tell,
    printable,
)
from agent.wiper.treated import Treated
from agent.wiper.walk import Tour, Walked, walk
from shared.documents import Skipped, Verification

TELL_EVERY_S = 0.5
MAX_SKIPPED = 16
"""Kinds of what was left out that are told."""
CLOCK_GRAIN_S = 2
"""Slack between the wall clock and the kernel's coarse time stamps."""

POWER = "programs that make root, or devices, which only root makes, came since the grant where none belong"

Visit = Callable[[int, str, os.stat_result], None]


class Elsewhere:
    """
    The tenant's files outside the home.

    Args:
        subject: Whose.
        decide: Whether files are overwritten, asked once of each file system.
    """

    name = "elsewhere"

    def __init__(self, subject: Subject, decide: Decide = media.overwrites) -> None:
        self._decide: Decide = decide if subject.policy.overwrite == "auto" else lambda _: False
        self._ground = subject.ground
        self._tenant = subject.tenant
        self._simulated = subject.ground.simulated
        self._alive = subject.alive
        self._owns = subject.tenant.owns
        self._parent = subject.tenant.home.rpartition("/")[0]
        self._since_s = subject.tenant.granted_at.timestamp() - CLOCK_GRAIN_S

    def find(self) -> Found:
        """Do not count: one walk of the whole machine finds and erases."""
        return Found(0)

    def erase(self, tell: Tell) -> Erased:
        """Take away each file and empty directory of the tenant's, wherever it is."""
        if self._simulated:
            return Erased(0)
        sweep = _Sweep(self._is_erasable, self._owns, self._marks(), tell, self._since_s)
        treated: list[Treated] = []
        mounts, _ = to_look_at(_without_engines(current()))
        for mount in mounts:
            sweep.point = mount.point
            try:
                before = lambda top: treated.extend(self._overwrite(top, sweep))  # noqa: E731
                _walk(mount, self._alive, sweep.file, sweep.folder, before)
            except OSError as error:
                sweep.notes.append(f"a {mount.kind} file system was not walked to its end: {error.strerror}")
        findings = (f"{POWER}: {sweep.powers}",) if sweep.powers else ()
        return Erased(sweep.removed, tuple(dict.fromkeys(sweep.notes)), findings, tuple(treated))

    def _overwrite(self, top: int, sweep: "_Sweep") -> tuple[Treated, ...]:
        """Walk a file system once more before the sweep where that means something: one sync then does for all."""
        if not self._decide(top):
            return ()
        overwriter = Overwriter(self._owns, sweep.tick)

        def file(directory: int, name: str, facts: os.stat_result) -> None:
            sweep.tick()
            if stat.S_ISREG(facts.st_mode) and self._is_erasable(facts):
                overwriter.overwrite(directory, name)

        walk(top, file, skip=_engine_directories(), alive=self._alive)
        overwriter.settle(top)
        sweep.notes += overwriter.notes()
        return overwriter.treated(top)

    def verify(self) -> Looked:
        """Count what is left by the same ids, the old and the odd included; say where it could not look."""
        if self._simulated:
            return Looked(NOT_APPLICABLE, reason="a simulated machine has no other places")
        count = _Count(self._owns, self._marks(), self._since_s, canaries.content_of(self._tenant.generation))
        mounts, unknown = to_look_at(_without_engines(current()))
        unread, unwalked, inodes = 0, 0, 0
        for mount in mounts:
            try:
                walked = _walk(mount, self._alive, count.see)
            except OSError:
                unwalked += 1
                continue
            unread += walked.unread
            inodes += walked.inodes
        scope = replace(
            _scope(len(mounts) - unwalked, inodes, unread, unwalked, unknown),
            canaries_planted=self._tenant.canaries,
            canaries_found=count.canaries,
        )
        unread += unwalked
        reasons = [f"{mount.kind} file system not looked at" for mount in unknown]
        if unread:
            reasons.append(f"{unread} directories could not be read")
        if count.unasked:
            reasons.append(f"{count.unasked} files of a canary's length could not be read")
        if count.left or count.marks or count.copies:
            older = f", {count.older} of them older than the account" if count.older else ""
            marks = [f"{count.marks} marks on files of others"] if count.marks else []
            copies = [f"{count.copies} copies of his canaries that others own"] if count.copies else []
            reasons = [*([f"{count.left} items{older}"] if count.left else []), *marks, *copies, *reasons]
            return Looked(RESIDUE, count.left + count.marks + count.copies, "; ".join(reasons)[:300], scope)
        if reasons:
            return Looked(NOT_EXAMINED, 0, "; ".join(dict.fromkeys(reasons))[:300], scope)
        return Looked("clean", scope=scope)

    def _marks(self) -> "_Marks":
        return _Marks(self._owns, own_group(self._ground, self._tenant), self._since_s)

    def _is_erasable(self, facts: os.stat_result) -> bool:
        device = stat.S_ISBLK(facts.st_mode) or stat.S_ISCHR(facts.st_mode)
        return self._owns(facts.st_uid) and not device and facts.st_ctime >= self._since_s

    def list(self) -> Iterator[Item]:
        """
        Give the files and directories, and what of his is kept; the home and mounts of his are other places.

        A directory comes after what is in it: only then it is known whether something stays in it.
        """
        if self._simulated:
            return
        mounts, homes = current(), (self._tenant.home, f"{self._parent}/{self._tenant.quarantine}")
        gone = detached(mounts, homes, f"{RUNTIME}/{self._tenant.uid}", self._tenant.uid)
        chosen, unknown = to_look_at(_without_engines(tuple(one for one in mounts if one not in gone)))
        for mount in chosen:
            yield from self._list_one(mount, frozenset(one for one in map(_identity, homes) if one))
        why = "a network, FUSE or unknown file system is never asked"
        for mount in unknown:
            yield Item("file system", printable(f"{mount.point} ({mount.kind})"), goes=False, why=why)

    def _list_one(self, mount: Mount, homes: frozenset[tuple[int, int]]) -> Iterator[Item]:
        try:
            fd = _open(mount)
        except OSError as error:
            where = printable(f"{mount.point} ({mount.kind})")
            yield Item("file system", where, goes=False, why=f"it cannot be reached: {error.strerror}")
            return
        if fd is None:  # one file is mounted, not a directory
            return
        skipped = homes | _engine_directories()
        listing = Listing(self._is_erasable, self._owns, self._marks().count)
        try:
            tour = Tour(fd, skip=skipped)
            for sight in tour:
                if (sight.facts.st_dev, sight.facts.st_ino) in homes:
                    continue
                item = listing.item(sight, tour.depth)
                if item is not None:
                    what, why = item
                    where = printable(f"{mount.point.rstrip('/')}/{tour.path}{sight.name}")
                    yield Item(what, where, goes=why is None, why=why)
        finally:
            os.close(fd)
        if tour.walked.unread:
            where = printable(f"{tour.walked.unread} of {mount.point}")
            yield Item("directories", where, goes=False, why="they could not be read")


class _Marks:
    """
    The tenant's marks on files of others: his group, and entries of theirs that let him in.

    Only what changed after he came can bear one, so nothing else is asked for its access lists.
    """

    def __init__(self, owns: Callable[[int], bool], gid: int | None, since_s: float) -> None:
        self._owns = owns
        self._gid = gid
        self._since_s = since_s

    def count(self, directory: int, name: str, facts: os.stat_result) -> int:
        """Return how many a file bears."""
        if facts.st_ctime < self._since_s:
            return 0
        return int(self._is_grouped(facts)) + len(self._lists(directory, name, facts))

    def clear(self, directory: int, name: str, facts: os.stat_result) -> int:
        """
        Take them off; the file is root's group's then, and nobody runs it as a group any more.

        Raises:
            OSError: they stay.
        """
        if facts.st_ctime < self._since_s:
            return 0
        cleared = 0
        for attribute, raw in self._lists(directory, name, facts):
            acl.write(_path(directory, name), attribute, raw)
            cleared += 1
        if self._is_grouped(facts):
            if facts.st_mode & stat.S_ISGID:
                fd = open_beneath(directory, name, os.O_RDONLY | os.O_NONBLOCK)
                try:
                    os.fchmod(fd, stat.S_IMODE(facts.st_mode) & ~stat.S_ISGID)
                finally:
                    os.close(fd)
            os.chown(name, -1, 0, dir_fd=directory, follow_symlinks=False)
            cleared += 1
        return cleared

    def _is_grouped(self, facts: os.stat_result) -> bool:
        return facts.st_gid == self._gid

    def _lists(self, directory: int, name: str, facts: os.stat_result) -> list[tuple[str, bytes]]:
        if stat.S_ISLNK(facts.st_mode):
            return []
        found = []
        for attribute in acl.NAMES:
            raw = acl.read(_path(directory, name), attribute)
            if raw is not None and (new := acl.without(raw, self._owns, self._gid)) != raw:
                found.append((attribute, new))
        return found


def _path(directory: int, name: str) -> str:
    """Return a path to a name in an open directory, for calls that take no descriptor."""
    return f"/proc/self/fd/{directory}/{name}"


class _Sweep:
    """Removes what a walk shows it."""

    def __init__(
        self,
        erasable: Callable[[os.stat_result], bool],
        owns: Callable[[int], bool],
        marks: _Marks,
        tell: Tell,
        since_s: float,
    ) -> None:
        self._marks = marks
        self._since_s = since_s
        self.point = ""
        self.powers = 0
        self.removed = 0
        self.notes: list[str] = []
        self._erasable = erasable
        self._owns = owns
        self._tell = tell
        self._looked = 0
        self._told = 0.0

    def tick(self) -> None:
        """Say from time to time how far it is."""
        self._looked += 1
        if self._looked % 1000 == 0 and time.monotonic() - self._told > TELL_EVERY_S:
            self._told = time.monotonic()
            self._tell(self._looked, self._looked)

    def file(self, directory: int, name: str, facts: os.stat_result) -> None:
        """Take a file away; directories come back when they are empty."""
        self.tick()
        if not stat.S_ISDIR(facts.st_mode) and self._erasable(facts):
            self._remove(directory, name, folder=False)
        elif not self._owns(facts.st_uid):
            try:
                self._notice(directory, name, facts)
                self.removed += self._marks.clear(directory, name, facts)
            except (OSError, ValueError) as error:
                self.notes.append(f"a mark on another's file stays: {error}"[:120])

    def _notice(self, directory: int, name: str, facts: os.stat_result) -> None:
        """Count what makes root and came after the tenant; where such belongs the baseline has it, or the kernel."""
        if facts.st_ctime < self._since_s or not name:
            return
        # Device 0 is the mark of an overlay for what was deleted.
        device = (stat.S_ISBLK(facts.st_mode) or stat.S_ISCHR(facts.st_mode)) and facts.st_rdev != 0
        if not device and not gives_power(directory, name, facts):
            return
        folder = self.point.rstrip("/") + os.readlink(f"/proc/self/fd/{directory}")  # noqa: PTH115 - of a descriptor
        self.powers += not any(beneath(folder, top) for top in ("/dev", *PROGRAMS))

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

    def __init__(self, owns: Callable[[int], bool], marks: _Marks, since_s: float, canary: bytes) -> None:
        self.left = 0
        self.older = 0
        self.marks = 0
        self.canaries = 0
        self.copies = 0
        self.unasked = 0
        self._canary = canary
        self._marks = marks
        self._owns = owns
        self._since_s = since_s

    def see(self, directory: int, name: str, facts: os.stat_result) -> None:
        """Count an item of the tenant's, or his marks on another's, or a copy of his canary."""
        ours = self._owns(facts.st_uid)
        if ours:
            self.left += 1
            self.older += facts.st_ctime < self._since_s
        elif name:
            self.marks += self._marks.count(directory, name, facts)
        if name:
            self._ask(directory, name, facts, ours=ours)

    def _ask(self, directory: int, name: str, facts: os.stat_result, *, ours: bool) -> None:
        try:
            found = canaries.is_canary(directory, name, facts, self._canary)
        except OSError:
            self.unasked += 1
            return
        self.canaries += found
        self.copies += found and not ours


def _scope(file_systems: int, inodes: int, unread: int, unwalked: int, unknown: tuple[Mount, ...]) -> Verification:
    """Return how far a look went: what it walked, and what it left out for which reason."""
    skipped = [
        Skipped(what=kind[:80], count=count, reason="a network, FUSE or unknown file system is never asked")
        for kind, count in sorted(Counter(mount.kind for mount in unknown).items())
    ]
    if unwalked:
        skipped.insert(0, Skipped(what="file systems", count=unwalked, reason="could not be walked to their end"))
    if unread:
        skipped.insert(0, Skipped(what="directories", count=unread, reason="could not be read"))
    engines = len(_engine_directories())
    if engines:
        words = "user ids mean something inside a container only; looked at through the engine"
        skipped.append(Skipped(what="container storage", count=engines, reason=words))
    return Verification(file_systems=file_systems, inodes=inodes, skipped=tuple(skipped[:MAX_SKIPPED]))


def _walk(
    mount: Mount,
    alive: Callable[[], None],
    seen: Visit,
    left: Visit | None = None,
    before: Callable[[int], None] | None = None,
) -> Walked:
    """
    Walk one file system as far as it is mounted, hidden files included; `before` gets its top directory first.

    Raises:
        OSError: it cannot be reached, for another mount hides it.
    """
    fd = _open(mount, seen if left is None else None)
    if fd is None:
        return Walked()
    try:
        if before is not None:
            before(fd)
        return walk(fd, seen, left=left, skip=_engine_directories(), alive=alive)
    finally:
        os.close(fd)


def _open(mount: Mount, seen: Visit | None = None) -> int | None:
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


def _identity(path: str) -> tuple[int, int] | None:
    """Return device and inode of a path; None where there is nothing."""
    try:
        facts = Path(path).stat(follow_symlinks=False)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


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
