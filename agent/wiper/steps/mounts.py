"""
Mounts in the home or made from it, swap files in it, his run-time directory; loop devices on its files are let go.

They are disconnected from what they are copies of, then detached, innermost first, each in a child that may hang; what
lies behind them is never looked at. While one is left, nothing of the home is deleted, because what lies behind it may
be somebody else's. Loop devices hurt nobody: whether they are gone is looked at when the home is gone too (`held`).
"""

import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from agent.wiper.blocks import loops
from agent.wiper.steps import Erased, Found, Item, Looked, Subject, Tell, clean_or, in_lines, printable
from agent.wiper.system import apart, lines, mountinfo
from agent.wiper.system.children import in_child
from agent.wiper.system.kernel import release_loop, stop_sharing, unmount
from agent.wiper.system.mountinfo import beneath
from agent.wiper.system.tasks import SwapOff
from agent.wiper.tenant import names

FSTAB = "/etc/fstab"
ROUNDS = 64
"""Of stacked mounts only the topmost can be disconnected from its peers and detached in one round."""
CALL_S, SWAP_S = 10.0, 120.0
"""How long one call may take; swapping back in reads all that was swapped out."""


class Mounts:
    """Mounts and swap files that have to do with the home."""

    name = "mounts"

    def __init__(self, subject: Subject) -> None:
        tenant, ground = subject.tenant, subject.ground
        self._ground = ground
        self._parent = tenant.home.rpartition("/")[0]
        self._homes = tuple(ground.on_machine(one) for one in (tenant.home, f"{self._parent}/{tenant.quarantine}"))
        self._uid = ground.owner(tenant.uid)
        self._owns = tenant.owns
        # Logging out takes it away, but not where what does that was killed with everything else of his.
        self._runtime = ground.on_machine(f"{mountinfo.RUNTIME}/{tenant.uid}")
        self._simulated = ground.simulated
        self._mounted: set[int] = set()

    def find(self) -> Found:
        """Count them."""
        return Found(self._count())

    def erase(self, tell: Tell) -> Erased:  # noqa: ARG002 - the protocol's
        """Detach them, and drop the lines that would mount them again."""
        if self._simulated:
            return Erased(0)
        before, notes = self._count(), list[str]()
        _try(self._forget_lines, "fstab stays as it is", notes)
        for path in self._inside(_swap_files()):
            _try(partial(apart.do, SwapOff(path), SWAP_S), "a swap file stays in use", notes)
        for _ in range(ROUNDS):
            before_round = len(self._mounts())
            for mount in self._own():
                if mount.shared:
                    call = partial(_bounded, partial(stop_sharing, mount.point), CALL_S)
                    _try(call, "a mount stays connected with others", notes)
            mounts = self._own()
            # On a copy of /dev, say, that is still its peer, an unmount would unmount the machine's own /dev/shm too.
            connected = {one.number for one in mounts if one.shared}
            for mount in reversed(mounts):
                if mount.parent not in connected:
                    _try(partial(_bounded, partial(unmount, mount.point), CALL_S), "a mount stays", notes)
            if len(self._mounts()) in {0, before_round}:
                break
        for device in self._loops():
            # One that is mounted in another view only is let go by the kernel when that mount goes: not here and now.
            _try(partial(_bounded, partial(release_loop, device), CALL_S), "a loop device stays", notes)
        _try(partial(os.rmdir, self._runtime), "the run-time directory stays", notes)
        left = self._count()
        return Erased(before - left, tuple(dict.fromkeys(notes)))

    def verify(self) -> Looked:
        """Count them again."""
        return clean_or(self._count(), "mounts or swap files in or from the home")

    def _count(self) -> int:
        swapping = len(self._inside(_swap_files()))
        return len(self._mounts()) + swapping + lines.count(self._ground, FSTAB, self._keep)

    def _own(self) -> list[mountinfo.Mount]:
        """Return the mounts to detach: one that the home itself lies in is not the tenant's to lose, so both stay."""
        return [one for one in self._mounts() if not self._holds_home(one)]

    def _holds_home(self, mount: mountinfo.Mount) -> bool:
        return any(beneath(home, mount.point) for home in self._homes)

    def _loops(self) -> list[str]:
        in_homes = loops.of_homes(self._ground, self._parent, self._homes, self._mounted)
        return list(dict.fromkeys((*in_homes, *loops.on_files_of(self._ground, self._owns))))

    def _mounts(self) -> tuple[mountinfo.Mount, ...]:
        # On a simulated machine the owner is whoever runs this: his other FUSE mounts have nothing to do with it.
        uid = -1 if self._simulated else self._uid
        found = mountinfo.of_tenant(mountinfo.current(), (*self._homes, self._runtime), uid)
        self._mounted |= {os.makedev(*map(int, one.device.split(":"))) for one in found}
        return found

    def _inside(self, paths: Iterable[str]) -> list[str]:
        return [path for path in paths if self._is_inside(path)]

    def _is_inside(self, path: str) -> bool:
        return any(beneath(path, home) for home in self._homes)

    def _keep(self, line: str) -> str | None:
        return names.fstab(line, self._homes, self._uid)

    def _forget_lines(self) -> None:
        lines.rewrite(self._ground, FSTAB, self._keep)

    def list(self) -> Iterator[Item]:
        """Give them; what is behind a mount is not looked at, and not taken away."""
        for mount in self._mounts():
            where = printable(f"{mount.point} ({mount.kind})")
            if self._holds_home(mount):
                yield Item("mount", where, goes=False, why="the home itself lies in it")
            else:
                yield Item("mount", where)
        yield from (Item("swap file", printable(path)) for path in self._inside(_swap_files()))
        yield from in_lines("line that mounts", FSTAB, lines.numbers(self._ground.read(FSTAB), self._keep))
        if not self._simulated:
            yield from (Item("loop device", device) for device in self._loops())


def _bounded(call: Callable[[], None], deadline_s: float) -> None:
    """Make a call in a child: on a dead file system it may never return."""

    def work() -> bytes:
        call()
        return b""

    in_child(work, deadline_s)


def _try(call: Callable[[], object], words: str, notes: list[str]) -> None:
    try:
        call()
    except OSError as error:
        # What is gone already, or is no mount any more, is what was wanted.
        if error.errno not in {errno.ENOENT, errno.EINVAL, errno.ENXIO}:
            notes.append(f"{words}: {error.strerror}")


def _swap_files() -> Iterator[str]:
    """Source: proc(5), /proc/swaps."""
    try:
        text = Path("/proc/swaps").read_text("utf-8", "surrogateescape")
    except FileNotFoundError:
        return
    for line in text.splitlines()[1:]:
        yield re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), line.split()[0])
