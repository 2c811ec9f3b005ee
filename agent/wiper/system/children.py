"""Doing something in a child process: as another user, or something that may hang."""

import errno
import os
import select
import signal
import time
from collections.abc import Callable

from agent.wiper.system.kernel import has_capabilities, hide_memory

MAX_ANSWER_BYTES = 4 * 2**20
GOING_S, KILLED_S = 0.1, 1.0
"""How long a child that has said all may take to end, and one that was killed."""
NOBODYS_GROUP = 65_534


def become(uid: int, gid: int) -> None:
    """Turn this process, a child of its own, into a user for good: all ids, no groups, memory unreadable."""
    hide_memory()
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def in_child(
    work: Callable[[], bytes], deadline_s: float, user: tuple[int, int] | None = None, *, keep: int | None = None
) -> bytes:
    """
    Return what `work` returns, done in a forked child that is killed when it takes too long.

    Args:
        work: What to do; an `OSError` of it is raised here too.
        deadline_s: A call on a dead file system hangs for ever; then the child is left behind and this raises.
        user: The user and group id that the child becomes first.
        keep: A descriptor that the child needs; it has no other of ours.

    Raises:
        OSError: what the work raised; ETIMEDOUT; EPROTO when it broke in an unforeseen way.
    """
    readable, writable = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _work(work, writable, user, keep)
    os.close(writable)
    try:
        answer = _answer(readable, time.monotonic() + deadline_s)
    finally:
        os.close(readable)
        end(pid)
    return result_of(answer)


def answer_of(work: Callable[[], bytes]) -> bytes:
    """Return what `work` returns or raises, for another process."""
    try:
        return b"ok " + work()
    except OSError as error:
        return b"errno %d" % (error.errno or errno.EIO)
    except BaseException:  # noqa: BLE001 - a forked child must never go on as a second wiper
        return b"broken"


def result_of(answer: bytes) -> bytes:
    """
    Return what the other process's work returned.

    Raises:
        OSError: what it raised; EPROTO when it broke in an unforeseen way.
    """
    kind, _, rest = answer.partition(b" ")
    if kind == b"ok":
        return rest
    if kind == b"errno":
        raise OSError(int(rest), os.strerror(int(rest)))
    raise OSError(errno.EPROTO, "the child broke")


def _work(work: Callable[[], bytes], pipe: int, user: tuple[int, int] | None, keep: int | None) -> None:
    """Runs in the child and never returns."""

    def whole() -> bytes:
        # A child that hangs must not keep the wiper's lock, nor whoever waits for its output.
        _close_all_but({pipe, pipe if keep is None else keep})
        if user is not None and user != (0, 0):
            _become(user)
        return work()

    try:
        view = memoryview(answer_of(whole))
        while view:
            view = view[os.write(pipe, view) :]
    finally:
        os._exit(0)


def _close_all_but(kept: set[int]) -> None:
    above = 0
    for needed in sorted(kept):
        os.closerange(above, needed)
        above = needed + 1
    os.closerange(above, os.sysconf("SC_OPEN_MAX"))


def _become(user: tuple[int, int]) -> None:
    """Become the user, or break: what the work then says of its own permissions would be taken for the user's."""
    try:
        become(*user)
    except OSError as error:
        raise RuntimeError("this program may not become the user") from error


def _answer(readable: int, until: float) -> bytes:
    answer = b""
    while (left := until - time.monotonic()) > 0:
        if not select.select((readable,), (), (), left)[0]:
            break
        part = os.read(readable, 65_536)
        if not part:
            return answer
        answer += part
        if len(answer) > MAX_ANSWER_BYTES:
            raise OSError(errno.EFBIG, "the child says too much")
    raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


def end(pid: int) -> None:
    """Kill a child and collect it, whoever it became; one that hangs in the kernel is left to the first process."""
    # One that has answered is about to end by itself.
    if collected(pid, GOING_S):
        return
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        kill(pid, descriptor)
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)
    collected(pid, KILLED_S)


def kill(pid: int, descriptor: int) -> None:
    """
    Kill a process as somebody of its own: the kernel lets nobody else do it, not even root without CAP_KILL.

    What kills has the process's real or saved user id and no capabilities, and it can reach nothing but the process
    that the descriptor was opened for. It may fail: whoever calls this looks again.

    Raises:
        ProcessLookupError: it has ended.

    Source: kill(2), the permission; pidfd_send_signal(2); proc(5), the field Uid of status.
    """
    try:
        fields = dict(line.split(b":\t", 1) for line in _status(pid).split(b"\n") if b":\t" in line)
    except FileNotFoundError as error:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from error
    real, _, saved, _ = map(int, fields[b"Uid"].split())
    if os.geteuid() in {real, saved}:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        return
    killer = os.fork()
    if killer == 0:
        _become_and_send(descriptor, real)
    # Its user may stop it: then it stays until the wiper's unit ends.
    collected(killer, KILLED_S)


def _status(pid: int) -> bytes:
    with open(f"/proc/{pid}/status", "rb") as file:  # noqa: PTH123 - a path of the kernel's
        return file.read()


def _become_and_send(descriptor: int, uid: int) -> None:
    """Runs in the child and never returns. Each line before the signal must hold, or the child ends without it."""
    try:
        _close_all_but({descriptor})
        become(uid, NOBODYS_GROUP)
        if os.getresuid() == (uid, uid, uid) and not has_capabilities():
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    finally:
        os._exit(0)


def collected(pid: int, patience_s: float) -> bool:
    """Wait for a child, not for ever, and return whether it has ended."""
    until = time.monotonic() + patience_s
    while not os.waitpid(pid, os.WNOHANG)[0]:
        if time.monotonic() > until:
            return False
        time.sleep(0.002)
    return True
