"""Doing something in a child process: as another user, or something that may hang."""

import errno
import os
import select
import signal
import time
from collections.abc import Callable

from agent.wiper.kernel import hide_memory

MAX_ANSWER_BYTES = 4 * 2**20


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
        _end(pid)
    kind, _, rest = answer.partition(b" ")
    if kind == b"ok":
        return rest
    if kind == b"errno":
        raise OSError(int(rest), os.strerror(int(rest)))
    raise OSError(errno.EPROTO, "the child broke")


def _work(work: Callable[[], bytes], pipe: int, user: tuple[int, int] | None, keep: int | None) -> None:
    """Runs in the child and never returns."""
    try:
        # A child that hangs must not keep the wiper's lock, nor whoever waits for its output.
        above = 0
        for needed in sorted({pipe, pipe if keep is None else keep}):
            os.closerange(above, needed)
            above = needed + 1
        os.closerange(above, os.sysconf("SC_OPEN_MAX"))
        if user is not None and user != (0, 0):
            _become(user)
        answer = b"ok " + work()
    except OSError as error:
        answer = b"errno %d" % (error.errno or errno.EIO)
    except BaseException:  # noqa: BLE001 - a forked child must never go on as a second wiper
        answer = b"broken"
    try:
        view = memoryview(answer)
        while view:
            view = view[os.write(pipe, view) :]
    finally:
        os._exit(0)


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


def _end(pid: int) -> None:
    """Kill the child and collect it; one that hangs in the kernel is left to the first process."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return
        time.sleep(0.002)
