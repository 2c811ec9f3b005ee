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
_INFO = 6
"""The level that all messages get: it is not kept. Source: Linux, include/linux/kern_levels.h."""


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
        self._no_gpus = GpuUnreadable("no GPU was asked for")
        self._messages: list[KernelMessage] | None = None

    def answers(self) -> Answers:
        """Return what was answered besides texts; those are `files`, by path."""
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
            gpu_error=str(self._no_gpus),
            gpu_refused=self._no_gpus.refused,
            gpu_without_driver=self._no_gpus.without_driver,
            gpus_expected=self.gpus_expected(),
            failed_units=self.failed_units(),
            # How many there were is what counts; who they were is theirs.
            users=None if (users := self.users()) is None else tuple(f"user{n}" for n in range(len(users))),
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
        if "gpu_error" in self._whole:
            raise self._no_gpus
        try:
            return self._once("gpus", self._host.gpus)
        except GpuUnreadable as error:
            self._no_gpus = error
            self._whole["gpu_error"] = True
            raise

    def gpus_expected(self) -> int | None:
        """Return how many GPUs the provider says this machine has, and note it."""
        return self._once("gpus_expected", self._host.gpus_expected)

    def kernel_messages(self, after: KernelPosition) -> Iterator[KernelMessage]:
        """Yield the kernel's messages, all that there were at the first question, and note them."""
        if self._messages is None:
            self._messages = list(self._all_messages())
            self.files[DEVICE] = "".join(
                f"{one.facility << 3 | _INFO},{one.sequence},{one.at_us},-;{one.text}\n" for one in self._messages
            )
        yield from (one for one in self._messages if one.sequence > after.sequence)

    def failed_units(self) -> tuple[str, ...] | None:
        """Return the units that have failed, and note them."""
        return self._once("failed_units", self._host.failed_units)

    def users(self) -> frozenset[str] | None:
        """Return who is logged in, and note it."""
        return self._once("users", self._host.users)

    def keep(self, name: str, content: bytes) -> None:
        """Keep nothing: who records leaves no trace."""

    def recall(self, name: str) -> bytes | None:  # noqa: ARG002 - nothing is remembered under any name
        """Return nothing, as the replay does: its kernel log is read from its beginning."""
        return None

    def _all_messages(self) -> Iterator[KernelMessage]:
        """Read the kernel log to its end, which takes several questions."""
        after = BEFORE_ALL
        for _ in range(_MOST_READS):
            read = list(self._host.kernel_messages(after))
            if not read:
                return
            yield from read
            after = KernelPosition(read[-1].sequence, read[-1].at_us)

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
