"""Taking away what a walk over a file system shows: the tenant's files, and his marks on those of others."""

import os
import stat
import time
from collections.abc import Callable

from agent.wiper.files.marks import Marks
from agent.wiper.root.lookout import Lookout
from agent.wiper.system.removal import remove

TELL_EVERY_S = 0.5


class Sweep:
    """
    Removes what a walk shows it.

    Args:
        erasable: Whether an item of the tenant's goes.
        owns: Whether a user id is his.
        marks: What takes his marks off files of others.
        tell: Told how far it is.
        lookout: What notices what only root makes, before his marks and files go.
    """

    def __init__(
        self,
        erasable: Callable[[os.stat_result], bool],
        owns: Callable[[int], bool],
        marks: Marks,
        tell: Callable[[int, int], None],
        lookout: Lookout,
    ) -> None:
        self._marks = marks
        self._lookout = lookout
        self.removed = 0
        self.notes: dict[str, None] = {}
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
        self._lookout.see(directory, name, facts)
        if not stat.S_ISDIR(facts.st_mode) and self._erasable(facts):
            self._remove(directory, name, folder=False)
        elif not self._owns(facts.st_uid):
            try:
                self.removed += self._marks.clear(directory, name, facts)
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or type(error).__name__
                self._note(f"a mark on another's file stays: {why}")

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
            self._note(f"an item stays: {error.strerror}")

    def _note(self, words: str) -> None:
        """Each once: a tenant may have a million files that cannot be removed."""
        self.notes[words] = None
