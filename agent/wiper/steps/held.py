"""
What of the tenant is still held after it was deleted: by loop devices that stayed, or by processes of others.

This step only looks. A deleted file that a process of somebody else has open, and a directory of the tenant's that is
mounted in the private view of a service, end with that process. Ending it would harm others, so it is told, not done.
"""

import errno
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from agent.wiper.blocks import loops
from agent.wiper.steps import CLEAN, RESIDUE, Erased, Found, Item, Looked, Subject, Tell
from agent.wiper.system import mountinfo
from agent.wiper.system.children import in_child
from agent.wiper.system.mountinfo import beneath
from agent.wiper.tenant.alive import live, user_of, whose

LOOK_S = 60.0
DELETED = " (deleted)"
GONE = "//deleted"
"""What the kernel appends to the name of a file, and to the mounted directory, that has no name any more."""


class Held:
    """The tenant's files that live on without a name."""

    name = "held"

    def __init__(self, subject: Subject) -> None:
        tenant, ground = subject.tenant, subject.ground
        self._ground = ground
        self._tenant = tenant
        self._owns = tenant.owns
        self._alive = subject.alive
        self._parent = tenant.home.rpartition("/")[0]
        self._homes = tuple(ground.on_machine(one) for one in (tenant.home, f"{self._parent}/{tenant.quarantine}"))

    def find(self) -> Found:
        """Count nothing: what others hold is not ours to end."""
        return Found(0)

    def erase(self, tell: Tell) -> Erased:  # noqa: ARG002 - the protocol's
        """Leave everything."""
        return Erased(0)

    def verify(self) -> Looked:
        """Count loop devices, mounts in other views and open files without a name."""
        if self._ground.simulated:
            return Looked("not_applicable", reason="a simulated machine has no processes of its own")
        open_files, unseen = self._open_files()
        counts = {
            "loop devices": len(self._loops()),
            "mounts in views of others' processes": self._mounts_elsewhere(),
            "deleted files open in others' processes": open_files,
        }
        # Of daemons with more capabilities than the wiper: told as a limit, for no machine is without them.
        limits = (f"The open files of {unseen} processes of others could not be looked at.",) if unseen else ()
        reasons = [f"{count} {what}" for what, count in counts.items() if count]
        if reasons:
            return Looked(RESIDUE, sum(counts.values()), "; ".join(reasons), limits=limits)
        return Looked(CLEAN, limits=limits)

    def _loops(self) -> list[str]:
        return loops.of_homes(self._ground, self._parent, self._homes)

    def _mounts_elsewhere(self, left_out: Collection[str] = ()) -> int:
        """Count mounts made from the home in the mount namespaces of other processes, each namespace once."""
        here = mountinfo.current()
        places = [mountinfo.on_file_system(home, here) for home in self._homes]
        # Views of processes left out go with them, unless others have them too.
        seen, found = {_view("self")}, 0
        for pid in _pids(left_out):
            view = _view(pid)
            if view in seen:
                continue
            seen.add(view)
            for mount in mountinfo.parse(_text(pid, "mountinfo")):
                root = mount.root.removesuffix(GONE)
                found += any(one and mount.device == one[0] and beneath(root, one[1]) for one in places)
        return found

    def _open_files(self, left_out: Collection[str] = ()) -> tuple[int, int]:
        """
        Count the tenant's files without a name that others' processes have open, and processes that hide theirs.

        The kernel shows a process's files to root, or to its own user: whoever is refused as root asks as that user.
        """
        found, refused = _answers(in_child(lambda: _held(_pids(left_out), self._owns), LOOK_S))
        by_user: dict[tuple[int, int], list[str]] = defaultdict(list)
        unseen = 0
        for pid in refused:
            user = user_of(int(pid))
            if user is not None and user[0] != 0:
                by_user[user].append(pid)
            else:
                unseen += 1
        for user, pids in by_user.items():
            self._alive()
            again, still = _answers(in_child(_asking(pids, self._owns), LOOK_S, user))
            found, unseen = found + again, unseen + len(still)
        return found, unseen

    def list(self) -> Iterator[Item]:
        """Give what others hold even now, and what would still be held after the wipe: it ends with their processes."""
        if self._ground.simulated:
            return
        his = {str(pid) for pid in live(whose(self._ground, self._tenant))}
        why = "it ends with the process that holds it, which is not his"
        for what, count in (
            ("mounts in views of others' processes", self._mounts_elsewhere(his)),
            ("deleted files open in others' processes", self._open_files(his)[0]),
        ):
            if count:
                yield Item(what, f"{count} of them", goes=False, why=why)


def _asking(pids: list[str], owns: Callable[[int], bool]) -> Callable[[], bytes]:
    return lambda: _held(pids, owns)


def _held(pids: list[str], owns: Callable[[int], bool]) -> bytes:
    """Count files; answer with the number and the processes that could not be looked at."""
    count, refused = 0, list[str]()
    for pid in pids:
        try:
            descriptors = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208 - numbers only
            count += sum(_is_held(f"/proc/{pid}/fd/{number}", owns) for number in descriptors)
        except PermissionError:
            refused.append(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return " ".join((str(count), *refused)).encode()


def _answers(raw: bytes) -> tuple[int, list[str]]:
    count, *refused = raw.decode().split()
    return int(count), refused


def _is_held(link: str, owns: Callable[[int], bool]) -> bool:
    try:
        # Asked for its owner only where it has no name: what is on a dead file system hangs whoever asks.
        if not os.readlink(link).endswith(DELETED):  # noqa: PTH115
            return False
        facts = os.stat(link)  # noqa: PTH116
    except FileNotFoundError:
        return False
    return facts.st_nlink == 0 and owns(facts.st_uid)


def _pids(left_out: Collection[str] = ()) -> list[str]:
    names = os.listdir("/proc")  # noqa: PTH208 - names only
    return [name for name in names if name.isdigit() and name not in left_out]


def _view(pid: str) -> bytes:
    """Return the first mount of a process's view: each mount namespace has its own numbers."""
    return _text(pid, "mountinfo").partition(b" ")[0]


def _text(pid: str, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""
    except OSError as error:
        if error.errno == errno.EINVAL:  # it has ended, and has no view any more
            return b""
        raise
