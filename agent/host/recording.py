"""A machine that is recorded while it is read: whatever is asked of it is noted, so that `recorded` can replay it."""

import errno
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

from agent.host import (
    BEFORE_ALL,
    PATIENCE_S,
    Clock,
    Cores,
    Gpus,
    GpuUnreadable,
    Host,
    KernelLogUnreadable,
    KernelMessage,
    KernelPosition,
    Own,
    Usage,
)
from agent.host.kernel import DEVICE
from agent.host.recorded import Answers

T = TypeVar("T")

_NOTHING_THERE = frozenset({errno.ENOENT, errno.ENOTDIR})
"""What a replay answers by itself for whatever it does not have."""
_MOST_READS = 100
"""Of the kernel log, each a bounded number of messages: more than its memory holds."""


class RecordingHost:
    """
    A machine that stands still: each question is put to it once, and its first answer is given from then on.

    So what was made of it, and what is made of its recording, is the same.

    Args:
        host: The machine itself.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self.files: dict[str, str] = {}
        self._listings: dict[str, tuple[str, ...]] = {}
        self._links: dict[str, str] = {}
        self._usage: dict[str, Usage] = {}
        self._refused: dict[str, dict[str, int]] = {}
        self._writable: dict[str, bool] = {}
        self._whole: dict[str, object] = {}
        self._gpu_error: GpuUnreadable | None = None
        self._kernel_log_error = "the kernel log was not asked for"

    def answers(self) -> Answers:
        """Return what was answered besides texts; those are `files`, by path."""
        unreadable = self._gpu_error or GpuUnreadable("no GPU was asked for")
        return Answers(
            links=dict(self._links),
            listings=dict(self._listings),
            refused={question: dict(numbers) for question, numbers in self._refused.items()},
            usage=dict(self._usage),
            writable=tuple(path for path, answer in self._writable.items() if answer),
            monotonic_s=self.monotonic_s(),
            clock=self.clock(),
            cores=self.cores(),
            own=self.own(),
            gpus=self._whole.get("gpus"),  # type: ignore[arg-type]  # what `gpus` put there
            gpu_error=str(unreadable),
            gpu_refused=unreadable.refused,
            gpu_without_driver=unreadable.without_driver,
            gpu_restarts=unreadable.restarts,
            gpus_expected=self.gpus_expected(),
            failed_units=self._whole.get("failed_units"),  # type: ignore[arg-type]
            users=None if self._whole.get("users") is None else tuple(sorted(self.users() or ())),
            kernel_log_error=self._kernel_log_error,
        )

    def text(self, path: str) -> str:
        """Return a file's text, and note it."""
        return self._noted("text", self.files, path, self._host.text)

    def tail(self, path: str, most_bytes: int) -> str:
        """Return the end of a file, and note it as the whole."""
        return self._noted("text", self.files, path, lambda path: self._host.tail(path, most_bytes))

    def names(self, path: str) -> tuple[str, ...]:
        """Return the names in a directory, and note them."""
        return self._noted("names", self._listings, path, self._host.names)

    def link(self, path: str) -> str:
        """Return where a symbolic link points, and note it."""
        return self._noted("link", self._links, path, self._host.link)

    def usage(self, path: str) -> Usage:
        """Return how full a file system is, and note it."""
        return self._noted("usage", self._usage, path, self._host.usage)

    def writable(self, path: str) -> bool:
        """Return whether files can be made in a directory, and note it."""
        if path not in self._writable:
            self._writable[path] = self._host.writable(path)
        return self._writable[path]

    def monotonic_s(self) -> float:
        """Return the moment of the recording: no time passes in it."""
        return self._once("monotonic_s", self._host.monotonic_s)

    def clock(self) -> Clock:
        """Return the state of the wall clock, and note it."""
        return self._once("clock", self._host.clock)

    def cores(self) -> Cores:
        """Return the number of CPUs and cores, and note it."""
        return self._once("cores", self._host.cores)

    def own(self) -> Own:
        """Return what this process uses, and note it."""
        return self._once("own", self._host.own)

    def gpus(self, wait_s: float = PATIENCE_S) -> Gpus:  # noqa: ARG002 - the one answer is worth waiting for
        """Ask NVML for the GPUs, and note its answer, or why there was none."""
        if self._gpu_error is not None:
            raise self._gpu_error
        try:
            return self._once("gpus", self._host.gpus)
        except GpuUnreadable as error:
            self._gpu_error = error
            raise

    def gpus_expected(self) -> int | None:
        """Return how many GPUs the provider says there are, and note it."""
        return self._once("gpus_expected", self._host.gpus_expected)

    def kernel_messages(self, after: KernelPosition) -> Iterator[KernelMessage]:
        """Yield the kernel's messages after a position; all that it has are noted, or why there are none."""
        yield from (message for message in self._once("kernel", self._kernel) if message.sequence > after.sequence)

    def _kernel(self) -> tuple[KernelMessage, ...]:
        """Read the kernel's log to its end, which takes several questions."""
        messages: list[KernelMessage] = []
        after = BEFORE_ALL
        try:
            for _ in range(_MOST_READS):
                read = tuple(self._host.kernel_messages(after))
                if not read:
                    break
                messages += read
                after = KernelPosition(read[-1].sequence, read[-1].at_us)
        except KernelLogUnreadable as error:
            self._kernel_log_error = str(error)
            raise
        lines = (f"{one.facility << 3},{one.sequence},{one.at_us},-;{one.text}\n" for one in messages)
        self.files[DEVICE] = "".join(lines)
        return tuple(messages)

    def failed_units(self) -> tuple[str, ...] | None:
        """Return the units that failed, and note them."""
        return self._once("failed_units", self._host.failed_units)

    def users(self) -> frozenset[str] | None:
        """Return who is logged in, and note it."""
        return self._once("users", self._host.users)

    def keep(self, name: str, content: bytes) -> None:
        """Keep nothing: what the running agent has kept is not this process's to change."""

    def recall(self, name: str) -> bytes | None:  # noqa: ARG002 - nothing was kept under any name
        """Return nothing: a recording begins at the beginning."""
        return None

    def _noted(self, question: str, answers: dict[str, T], path: str, ask: Callable[[str], T]) -> T:
        """Answer as before, or ask, and note the answer or the error."""
        if path in answers:
            return answers[path]
        refused = self._refused.setdefault(question, {})
        if path in refused:
            raise OSError(refused[path], os.strerror(refused[path]), path)
        try:
            answers[path] = ask(path)
        except OSError as error:
            if error.errno not in _NOTHING_THERE:
                refused[path] = error.errno or errno.EIO
            raise
        return answers[path]

    def _once(self, name: str, ask: Callable[[], T]) -> T:
        if name not in self._whole:
            self._whole[name] = ask()
        return self._whole[name]  # type: ignore[return-value]  # of the same question's type
