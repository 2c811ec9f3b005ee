"""
Processes: found by all ids of every thread, by the login they came from and by their control group, never by name.

They are killed by a child that first *becomes* the tenant: the kernel itself then refuses it everybody else's
processes, and one kill(-1) reaches all of the tenant's at once, faster than they can fork. What is not his by user id,
a root shell of his session for one, is killed one by one.

Source: kill(2), credentials(7); proc(5) for the fields of status; pam_loginuid(8); systemd.slice(5) for user-UID.slice.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from agent.wiper.children import become
from agent.wiper.groups import own_group
from agent.wiper.kernel import has_capabilities
from agent.wiper.steps import NOT_APPLICABLE, Erased, Found, Looked, Subject, Tell, clean_or

ROUNDS_EMPTY = 3
"""Looks in a row that must find nothing."""
PAUSE_S = 0.05
DEADLINE_S = 120.0
CHILD_DEADLINE_S = 10.0


class Processes:
    """The tenant's processes, setuid children and processes under subordinate ids included."""

    name = "processes"

    def __init__(self, subject: Subject) -> None:
        self._simulated = subject.ground.simulated
        self._ground = subject.ground
        self._tenant = subject.tenant

    def find(self) -> Found:
        """Count the tenant's processes."""
        return Found(0 if self._simulated else len(live(self._whose())))

    def erase(self, tell: Tell) -> Erased:
        """Kill until three looks in a row find none, at most two minutes."""
        if self._simulated:
            return Erased(0)
        killed: set[int] = set()
        whose, empty, until = self._whose(), 0, time.monotonic() + DEADLINE_S
        while empty < ROUNDS_EMPTY and time.monotonic() < until:
            pids = live(whose)
            killed |= pids
            empty = 0 if pids else empty + 1
            if pids:
                self._kill(pids, whose)
            tell(len(killed), len(killed))
            time.sleep(PAUSE_S)
        return Erased(len(killed), () if empty >= ROUNDS_EMPTY else ("processes kept coming back",))

    def verify(self) -> Looked:
        """Look three times."""
        if self._simulated:
            return Looked(NOT_APPLICABLE, reason="a simulated machine has no processes of its own")
        seen: set[int] = set()
        whose = self._whose()
        for _ in range(ROUNDS_EMPTY):
            seen |= live(whose)
            time.sleep(PAUSE_S)
        return clean_or(len(seen), "live processes")

    def alive(self) -> set[int]:
        """Return the tenant's processes."""
        return live(self._whose())

    def end(self, pid: int) -> None:
        """Kill one process, if it is still the tenant's."""
        _kill_one(pid, self._whose())

    def _whose(self) -> "Whose":
        return Whose(self._tenant.uid, self._tenant.owns, own_group(self._ground, self._tenant), _ancestors())

    def _kill(self, pids: set[int], whose: "Whose") -> None:
        gid = self._tenant.gid if self._tenant.gid is not None else self._tenant.uid
        kill_all_of(self._tenant.uid, gid)
        for pid in pids & live(whose):
            _kill_one(pid, whose)


class Whose(NamedTuple):
    """
    What makes a process the tenant's.

    `gid`: his group, where it is his alone; `above`: our own process and those that started it, which only their user
    ids can make his: somebody may have started us from his session.
    """

    uid: int
    owns: Callable[[int], bool]
    gid: int | None
    above: frozenset[int]


class Thread(NamedTuple):
    """The four user ids, and the four group ids with the supplementary ones."""

    uids: tuple[int, ...]
    gids: tuple[int, ...]


def live(whose: Whose) -> set[int]:
    """Return the processes of the tenant's that have a living thread; never our own or the first one."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in {1, os.getpid()} and _is_live(int(entry.name), whose):
            found.add(int(entry.name))
    return found


def _is_live(pid: int, whose: Whose) -> bool:
    """Threads are looked at one by one: a leader that has ended looks dead while its threads run on."""
    threads = list(_living(pid))
    if any(whose.owns(uid) for thread in threads for uid in thread.uids):
        return True
    if not threads or pid in whose.above:
        return False
    if whose.gid is not None and any(whose.gid in thread.gids for thread in threads):
        return True
    return _says(pid, "loginuid") == b"%d" % whose.uid or _is_in_slice(_says(pid, "cgroup"), whose.uid)


def _is_in_slice(groups: bytes, uid: int) -> bool:
    return any(b"/user-%d.slice" % uid in line for line in groups.split(b"\n"))


def _says(pid: int, name: str) -> bytes:
    """Return a file of a process's; nothing where it has ended, or the kernel has no such file."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _ancestors() -> frozenset[int]:
    found = {os.getpid()}
    pid = os.getppid()
    while pid > 1 and pid not in found:
        found.add(pid)
        # The name in the second field is the program's choice and may hold anything; the last ")" ends it.
        fields = _says(pid, "stat").rpartition(b")")[2].split()
        pid = int(fields[1]) if len(fields) > 1 else 0
    return frozenset(found)


def _living(pid: int) -> Iterator[Thread]:
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return
    for thread in threads:
        try:
            raw = (thread / "status").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # Bytes, split at newlines only: a tenant chooses the Name line and may put other line ends into it.
        fields = dict(line.split(b":\t", 1) for line in raw.split(b"\n") if b":\t" in line)
        if fields[b"State"][:1] not in {b"Z", b"X"}:
            gids = b" ".join((fields[b"Gid"], fields.get(b"Groups", b"")))
            yield Thread(tuple(map(int, fields[b"Uid"].split())), tuple(map(int, gids.split())))


def _kill_one(pid: int, whose: Whose) -> None:
    """Kill what kill(-1) did not reach; the descriptor makes sure that it is still the process that was looked at."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if _is_live(pid, whose):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)


def kill_all_of(uid: int, gid: int) -> None:
    """
    Kill everything of one ordinary user.

    Raises:
        OSError: the child could not become the user; nothing was killed then.
    """
    if uid < 1000 or gid < 1:
        raise AssertionError("only ordinary users are killed")
    pid = os.fork()
    if pid == 0:
        _become_and_kill(uid, gid)
    _await(pid)


def _become_and_kill(uid: int, gid: int) -> None:
    """Runs in the child and never returns. Each line before the kill must hold, or the child ends without it."""
    try:
        # The tenant may stop this process: it must not keep the lock or the agent's pipe open then.
        os.closerange(0, os.sysconf("SC_OPEN_MAX"))
        become(uid, gid)
        if os.getresuid() == (uid, uid, uid) and not has_capabilities() and not _may_signal_init():
            os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        os._exit(0)
    except BaseException:  # noqa: BLE001 - a forked child must never go on as a second wiper
        os._exit(1)
    os._exit(0)


def _may_signal_init() -> bool:
    """Return whether this process could hit the first process, which is root's: then it is not the user it became."""
    try:
        os.kill(1, 0)
    except PermissionError:
        return False
    return True


def _await(pid: int) -> None:
    """Wait for the child; the tenant may have stopped it, so not for ever."""
    until = time.monotonic() + CHILD_DEADLINE_S
    while time.monotonic() < until:
        done, _ = os.waitpid(pid, os.WNOHANG)
        if done:
            return
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
