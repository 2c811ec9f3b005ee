"""The only door to the machine: whatever reads it reads through a `Host`, so that a recorded one can replay."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct


class Usage(Struct, frozen=True, kw_only=True):
    """
    How full a file system is. Inodes are 0 where it has no fixed number of them.

    `used_bytes` counts what root has reserved as free; `available_bytes` is what is left for everybody else.
    """

    size_bytes: int
    used_bytes: int
    available_bytes: int
    inodes: int
    inodes_free: int


class Clock(Struct, frozen=True, kw_only=True):
    """What the kernel says of its clock; null where it may not be asked. `offset_ms`: what is still to be corrected."""

    synchronized: bool | None = None
    offset_ms: float | None = None


class Own(Struct, frozen=True, kw_only=True):
    """What this process uses: resident memory in bytes, CPU seconds since its start, threads, open files."""

    resident_bytes: int
    cpu_s: float
    threads: int
    open_files: int | None = None


class Cores(Struct, frozen=True, kw_only=True):
    """How many CPUs the kernel schedules on and how many cores they are; null where it does not say."""

    logical: int | None = None
    physical: int | None = None


class Gpu(Struct, frozen=True, kw_only=True):
    """
    One GPU as NVML sees it.

    `uuid` is "index N" for one too ill to tell its own; `error` says what it answered then. `readings`: by name, the
    unit as suffix; what a model does not support is left out.
    """

    uuid: str
    model: str = ""
    pci_address: str = ""
    error: str = ""
    readings: dict[str, int | float | str | bool] = {}


class Gpus(Struct, frozen=True, kw_only=True):
    """NVML's answer: the GPUs it sees and the driver's version."""

    driver: str = ""
    gpus: tuple[Gpu, ...] = ()


class Host(Protocol):
    """
    What may be asked of a machine. Paths are absolute, as on the machine itself; a host puts its own root before them.

    Every method may block as long as the kernel does: call it from a thread with a deadline.
    """

    def text(self, path: str) -> str:
        """
        Return a file's text; bytes that are not UTF-8 are replaced.

        Raises:
            OSError: FileNotFoundError, PermissionError, or what a driver answers.
        """

    def tail(self, path: str, most_bytes: int) -> str:
        """
        Return the end of a file, such as of a log that grows for years; its first line may be cut.

        Raises:
            OSError: as for `text`.
        """

    def names(self, path: str) -> tuple[str, ...]:
        """
        Return the names in a directory, sorted.

        Raises:
            OSError: there is no such directory, or it may not be read.
        """

    def link(self, path: str) -> str:
        """
        Return where a symbolic link points, as written in it.

        Raises:
            OSError: there is no such link.
        """

    def usage(self, path: str) -> Usage:
        """
        Return how full the file system at this path is.

        Raises:
            OSError: there is no such path.
        """

    def writable(self, path: str) -> bool:
        """Return whether this process may make files in this directory; nothing is written to find out."""

    def monotonic_s(self) -> float:
        """Return seconds of a clock that never goes back."""

    def clock(self) -> Clock:
        """Return the state of the wall clock."""

    def cores(self) -> Cores:
        """Return the number of CPUs and cores."""

    def own(self) -> Own:
        """Return what this process uses."""

    def gpus(self) -> Gpus:
        """
        Ask NVML for the GPUs.

        Raises:
            GpuUnreadable: it could not be asked, did not answer in time, or refused; the text says what to do.
        """


class GpuUnreadable(Exception):  # noqa: N818 - a fact about the machine, shown as an indicator's text
    """The GPUs cannot be read: the driver or its library is missing, does not answer, or the probe died."""


class Unreadable(ValueError):  # noqa: N818 - a fact about the machine, shown as an indicator's text
    """A file does not hold what the kernel documents; the text says which and what was missing."""


def numbers(words: Sequence[str], path: str) -> tuple[float, ...]:
    """
    Return the numbers that a line of a file holds.

    Raises:
        Unreadable: one of them is none.
    """
    try:
        return tuple(float(word) for word in words)
    except ValueError:
        raise Unreadable(f"{path}: a number was expected in {' '.join(words)[:80]!r}") from None


def text_or_none(host: Host, path: str) -> str | None:
    """Return a file's text without surrounding space; None where it is missing, forbidden or its driver refuses."""
    try:
        return host.text(path).strip()
    except OSError:
        return None


def number_or_none(host: Host, path: str) -> int | None:
    """Return a file's one whole number; None where it is missing, forbidden, refused or not a number."""
    text = text_or_none(host, path)
    try:
        return int(text, 0) if text else None
    except ValueError:
        return None


def names_or_nothing(host: Host, path: str) -> tuple[str, ...]:
    """Return the names in a directory, none where it is missing or forbidden."""
    try:
        return host.names(path)
    except OSError:
        return ()


def has_link(host: Host, path: str) -> bool:
    """Return whether there is a symbolic link at this path."""
    try:
        host.link(path)
    except OSError:
        return False
    return True
