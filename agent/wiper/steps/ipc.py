"""
Kernel objects that outlive processes: System V shared memory, semaphores and queues, and POSIX message queues.

Source: proc(5), /proc/sysvipc; mq_overview(7).
"""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct

from agent.wiper.kernel import message_queues, remove_queue, remove_semaphores, remove_shared_memory
from agent.wiper.steps import NOT_APPLICABLE, Erased, Found, Looked, Subject, Tell, clean_or

REMOVERS: dict[str, Callable[[int], None]] = {
    "shm": remove_shared_memory,
    "sem": remove_semaphores,
    "msg": remove_queue,
}
IDENTIFIER = {"shm": "shmid", "sem": "semid", "msg": "msqid"}
GONE = {errno.EINVAL, errno.EIDRM}


class KernelObject(Struct, frozen=True):
    """One object: its kind, its id, who owns it and who made it."""

    kind: str
    identifier: int
    owner: int
    creator: int


def parse(kind: str, text: str) -> tuple[KernelObject, ...]:
    """
    Read one table of /proc/sysvipc; columns are found by their names.

    Raises:
        ValueError: a column is missing.
    """
    lines = text.splitlines()
    if not lines:
        return ()
    names = lines[0].split()
    at, owner, creator = names.index(IDENTIFIER[kind]), names.index("uid"), names.index("cuid")
    rows = (line.split() for line in lines[1:])
    return tuple(KernelObject(kind, int(row[at]), int(row[owner]), int(row[creator])) for row in rows)


class Ipc:
    """Kernel objects the tenant owns or made."""

    name = "ipc"

    def __init__(self, subject: Subject) -> None:
        self._simulated = subject.ground.simulated
        self._owns = subject.tenant.owns

    def find(self) -> Found:
        """Count them."""
        return Found(self._count())

    def erase(self, tell: Tell) -> Erased:  # noqa: ARG002 - the protocol's
        """Remove each by its id, after its owner was read once more."""
        if self._simulated:
            return Erased(0)
        removed, notes = 0, []
        for one in self._system_v():
            try:
                if one in set(self._system_v()):
                    REMOVERS[one.kind](one.identifier)
                    removed += 1
            except OSError as error:
                if error.errno not in GONE:
                    notes.append(f"{one.kind}: {error.strerror}")
        return Erased(removed + self._posix(erase=True), tuple(notes))

    def verify(self) -> Looked:
        """Count them again."""
        if self._simulated:
            return Looked(NOT_APPLICABLE, reason="a simulated machine has no kernel of its own")
        return clean_or(self._count(), "kernel objects")

    def _count(self) -> int:
        return 0 if self._simulated else sum(1 for _ in self._system_v()) + self._posix(erase=False)

    def _system_v(self) -> Iterator[KernelObject]:
        for kind in REMOVERS:
            path = Path("/proc/sysvipc", kind)
            if not path.exists():  # a kernel without System V objects
                continue
            for one in parse(kind, path.read_text("ascii")):
                if self._owns(one.owner) or self._owns(one.creator):
                    yield one

    def _posix(self, *, erase: bool) -> int:
        """Count the tenant's POSIX queues, taking them away on the way if told to."""
        try:
            directory = message_queues()
        except OSError as error:
            if error.errno == errno.ENODEV:  # a kernel without POSIX queues
                return 0
            raise
        try:
            count = 0
            for name in os.listdir(directory):  # noqa: PTH208 - by descriptor
                if self._owns(os.stat(name, dir_fd=directory, follow_symlinks=False).st_uid):
                    count += 1
                    if erase:
                        os.unlink(name, dir_fd=directory)
            return count
        finally:
            os.close(directory)
