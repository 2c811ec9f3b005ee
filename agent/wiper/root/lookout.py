"""Noticing, on a walk over the machine, what only root makes and came after the tenant."""

import os
import stat
from collections.abc import Callable

from agent.wiper.root.baseline import PROGRAMS
from agent.wiper.root.powers import gives_power
from agent.wiper.system.mountinfo import beneath

POWER = "what only root makes came since the grant where none belongs: a program that makes root, or a device"


class Lookout:
    """
    Looks at each entry of a walk.

    Args:
        since_s: When the tenant came, Unix time.
        alert: Puts a finding on record at once, before anything takes its proof away.

    Attributes:
        point: Where the file system is mounted that is walked now.
        unread: Files whose capabilities could not be read.
    """

    def __init__(self, since_s: float, alert: Callable[[str], None]) -> None:
        self.point = ""
        self.unread = 0
        self._since_s = since_s
        self._alert = alert

    def see(self, directory: int, name: str, facts: os.stat_result) -> None:
        """Tell of an entry, if it is such a thing; a single mounted file has no name here."""
        if facts.st_ctime < self._since_s or not name:
            return
        device = is_device(facts)
        try:
            found = device or gives_power(directory, name, facts)
        except OSError:
            self.unread += 1
            return
        if found and not self._belongs(directory, name, facts, device=device):
            self._alert(POWER)

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


def is_device(facts: os.stat_result) -> bool:
    """Return whether it is a device; number 0 is the mark of an overlay for what was deleted."""
    return (stat.S_ISBLK(facts.st_mode) or stat.S_ISCHR(facts.st_mode)) and facts.st_rdev != 0
