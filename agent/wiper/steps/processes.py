"""
Processes: found by all four user ids of every thread, never by name.

They are killed by a child that first *becomes* the tenant: the kernel itself then refuses it everybody else's
processes, and one kill(-1) reaches all of the tenant's at once, faster than they can fork.

Source: kill(2), credentials(7); proc(5) for the fields of status.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from agent.wiper.children import become
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
        self._tenant = subject.tenant

    def find(self) -> Found:
        """Count the tenant's processes."""
        return Found(0 if self._simulated else len(live(self._tenant.owns)))

    def erase(self, tell: Tell) -> Erased:
        """Kill until three looks in a row find none, at most two minutes."""
        if self._simulated:
            return Erased(0)
        killed: set[int] = set()
        empty, until = 0, time.monotonic() + DEADLINE_S
        while empty < ROUNDS_EMPTY and time.monotonic() < until:
            pids = live(self._tenant.owns)
            killed |= pids
            empty = 0 if pids else empty + 1
            if pids:
                self._kill(pids)
            tell(len(killed), len(killed))
            time.sleep(PAUSE_S)
        return Erased(len(killed), () if empty >= ROUNDS_EMPTY else ("processes kept coming back",))

    def verify(self) -> Looked:
        """Look three times."""
        if self._simulated:
            return Looked(NOT_APPLICABLE, reason="a simulated machine has no processes of its own")
        seen: set[int] = set()
        for _ in range(ROUNDS_EMPTY):
            seen |= live(self._tenant.owns)
            time.sleep(PAUSE_S)
        return clean_or(len(seen), "live processes")

    def _kill(self, pids: set[int]) -> None:
        gid = self._tenant.gid if self._tenant.gid is not None else self._tenant.uid
        kill_all_of(self._tenant.uid, gid)
        for pid in pids & live(self._tenant.owns):
            _kill_one(pid, self._tenant.owns)


def live(owns: Callable[[int], bool]) -> set[int]:
    """Return the process ids that have a living thread with one of these user ids; never our own or the first's."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in {1, os.getpid()} and _is_live(int(entry.name), owns):
            found.add(int(entry.name))
    return found


def _is_live(pid: int, owns: Callable[[int], bool]) -> bool:
    """Threads are looked at one by one: a leader that has ended looks dead while its threads run on."""
    return any(not dead and any(map(owns, uids)) for dead, uids in _threads(pid))


def _threads(pid: int) -> Iterator[tuple[bool, tuple[int, ...]]]:
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
        yield fields[b"State"][:1] in {b"Z", b"X"}, tuple(int(one) for one in fields[b"Uid"].split())


def _kill_one(pid: int, owns: Callable[[int], bool]) -> None:
    """Kill what kill(-1) did not reach; the descriptor makes sure that it is still the process that was looked at."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if _is_live(pid, owns):
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
