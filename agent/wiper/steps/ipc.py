"""
Kernel objects that outlive processes: System V shared memory, semaphores and queues, POSIX message queues, keys.

Source: proc(5), /proc/sysvipc; mq_overview(7); keyrings(7), /proc/key-users.
"""

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct

from agent.wiper.steps import NOT_APPLICABLE, Erased, Found, Item, Looked, Subject, Tell, clean_or, printable
from agent.wiper.system.children import in_child
from agent.wiper.system.kernel import (
    clear_own_keyrings,
    message_queues,
    remove_queue,
    remove_semaphores,
    remove_shared_memory,
)

REMOVERS: dict[str, Callable[[int], None]] = {
    "shm": remove_shared_memory,
    "sem": remove_semaphores,
    "msg": remove_queue,
}
WORDS = {"shm": "shared memory", "sem": "set of semaphores", "msg": "message queue"}
IDENTIFIER = {"shm": "shmid", "sem": "semid", "msg": "msqid"}
GONE = {errno.EINVAL, errno.EIDRM}
EMPTY_KEYRINGS = 2
CHILD_S, COLLECTED_S = 10.0, 2.0


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


def parse_key_users(text: str) -> tuple[tuple[int, int], ...]:
    """Read /proc/key-users: user ids, and how many keys each has. Source: proc(5), /proc/key-users."""
    rows = (line.split() for line in text.splitlines())
    return tuple((int(row[0].rstrip(":")), int(row[2].partition("/")[0])) for row in rows if len(row) > 2)


def _clear_keyrings() -> bytes:
    clear_own_keyrings()
    return b""


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
        for uid, keys in self._keys():
            try:
                in_child(_clear_keyrings, CHILD_S, (uid, uid))
                removed += keys
            except OSError as error:
                notes.append(f"keys stay: {error.strerror}")
        return Erased(removed + self._remove_queues(), tuple(notes))

    def verify(self) -> Looked:
        """Count them again."""
        if self._simulated:
            return Looked(NOT_APPLICABLE, reason="a simulated machine has no kernel of its own")
        until = time.monotonic() + COLLECTED_S
        # Cleared keys are gone when the kernel has collected them, a moment later.
        while (left := self._count()) and time.monotonic() < until:
            time.sleep(0.05)
        return clean_or(left, "kernel objects")

    def _count(self) -> int:
        if self._simulated:
            return 0
        keys = sum(count for _, count in self._keys())
        return sum(1 for _ in self._system_v()) + len(self._queues()) + keys

    def _system_v(self) -> Iterator[KernelObject]:
        for kind in REMOVERS:
            path = Path("/proc/sysvipc", kind)
            if not path.exists():  # a kernel without System V objects
                continue
            for one in parse(kind, path.read_text("ascii")):
                if self._owns(one.owner) or self._owns(one.creator):
                    yield one

    def _keys(self) -> Iterator[tuple[int, int]]:
        """Give each user id with its number of keys, beyond the two empty keyrings that the kernel keeps for it."""
        try:
            text = Path("/proc/key-users").read_text("ascii")
        except FileNotFoundError:  # a kernel without keys
            return
        for uid, count in parse_key_users(text):
            if self._owns(uid) and count > EMPTY_KEYRINGS:
                yield uid, count - EMPTY_KEYRINGS

    def _queues(self) -> tuple[str, ...]:
        """Return the names of the tenant's POSIX queues."""
        try:
            directory = message_queues()
        except OSError as error:
            if error.errno == errno.ENODEV:  # a kernel without POSIX queues
                return ()
            raise
        try:
            return tuple(self._owned(directory))
        finally:
            os.close(directory)

    def _remove_queues(self) -> int:
        names = self._queues()
        if not names:
            return 0
        directory = message_queues()
        try:
            for name in names:
                os.unlink(name, dir_fd=directory)
        finally:
            os.close(directory)
        return len(names)

    def _owned(self, directory: int) -> Iterator[str]:
        for name in os.listdir(directory):
            if self._owns(os.stat(name, dir_fd=directory, follow_symlinks=False).st_uid):
                yield name

    def list(self) -> Iterator[Item]:
        """Give them; keys by the user that they are counted for."""
        if self._simulated:
            return
        for one in self._system_v():
            yield Item(WORDS[one.kind], f"number {one.identifier}")
        for name in self._queues():
            yield Item("POSIX message queue", printable(f"/{name}"))
        for uid, keys in self._keys():
            yield Item("kernel keys", f"{keys} of user id {uid}")
