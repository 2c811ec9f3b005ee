"""Which entries of a walk a wipe would take away, known from the walk alone; nothing is kept but a number a level."""

import os
import stat
from collections.abc import Callable

from agent.wiper.system.walk import Sight

MARK = "his group, or an entry in an access list, on a file of others"


class Listing:
    """
    Says of each entry of a walk what it is of the tenant's, and why it stays if it does.

    Of each directory on the way down it counts what stays in it; one that holds nothing of the kind goes.

    Args:
        erasable: Whether an entry, by itself, would go.
        owns: Whether a user id is the tenant's.
        marks: How many marks of his a file of others bears.
    """

    def __init__(
        self,
        erasable: Callable[[os.stat_result], bool],
        owns: Callable[[int], bool],
        marks: Callable[[int, str, os.stat_result], int],
    ) -> None:
        self._erasable = erasable
        self._owns = owns
        self._marks = marks
        self._staying: list[int] = [0]

    def item(self, sight: Sight, depth: int) -> tuple[str, str | None] | None:
        """Return what kind of thing an entry is, and why it stays or None; None for what is not his at all."""
        if sight.left:
            return self._folder(sight.facts, depth)
        folder = stat.S_ISDIR(sight.facts.st_mode)
        if not self._owns(sight.facts.st_uid):
            self._stays(depth)
            return self._mark(sight)
        if folder:
            # Until it was walked and found to hold nothing that stays.
            self._stays(depth)
            return None
        why = self._why_kept(sight.facts)
        if why is not None:
            self._stays(depth)
        return "file", why

    def _folder(self, facts: os.stat_result, depth: int) -> tuple[str, str | None] | None:
        within = self._staying[depth + 1] if len(self._staying) > depth + 1 else 0
        del self._staying[depth + 1 :]
        if not self._owns(facts.st_uid):
            return None
        why = self._why_kept(facts) or ("something that stays is in it" if within else None)
        if why is None:
            self._staying[depth] -= 1
        return "directory", why

    def _mark(self, sight: Sight) -> tuple[str, str | None] | None:
        try:
            marked = self._marks(sight.directory, sight.name, sight.facts)
        except (OSError, ValueError) as error:
            return MARK, f"it cannot be looked at: {error}"
        return (MARK, None) if marked else None

    def _stays(self, depth: int) -> None:
        self._staying.extend([0] * (depth + 1 - len(self._staying)))
        self._staying[depth] += 1

    def _why_kept(self, facts: os.stat_result) -> str | None:
        if self._erasable(facts):
            return None
        device = stat.S_ISBLK(facts.st_mode) or stat.S_ISCHR(facts.st_mode)
        return "a device is never taken away" if device else "it has not changed since before he came"
