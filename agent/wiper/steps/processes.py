"""
Processes: found by all ids of every thread, by the login they came from and by their control group, never by name.

They are killed by a child that first *becomes* the tenant: the kernel itself then refuses it everybody else's
processes, and one kill(-1) reaches all of the tenant's at once, faster than they can fork; so for each subordinate
user id. What is not his by user id, a root shell of his session for one, is killed one by one, by one of its own user.

Source: kill(2), credentials(7); proc(5) for the fields of status; pam_loginuid(8); systemd.slice(5) for user-UID.slice.
"""

import os
import signal
import time
from collections.abc import Iterator

from agent.wiper.steps import NOT_APPLICABLE, Erased, Found, Item, Looked, Subject, Tell, clean_or, printable
from agent.wiper.system.children import NOBODYS_GROUP, become, collected, end, kill
from agent.wiper.system.kernel import has_capabilities
from agent.wiper.tenant.alive import Whose, is_live, live, says, uids_of, whose

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
        return Found(sum(1 for _ in self.list()))

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

    def _whose(self) -> Whose:
        return whose(self._ground, self._tenant)

    def _kill(self, pids: set[int], whose: Whose) -> None:
        gid = self._tenant.gid if self._tenant.gid is not None else self._tenant.uid
        kill_all_of(self._tenant.uid, gid)
        for uid in uids_of(pids, whose) - {self._tenant.uid}:
            kill_all_of(uid, NOBODYS_GROUP)
        for pid in pids & live(whose):
            _kill_one(pid, whose)

    def list(self) -> Iterator[Item]:
        """Give them."""
        for pid in () if self._simulated else sorted(live(self._whose())):
            name = os.fsdecode(says(pid, "comm").rstrip(b"\n"))
            yield Item("process", f"{pid} ({printable(name)})")


def _kill_one(pid: int, whose: Whose) -> None:
    """Kill what kill(-1) did not reach; the descriptor makes sure that it is still the process that was looked at."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if is_live(pid, whose):
            kill(pid, descriptor)
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
    # The tenant may stop it, so not for ever.
    if not collected(pid, CHILD_DEADLINE_S):
        end(pid)


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
