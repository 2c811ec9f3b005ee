"""Taking away what a walk over a file system shows: the tenant's files, and his marks on those of others."""

import os
import stat
import time
from collections.abc import Callable

from agent.wiper.baseline import PROGRAMS
from agent.wiper.marks import Marks
from agent.wiper.mountinfo import beneath
from agent.wiper.powers import gives_power
from agent.wiper.removal import remove

TELL_EVERY_S = 0.5


class Sweep:
    """Removes what a walk shows it."""

    def __init__(
        self,
        erasable: Callable[[os.stat_result], bool],
        owns: Callable[[int], bool],
        marks: Marks,
        tell: Callable[[int, int], None],
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
        if device or gives_power(directory, name, facts):
            self.powers += not self._belongs(directory, name, facts, device=device)

    def _belongs(self, directory: int, name: str, facts: os.stat_result, *, device: bool) -> bool:
        """Return whether it is a device among the devices, or a program that the baseline has seen by its path."""
        try:
            folder = self.point.rstrip("/") + os.readlink(f"/proc/self/fd/{directory}")  # noqa: PTH115 - of a descriptor
        except OSError:  # deeper than any path can say
            return False
        if device:
            return beneath(folder, "/dev")
        # The baseline enters no mount below these directories and looks under none.
        if not any(beneath(folder, top) and beneath(top, self.point) for top in PROGRAMS):
            return False
        try:
            visible = os.lstat(f"{folder}/{name}")
        except OSError:
            return False
        return os.path.samestat(visible, facts)

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
