"""
No step of a wipe hangs for ever: one that makes no progress for its time is ended, and the wipe goes on without it.

What a tenant with root has arranged may hang whoever looks at it: a file system over one that does not answer, say.
A call that the kernel itself cannot break off is beyond this; then the order waits, and is never called done.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stalled(BaseException):
    """No progress for too long; no `Exception`, so that nothing takes it for trouble with one item and goes on."""


class Watchdog:
    """Ends work that makes no progress; for the main thread only, one piece of work at a time."""

    def __init__(self) -> None:
        self._fed_at = 0.0

    def feed(self) -> None:
        """Say that there was progress; costs next to nothing."""
        self._fed_at = time.monotonic()

    @contextmanager
    def watching(self, patience_s: float) -> Iterator[None]:
        """
        Do a piece of work.

        Raises:
            Stalled: nobody fed for `patience_s` seconds.

        Source: setitimer(2); a forked child has no timer of its parent's.
        """

        def look(_number: int, _frame: FrameType | None) -> None:
            left = self._fed_at + patience_s - time.monotonic()
            if left <= 0:
                raise Stalled
            signal.setitimer(signal.ITIMER_REAL, left)

        self.feed()
        before = signal.signal(signal.SIGALRM, look)
        signal.setitimer(signal.ITIMER_REAL, patience_s)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
