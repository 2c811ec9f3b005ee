"""
Copies of what the tenant stored that no deletion reaches: snapshots, and the machine's own backups on its own disks.

They are the provider's: they are counted and told, and never deleted. One made before the account holds nothing of his.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from agent.wiper.blocks import snapshots
from agent.wiper.steps import (
    CLEAN,
    NOT_APPLICABLE,
    NOT_EXAMINED,
    RESIDUE,
    Erased,
    Found,
    Item,
    Looked,
    Subject,
    Tell,
)
from agent.wiper.system.mountinfo import current, to_look_at

WHY = "copies are the provider's, and never deleted by a wipe"


class Kept(NamedTuple):
    """What one mechanism keeps: `number` of `what`, or why that cannot be told."""

    what: str
    number: int = 0
    unseen: str | None = None


class Copies:
    """Snapshots and local backups made since the account was."""

    name = "copies"

    def __init__(self, subject: Subject) -> None:
        self._ground = subject.ground
        self._since_s = float(int(subject.tenant.granted_at.timestamp()))

    def list(self) -> Iterator[Item]:
        """Name each kind that there is; all of them stay."""
        for kept in self._kept():
            if kept.unseen or kept.number:
                yield Item(kept.what, kept.unseen or f"{kept.number} since the account was made", goes=False, why=WHY)

    def find(self) -> Found:
        """Count them."""
        return Found(sum(kept.number for kept in self._kept()))

    def erase(self, tell: Tell) -> Erased:  # noqa: ARG002 - the protocol's
        """Leave everything."""
        return Erased(0)

    def verify(self) -> Looked:
        """Count them, and say what cannot be counted."""
        return judged(self._kept())

    def _kept(self) -> tuple[Kept, ...]:
        if self._ground.simulated:
            return ()
        mounts, _ = to_look_at(current())
        since = self._since_s
        asked: tuple[tuple[str, Callable[[], int | None]], ...] = (
            ("btrfs snapshots", lambda: snapshots.of_btrfs(mounts, since)),
            ("LVM snapshots", lambda: snapshots.of_lvm(mounts, since)),
            ("ZFS snapshots", lambda: snapshots.of_zfs(mounts, since)),
            ("Timeshift copies", lambda: snapshots.of_timeshift(self._ground, mounts, since)),
        )
        return tuple(kept for what, count in asked if (kept := _ask(what, count)) is not None)


def _ask(what: str, count: Callable[[], int | None]) -> Kept | None:
    try:
        number = count()
    except OSError as error:
        return Kept(what, unseen=error.strerror or "it cannot be asked")
    return None if number is None else Kept(what, number)


def judged(kept: tuple[Kept, ...]) -> Looked:
    """Return what the mechanisms that there are amount to. Pure."""
    left = sum(one.number for one in kept)
    words = [f"{one.number} {one.what} made since the account was" for one in kept if one.number]
    words += [f"{one.what} could not be counted: {one.unseen}" for one in kept if one.unseen]
    if left:
        return Looked(RESIDUE, left, "; ".join(words)[:300])
    if words:
        return Looked(NOT_EXAMINED, reason="; ".join(words)[:300])
    return Looked(CLEAN) if kept else Looked(NOT_APPLICABLE, reason="nothing here makes snapshots")
