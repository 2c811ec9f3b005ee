"""The only door to the machine: whatever reads it reads through a `Host`, so that a recorded one can replay."""

from collections.abc import Iterator, Sequence
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

    Attributes:
        uuid: "index N" for one too ill to tell its own.
        model: NVML's name.
        pci_address: As the kernel writes it.
        error: What it answered instead of readings, or of some of them.
        readings: By name, the unit as suffix; what a model does not support is left out.
        counters: Nanoseconds that only grow, by name; "at_ns" is the moment they were read at.
    """

    uuid: str
    model: str = ""
    pci_address: str = ""
    error: str = ""
    readings: dict[str, int | float | str | bool] = {}
    counters: dict[str, float] = {}


SHORT_UUID = len("GPU-8932f937")
"""Enough of a UUID to name a GPU of one machine; in full it would be half of every report.

Source: CUDA C++ Programming Guide, CUDA_VISIBLE_DEVICES, which takes the same abbreviation."""


class Gpus(Struct, frozen=True, kw_only=True):
    """
    NVML's answer: the GPUs it sees and the driver's version.

    Attributes:
        driver: Version.
        gpus: In NVML's order; those that no longer answer as they were known before.
        probe: "ok", or what happened to the process that asks NVML.
        restarts: How often that process had to be replaced.
        complete: Whether the question was answered to its end; else GPUs may be missing that are well.
    """

    driver: str = ""
    gpus: tuple[Gpu, ...] = ()
    probe: str = "ok"
    restarts: int = 0
    complete: bool = True


PATIENCE_S = 30.0
"""The first answer loads the driver when nobody else holds it: 1 to 3 s for each GPU, of which there may be 10."""


class KernelMessage(Struct, frozen=True, kw_only=True):
    """
    A message of the kernel log.

    Attributes:
        sequence: Its number since boot.
        at_us: Microseconds since boot.
        facility: 0 for the kernel's own; whatever a program wrote into the log has another.
        text: The message, escaped so that it is one line.

    Source: Linux, Documentation/ABI/testing/dev-kmsg; kernel/printk/printk.c, devkmsg_write(): a program's facility is
    never 0.
    """

    sequence: int
    at_us: int
    facility: int
    text: str


class KernelPosition(Struct, frozen=True):
    """How far the kernel log has been read: number and time of the last message."""

    sequence: int
    at_us: int


BEFORE_ALL = KernelPosition(-1, -1)
"""The position before the first message since boot."""


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

    def gpus(self, wait_s: float = PATIENCE_S) -> Gpus:
        """
        Ask NVML for the GPUs.

        Args:
            wait_s: How long to wait for a fresh answer; then the newest there is.

        Raises:
            GpuUnreadable: it could not be asked, did not answer in time, or refused; the text says what to do.
        """

    def gpus_expected(self) -> int | None:
        """Return how many GPUs the provider says this machine has; None where nothing is said."""

    def kernel_messages(self, after: KernelPosition) -> Iterator[KernelMessage]:
        """
        Yield the kernel's messages after a position, oldest first; what was overwritten leaves a gap in their numbers.

        One call gives a bounded number of them, the next goes on.

        Raises:
            KernelLogUnreadable: there is none, or it may not be read.
        """

    def failed_units(self) -> tuple[str, ...] | None:
        """Return the names of the units that the service manager calls failed; None where there is none to ask."""

    def users(self) -> frozenset[str] | None:
        """Return the names of the users who are logged in; None where nobody keeps count."""

    def keep(self, name: str, content: bytes) -> None:
        """Keep something over a restart of the agent, if that can be done."""

    def recall(self, name: str) -> bytes | None:
        """Return what was kept under this name; None where nothing was, or it cannot be read."""


class GpuUnreadable(Exception):  # noqa: N818 - a fact about the machine, shown as an indicator's text
    """
    The GPUs cannot be read: the driver or its library is missing, does not answer, or the probe died.

    Args:
        words: What happened and what to do.
        restarts: How often the process that asks NVML had to be replaced.
        refused: NVML itself said so: it sees no GPU. Else nothing is known of what it would see.
        without_driver: The driver or its library is missing.
    """

    def __init__(self, words: str, *, restarts: int = 0, refused: bool = False, without_driver: bool = False) -> None:
        super().__init__(words)
        self.restarts = restarts
        self.refused = refused
        self.without_driver = without_driver


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


class KernelLogUnreadable(Exception):  # noqa: N818 - a fact about the machine, shown as an indicator's text
    """There is no kernel log here, or this user may not read it; the text says what to do."""


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
