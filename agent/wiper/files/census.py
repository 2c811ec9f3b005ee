"""Counting what a walk over the machine's file systems shows, and saying how far it went."""

import os
from collections import Counter
from collections.abc import Callable

from agent.wiper.files import canaries, territory
from agent.wiper.files.marks import Marks
from agent.wiper.system.mountinfo import Mount
from shared.documents import Skipped, Verification

MAX_SKIPPED = 16
"""Kinds of what was left out that are told."""


class Census:
    """Counts what a walk shows it."""

    def __init__(self, owns: Callable[[int], bool], marks: Marks, since_s: float, canary: bytes) -> None:
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


def scope_of(file_systems: int, inodes: int, unread: int, unwalked: int, unknown: tuple[Mount, ...]) -> Verification:
    """Return how far a look went: what it walked, and what it left out for which reason."""
    skipped = [
        Skipped(what=kind[:80], count=count, reason="a network, FUSE or unknown file system is never asked")
        for kind, count in sorted(Counter(mount.kind for mount in unknown).items())
    ]
    if unwalked:
        skipped.insert(0, Skipped(what="file systems", count=unwalked, reason="could not be walked to their end"))
    if unread:
        skipped.insert(0, Skipped(what="directories", count=unread, reason="could not be read"))
    engines = len(territory.engine_directories())
    if engines:
        words = "user ids mean something inside a container only; what engines hold is the place named containers"
        skipped.append(Skipped(what="container storage", count=engines, reason=words))
    return Verification(file_systems=file_systems, inodes=inodes, skipped=tuple(skipped[:MAX_SKIPPED]))
