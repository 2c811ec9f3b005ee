"""One piece of work at a time on a machine; the lock goes with the process that holds it."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.codes import Code, Trouble

WAIT_S = 600.0
"""How long a second process waits for the first one's answer to the same command."""
GRACE_S = 1.0
"""How long the holder may take to write its command into the lock after it took it."""
PAUSE_S = 0.1


@contextmanager
def held(path: Path, command_id: str, *, wait_s: float = WAIT_S) -> Iterator[None]:
    """
    Hold the machine's lock for a command.

    If another process holds it for the same command (the agent was restarted while its wiper lived on), wait for it.

    Raises:
        Trouble: `busy`: another command is being done, or the same one takes too long; `journal_unwritable`.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Trouble(Code.JOURNAL_UNWRITABLE, f"{path}: {error.strerror}") from error
    try:
        _take(fd, command_id, wait_s)
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, command_id.encode(), 0)
        except OSError as error:
            raise Trouble(Code.JOURNAL_UNWRITABLE, f"{path}: {error.strerror}") from error
        yield
    finally:
        os.close(fd)


def _take(fd: int, command_id: str, wait_s: float) -> None:
    started = time.monotonic()
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = time.monotonic() - started
            holder = os.pread(fd, 200, 0).decode("utf-8", "replace")
            if waited > (wait_s if holder == command_id else min(GRACE_S, wait_s)):
                raise Trouble(Code.BUSY, f"the wiper is at {holder or 'another command'}") from None
            time.sleep(PAUSE_S)
        else:
            return
