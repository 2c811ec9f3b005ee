"""A machine replayed from a folder: its files, and the answers that do not come from files."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from agent.host import (
    PATIENCE_S,
    Clock,
    Cores,
    Gpus,
    GpuUnreadable,
    KernelLogUnreadable,
    KernelMessage,
    KernelPosition,
    Own,
    Usage,
)
from agent.host.kernel import DEVICE, parse_record
from agent.host.tree import Tree


class Answers(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    What `machine.json` of a recording holds.

    Attributes:
        links: Symbolic links by path, so that a recording has none itself and survives any archive.
        forbidden: Paths that this machine's agent may not read.
        listings: Names in directories of which not every entry was recorded; the folder's own stand for the others.
        refused: By question ("text", "names", "link", "usage") and path: the number of the error that was answered.
        usage: File systems by mount point.
        gpus: NVML's answer; `gpu_error` when it refused, and whether it was NVML itself and for want of a driver.
        gpus_expected: How many GPUs the provider said there are.
        monotonic_s: The moment of the recording.
        failed_units: What the service manager said; null where there is none.
        users: Who was logged in.
        kernel_log_error: Why there is no kernel log, where there is none.
    """

    links: dict[str, str] = {}
    forbidden: tuple[str, ...] = ()
    listings: dict[str, tuple[str, ...]] = {}
    refused: dict[str, dict[str, int]] = {}
    usage: dict[str, Usage] = {}
    writable: tuple[str, ...] = ()
    monotonic_s: float = 1000.0
    clock: Clock = Clock()
    cores: Cores = Cores()
    own: Own = Own(resident_bytes=0, cpu_s=0.0, threads=1)
    gpus: Gpus | None = None
    gpu_error: str = "no GPU was recorded"
    gpu_refused: bool = True
    gpu_without_driver: bool = True
    gpu_restarts: int = 0
    gpus_expected: int | None = None
    failed_units: tuple[str, ...] | None = None
    users: tuple[str, ...] | None = None
    kernel_log_error: str = "no kernel log was recorded"


class RecordedHost(Tree):
    """
    A recorded machine.

    Args:
        folder: Holds the files by their paths ("proc/stat") and `machine.json`.

    Raises:
        OSError: there is no recording in the folder.
        msgspec.MsgspecError: `machine.json` is not one.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self._answers = msgspec.json.decode((folder / "machine.json").read_bytes(), type=Answers)

    def text(self, path: str) -> str:
        """Return a recorded file's text."""
        self._refuse("text", path)
        if path in self._answers.forbidden:
            raise PermissionError(13, "Permission denied", path)
        try:
            return super().text(path)
        except IsADirectoryError as error:
            raise FileNotFoundError(2, "No such file or directory", path) from error

    def tail(self, path: str, most_bytes: int) -> str:
        """Return the end of a recorded file."""
        return self.text(path)[-most_bytes:]

    def names(self, path: str) -> tuple[str, ...]:
        """Return the names in a recorded directory."""
        self._refuse("names", path)
        return self._answers.listings[path] if path in self._answers.listings else super().names(path)

    def link(self, path: str) -> str:
        """Return where a recorded link points."""
        self._refuse("link", path)
        try:
            return self._answers.links[path]
        except KeyError as error:
            raise FileNotFoundError(2, "No such file or directory", path) from error

    def usage(self, path: str) -> Usage:
        """Return how full a recorded file system was."""
        self._refuse("usage", path)
        try:
            return self._answers.usage[path]
        except KeyError as error:
            raise FileNotFoundError(2, "No such file or directory", path) from error

    def writable(self, path: str) -> bool:
        """Return whether the recorded agent could make files here."""
        return path in self._answers.writable

    def monotonic_s(self) -> float:
        """Return the moment of the recording."""
        return self._answers.monotonic_s

    def clock(self) -> Clock:
        """Return the recorded state of the clock."""
        return self._answers.clock

    def cores(self) -> Cores:
        """Return the recorded number of CPUs and cores."""
        return self._answers.cores

    def own(self) -> Own:
        """Return what the recorded agent used."""
        return self._answers.own

    def gpus(self, wait_s: float = PATIENCE_S) -> Gpus:  # noqa: ARG002 - a recording answers at once
        """Return NVML's recorded answer."""
        if self._answers.gpus is None:
            raise GpuUnreadable(
                self._answers.gpu_error,
                restarts=self._answers.gpu_restarts,
                refused=self._answers.gpu_refused,
                without_driver=self._answers.gpu_without_driver,
            )
        return self._answers.gpus

    def gpus_expected(self) -> int | None:
        """Return how many GPUs the recorded provider said there are."""
        return self._answers.gpus_expected

    def kernel_messages(self, after: KernelPosition) -> Iterator[KernelMessage]:
        """Yield the recorded messages of the kernel: records of /dev/kmsg, one after the other."""
        try:
            records = self.text(DEVICE).split("\n")
        except OSError as error:
            raise KernelLogUnreadable(self._answers.kernel_log_error) from error
        for record in records:
            message = parse_record(record)
            if message is not None and message.sequence > after.sequence:
                yield message

    def failed_units(self) -> tuple[str, ...] | None:
        """Return the units that had failed."""
        return self._answers.failed_units

    def users(self) -> frozenset[str] | None:
        """Return who was logged in."""
        return None if self._answers.users is None else frozenset(self._answers.users)

    def keep(self, name: str, content: bytes) -> None:
        """Keep nothing: a recording is not changed by being read."""

    def recall(self, name: str) -> bytes | None:  # noqa: ARG002 - nothing was kept under any name
        """Return nothing: every read of a recording is the first."""
        return None

    def _refuse(self, question: str, path: str) -> None:
        """Answer with the error that was recorded, where one was."""
        number = self._answers.refused.get(question, {}).get(path)
        if number is not None:
            raise OSError(number, os.strerror(number), path)
