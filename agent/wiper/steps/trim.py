"""
Telling the devices what is free now, so that they may forget it. No place: nothing lies here, nothing is verified.

What a device does with it is its own affair; a failure is told with the medium and never makes a wipe unclean.
"""

import os
import stat
import time
from collections.abc import Iterator

from agent.wiper.blocks import media
from agent.wiper.blocks.treated import Treated
from agent.wiper.steps import NOT_APPLICABLE, Erased, Found, Item, Looked, Subject, Tell
from agent.wiper.system import kernel
from agent.wiper.system.children import in_child
from agent.wiper.system.mountinfo import Mount, current, to_look_at
from agent.wiper.system.uncover import root_of

DEADLINE_S = 600.0
"""For all file systems together: a large disk that was never trimmed takes minutes."""
NO_FITRIM = frozenset({"zfs", "overlay", "aufs"})
"""zfs trims its pools by itself or by its own tool; the others lie on file systems that are trimmed."""


class Trim:
    """
    The free blocks of the file systems on this machine's own devices.

    Args:
        subject: Whose wipe it is.
        deadline_s: For all of it.
    """

    name = "trim"

    def __init__(self, subject: Subject, deadline_s: float = DEADLINE_S) -> None:
        self._simulated = subject.ground.simulated
        self._deadline_s = deadline_s

    def list(self) -> Iterator[Item]:
        """Name nothing: what it is told about is gone already."""
        return iter(())

    def find(self) -> Found:
        """Count the file systems."""
        return Found(len(self._file_systems()))

    def erase(self, tell: Tell) -> Erased:
        """Trim one after the other; nothing is removed by that."""
        until = time.monotonic() + self._deadline_s
        mounts, treated = self._file_systems(), list[Treated]()
        for done, mount in enumerate(mounts):
            tell(done, len(mounts))
            treated.append(_trimmed(mount, until - time.monotonic()))
        notes = (f"not trimmed: {one.note}" for one in treated if one.note)
        return Erased(0, tuple(dict.fromkeys(notes)), treated=tuple(treated))

    def verify(self) -> Looked:
        """Have nothing to look at."""
        return Looked(NOT_APPLICABLE, reason="nothing of a tenant's lies here")

    def _file_systems(self) -> tuple[Mount, ...]:
        return () if self._simulated else trimmable(current(), media.block_device)


def trimmable(mounts: tuple[Mount, ...], lookup: media.Lookup) -> tuple[Mount, ...]:
    """
    Return the mounts whose file systems are to be trimmed, each once. Pure but for the lookup.

    A file system of which only a part is mounted here, and which is no btrfs, is another view's to look after.
    """
    stored, _ = to_look_at(mounts)
    chosen = {
        mount.device: mount
        for mount in reversed(stored)
        if mount.kind not in NO_FITRIM
        and (mount.root == "/" or mount.kind == "btrfs")
        and "ro" not in mount.options.split(",")
        and media.takes_discard(media.device_of(mount, lookup))
    }
    return tuple(chosen.values())


def _trimmed(mount: Mount, patience_s: float) -> Treated:
    try:
        if patience_s <= 0:
            return Treated(device=mount.device, note="no time was left")
        return Treated(device=mount.device, trimmed_bytes=int(in_child(lambda: _trim(mount), patience_s)))
    except OSError as error:
        return Treated(device=mount.device, note=error.strerror or "it failed")


def _trim(mount: Mount) -> bytes:
    """Trim one file system, in a child: a device may take long, or for ever."""
    root = root_of(mount)
    kind = os.O_DIRECTORY if stat.S_ISDIR(os.fstat(root).st_mode) else 0
    fd = os.open(f"/proc/self/fd/{root}", os.O_RDONLY | os.O_CLOEXEC | kind)
    # What was just removed is free only once the file system has written that down.
    kernel.flush_file_system(fd)
    return b"%d" % kernel.trim(fd)
