"""
What only root writes, against what it was when access was granted.

This step only looks: what changed may be the provider's own work. What the other steps take away afterwards, a rule or
a schedule about the tenant, was still put there by somebody who was root, so it is on record before they start.
"""

from collections import Counter
from collections.abc import Iterator

import structlog

from agent.wiper.root import packages
from agent.wiper.root.baseline import KEYS, PROGRAM, SETTING, Change, changes, take
from agent.wiper.root.ways import to_root
from agent.wiper.steps import CLEAN, NOT_APPLICABLE, NOT_EXAMINED, RESIDUE, Erased, Found, Item, Looked, Subject, Tell

WORDS = {
    PROGRAM: "programs that make root of whoever starts them",
    SETTING: "settings of the system",
    KEYS: "key files of others",
}
TOLD = 20
"""Changes that are named in the log, for the provider; in the evidence they are only counted."""

log = structlog.get_logger()


class Baseline:
    """The system's own settings, programs and keys."""

    name = "baseline"

    def __init__(self, subject: Subject) -> None:
        self._ground = subject.ground
        self._tenant = subject.tenant
        self._alive = subject.alive
        self._tenants = subject.tenants | {subject.tenant.name}
        self._blobs = frozenset(subject.tenant.key_blobs)
        self._before = subject.baseline

    def find(self) -> Found:
        """Count what changed since the grant, and say which ways to root he had; both are findings for good."""
        if self._ground.simulated:
            return Found(0)
        found = self._changed()
        for one in found[:TOLD]:
            log.warning("wiper.changed_since_grant", path=one.path, kind=one.kind, how=one.how)
        changed = (f"since the grant, by no package: {_counted(found)}",) if found else ()
        return Found(len(found), (*changed, *to_root(self._ground, self._tenant)))

    def erase(self, tell: Tell) -> Erased:  # noqa: ARG002 - the protocol's
        """Leave everything."""
        return Erased(0)

    def verify(self) -> Looked:
        """Compare again."""
        if self._ground.simulated:
            return Looked(NOT_APPLICABLE, reason="a simulated machine has no system")
        if self._before is None:
            return Looked(NOT_EXAMINED, reason="what it was at the grant is not on record")
        found = self._changed()
        return Looked(RESIDUE, len(found), f"changed since the grant: {_counted(found)}") if found else Looked(CLEAN)

    def list(self) -> Iterator[Item]:
        """Give what changed; none of it goes."""
        if self._before is None and not self._ground.simulated:
            yield Item("baseline", "of the grant", goes=False, why="it is not on record, so nothing can be compared")
        for one in self._changed():
            yield Item(
                f"{one.how}, of {WORDS[one.kind]}", one.path, goes=False, why="it may be the provider's own work"
            )

    def _changed(self) -> tuple[Change, ...]:
        if self._ground.simulated or self._before is None:
            return ()
        now = take(self._ground, self._tenants, self._blobs, self._alive)
        return tuple(one for one in changes(self._before, now) if not self._is_explained(one))

    def _is_explained(self, change: Change) -> bool:
        """Return whether an upgrade did it; a package's own list tells of content only, and never who may use it."""
        if change.kind == KEYS or not (change.only_content or (change.kind, change.how) == (SETTING, "new")):
            return False
        self._alive()
        return packages.brought(self._ground, change.path)


def _counted(found: tuple[Change, ...]) -> str:
    return ", ".join(f"{count} {WORDS[kind]}" for kind, count in Counter(one.kind for one in found).items())
