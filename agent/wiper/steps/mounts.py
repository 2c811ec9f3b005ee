"""
Mounts in the home or made from it. This version never unmounts: while one is there, nothing of the home is deleted,
because what lies behind it may be somebody else's.
"""

from collections.abc import Iterator
from pathlib import Path

from agent.wiper import mountinfo
from agent.wiper.mountinfo import beneath
from agent.wiper.steps import Erased, Found, Looked, Subject, Tell, clean_or


class Mounts:
    """Mounts, swap files and loop devices that have to do with the home."""

    name = "mounts"

    def __init__(self, subject: Subject) -> None:
        tenant, ground = subject.tenant, subject.ground
        parent = tenant.home.rpartition("/")[0]
        self._homes = tuple(ground.on_machine(one) for one in (tenant.home, f"{parent}/{tenant.quarantine}"))
        self._uid = ground.owner(tenant.uid)
        self._simulated = ground.simulated

    def find(self) -> Found:
        """Count them."""
        return Found(self._count())

    def erase(self, tell: Tell) -> Erased:  # noqa: ARG002 - the protocol's
        """Leave them: an administrator has to unmount them."""
        left = self._count()
        return Erased(0, (f"{left} mounts, swap files or loop devices were left alone",) if left else ())

    def verify(self) -> Looked:
        """Count them again."""
        return clean_or(self._count(), "mounts, swap files or loop devices in or from the home")

    def _count(self) -> int:
        # On a simulated machine the owner is whoever runs this: his other FUSE mounts have nothing to do with it.
        uid = -1 if self._simulated else self._uid
        mounts = mountinfo.of_tenant(mountinfo.current(), self._homes, uid)
        files = [path for path in (*_swap_files(), *_loop_files()) if any(beneath(path, home) for home in self._homes)]
        return len(mounts) + len(files)


def _swap_files() -> Iterator[str]:
    """Source: proc(5), /proc/swaps."""
    try:
        text = Path("/proc/swaps").read_text("utf-8", "surrogateescape")
    except FileNotFoundError:
        return
    for line in text.splitlines()[1:]:
        yield line.split()[0]


def _loop_files() -> Iterator[str]:
    """Source: Linux, Documentation/ABI/testing/sysfs-block-loop."""
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            yield path.read_text("utf-8", "surrogateescape").rstrip("\n").removesuffix(" (deleted)")
        except OSError:  # the device was let go between the two calls
            continue
