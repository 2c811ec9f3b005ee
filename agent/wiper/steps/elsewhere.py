"""
Files by the tenant's user ids anywhere on this machine's own file systems: temporary ones, mail, schedules, the rest.

Each file system is walked through a private copy of its mount, so that what lies hidden below other mounts is seen too.
What changed last before the account existed cannot be the tenant's: it is kept and reported.
"""

import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from agent.wiper.blocks import media
from agent.wiper.blocks.overwriting import Decide, Overwriter
from agent.wiper.blocks.treated import Treated
from agent.wiper.files import canaries
from agent.wiper.files.census import Census, scope_of
from agent.wiper.files.listing import Listing
from agent.wiper.files.marks import Marks
from agent.wiper.files.sweep import Sweep
from agent.wiper.files.territory import engine_directories, open_root, walk_over, without_engines
from agent.wiper.root.lookout import Lookout
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
from agent.wiper.system.mountinfo import RUNTIME, Mount, current, detached, to_look_at
from agent.wiper.system.walk import Tour, walk
from agent.wiper.tenant.groups import own_group

CLOCK_GRAIN_S = 2
"""Slack between the wall clock and the kernel's coarse time stamps."""


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
        self._alive, self._alert = subject.alive, subject.alert
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
        lookout = Lookout(self._since_s, self._alert)
        sweep = Sweep(self._is_erasable, self._owns, self._marks(), tell, lookout)
        treated: list[Treated] = []
        mounts, _ = to_look_at(without_engines(current()))
        for mount in mounts:
            lookout.point = mount.point
            try:
                walk_over(mount, self._alive, sweep.file, sweep.folder, partial(self._overwrite, sweep, treated))
            except OSError as error:
                sweep.notes[f"a {mount.kind} file system was not walked to its end: {error.strerror}"] = None
        return Erased(sweep.removed, tuple(sweep.notes), tuple(treated))

    def _overwrite(self, sweep: Sweep, treated: "list[Treated]", top: int) -> None:
        """Walk a file system once more before the sweep where that means something: one sync then does for all."""
        if not self._decide(top):
            return

        def tick() -> None:
            self._alive()
            sweep.tick()

        overwriter = Overwriter(self._owns, tick)

        def file(directory: int, name: str, facts: os.stat_result) -> None:
            sweep.tick()
            if stat.S_ISREG(facts.st_mode) and self._is_erasable(facts):
                overwriter.overwrite(directory, name)

        walk(top, file, skip=engine_directories(), alive=self._alive)
        overwriter.settle(top)
        sweep.notes |= dict.fromkeys(overwriter.notes())
        treated += overwriter.treated(top)

    def verify(self) -> Looked:
        """Count what is left by the same ids, the old and the odd included; say where it could not look."""
        if self._simulated:
            return Looked(NOT_APPLICABLE, reason="a simulated machine has no other places")
        count = Census(self._owns, self._marks(), self._since_s, canaries.content_of(self._tenant.generation))
        mounts, unknown = to_look_at(without_engines(current()))
        unread, unwalked, inodes = 0, 0, 0
        lookout = Lookout(self._since_s, self._alert)

        def see(directory: int, name: str, facts: os.stat_result) -> None:
            lookout.see(directory, name, facts)
            count.see(directory, name, facts)

        for mount in mounts:
            lookout.point = mount.point
            try:
                walked = walk_over(mount, self._alive, see)
            except OSError:
                unwalked += 1
                continue
            unread += walked.unread
            inodes += walked.inodes
        scope = replace(
            scope_of(len(mounts) - unwalked, inodes, unread, unwalked, unknown),
            canaries_planted=self._tenant.canaries,
            canaries_found=count.canaries,
        )
        unread += unwalked
        reasons = [f"{mount.kind} file system not looked at" for mount in unknown]
        if unread:
            reasons.append(f"{unread} directories could not be read")
        if lookout.unread:
            reasons.append(f"what {lookout.unread} files may do could not be read")
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

    def _marks(self) -> Marks:
        return Marks(self._owns, own_group(self._ground, self._tenant), self._since_s)

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
        chosen, unknown = to_look_at(without_engines(tuple(one for one in mounts if one not in gone)))
        for mount in chosen:
            yield from self._list_one(mount, frozenset(one for one in map(_identity, homes) if one))
        why = "a network, FUSE or unknown file system is never asked"
        for mount in unknown:
            yield Item("file system", printable(f"{mount.point} ({mount.kind})"), goes=False, why=why)

    def _list_one(self, mount: Mount, homes: frozenset[tuple[int, int]]) -> Iterator[Item]:
        try:
            fd = open_root(mount)
        except OSError as error:
            where = printable(f"{mount.point} ({mount.kind})")
            yield Item("file system", where, goes=False, why=f"it cannot be reached: {error.strerror}")
            return
        if fd is None:  # one file is mounted, not a directory
            return
        skipped = homes | engine_directories()
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


def _identity(path: str) -> tuple[int, int] | None:
    """Return device and inode of a path; None where there is nothing."""
    try:
        facts = Path(path).stat(follow_symlinks=False)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino
