"""
The kernel log: /dev/kmsg, read on from where the last read ended, and before that the journal.

Source: Linux, Documentation/ABI/testing/dev-kmsg; kernel/printk/printk.c.
"""

import fcntl
import os
import re
import stat
import time
from collections.abc import Callable, Iterator

import msgspec
from msgspec import Struct

from agent.host import BEFORE_ALL, KernelLogUnreadable, KernelMessage, KernelPosition, programs

DEVICE = "/dev/kmsg"
_NUMBERS = (1, 11)
"""Source: Linux, Documentation/admin-guide/devices.txt."""

REMEDY = "have systemd hand it over; rackproof-agent doctor kernel_log says how"

MOST_MESSAGES, LONGEST_S = 20_000, 0.5
"""Of one read; the rest is for the next. The usual buffer holds a few thousand, at 2 µs each."""

_RECORD_BYTES = 16_384
"""More than a record may have: 8192 until Linux 6.4, then 2048. Source: kernel/printk/, PRINTK_MESSAGE_MAX."""

_FIELDS = "MESSAGE,SYSLOG_FACILITY,_SOURCE_MONOTONIC_TIMESTAMP"
JOURNAL = (
    "journalctl",
    "--quiet",
    "--no-pager",
    "--boot",
    "--output=json",
    f"--output-fields={_FIELDS}",
    "_TRANSPORT=kernel",
)
_JOURNAL_S, _JOURNAL_BYTES = 4.0, 67_108_864
"""Once at the start, as a stream: what is not read by then is counted as lost."""

_COUNT = re.compile(r"[0-9]{1,15}")
"""In microseconds this is 30 years since boot."""

Lines = Callable[[], Iterator[bytes]]
Read = Callable[[int, int], bytes]


def parse_record(record: str) -> KernelMessage | None:
    """
    Return a record of /dev/kmsg, None for what is none.

    Bytes that are not printable ASCII stay escaped as the kernel did it, so that a text is always one line.
    """
    head, separator, rest = record.partition(";")
    fields = head.split(",")
    if not separator or len(fields) < 3 or not all(_COUNT.fullmatch(field) for field in fields[:3]):
        return None
    facility, sequence, at_us = (int(field) for field in fields[:3])
    text = rest.partition("\n")[0]
    return KernelMessage(sequence=sequence, at_us=at_us, facility=facility >> 3, text=text)


class _Entry(Struct, frozen=True):
    """A line of the journal; a message with bytes that are no text comes as numbers, one too long as null."""

    message: str | list[int] | None = msgspec.field(name="MESSAGE", default=None)
    facility: str = msgspec.field(name="SYSLOG_FACILITY", default="0")
    at_us: str = msgspec.field(name="_SOURCE_MONOTONIC_TIMESTAMP", default="")


_ENTRY = msgspec.json.Decoder(_Entry)


def parse_entry(line: bytes, sequence: int) -> KernelMessage | None:
    """
    Return an entry of the journal as a message, None for what is none of the kernel's.

    Source: systemd, journal-fields(7) and "Journal Export Formats", JSON.
    """
    try:
        entry = _ENTRY.decode(line)
    except msgspec.MsgspecError:
        return None
    if not (_COUNT.fullmatch(entry.at_us) and _COUNT.fullmatch(entry.facility)):
        return None
    text = entry.message if isinstance(entry.message, str) else ""
    return KernelMessage(sequence=sequence, at_us=int(entry.at_us), facility=int(entry.facility), text=text)


def handed_over(descriptor: int = 0) -> int | None:
    """
    Return the kernel log if it was given to this process as its standard input, else None.

    It is taken away from there: whatever the agent starts would inherit it, and could read it or take messages away.
    """
    try:
        if not _is_log(descriptor):
            return None
    except OSError:
        return None  # no standard input at all
    own = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    os.set_blocking(own, False)
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(nothing, descriptor)
    os.close(nothing)
    return own


def _is_log(descriptor: int) -> bool:
    found = os.fstat(descriptor)
    return stat.S_ISCHR(found.st_mode) and (os.major(found.st_rdev), os.minor(found.st_rdev)) == _NUMBERS


def _opened() -> int:
    """
    Open the kernel log, at its oldest record.

    Raises:
        KernelLogUnreadable: there is none, or this user may not read it.
    """
    try:
        # Where there is none something else may have its name, such as a pipe that nobody writes to.
        descriptor = os.open(DEVICE, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as error:
        raise KernelLogUnreadable(f"the kernel log may not be read by this user: {REMEDY}") from error
    except OSError as error:
        raise KernelLogUnreadable(f"there is no kernel log to be read here: {error.strerror}") from error
    if not _is_log(descriptor):
        os.close(descriptor)
        raise KernelLogUnreadable("there is no kernel log here, as in most containers")
    return descriptor


def _journal() -> Iterator[bytes]:
    """Yield what the journal has of the kernel's messages since boot, oldest first."""
    return programs.lines(*JOURNAL, deadline_s=_JOURNAL_S, most_bytes=_JOURNAL_BYTES)


class KernelLog:
    """
    Reads the kernel log of this machine.

    Args:
        descriptor: What `handed_over` gave; None to open it on the first read.
        journal: What the journal has of it.
        read: Reads a record from the descriptor.
    """

    def __init__(self, descriptor: int | None = None, journal: Lines = _journal, read: Read = os.read) -> None:
        self._descriptor = descriptor
        self._journal = journal
        self._read = read
        self._begun = False

    def messages(self, after: KernelPosition = BEFORE_ALL) -> Iterator[KernelMessage]:
        """
        Yield the messages after a position, oldest first; at most so many and for so long, the next read goes on.

        A gap in their numbers is what was overwritten before it was read. Before the first one it is filled from the
        journal, as far as that has it and may be read.

        Raises:
            KernelLogUnreadable: there is none, or this user may not read it.
            OSError: what the kernel answers else.
        """
        if self._descriptor is None:
            self._descriptor = _opened()
        for message in self._records(self._descriptor):
            begun, self._begun = self._begun, True
            if message.sequence <= after.sequence:
                continue
            if not begun and message.sequence > after.sequence + 1:
                yield from self._before(message, after)
            yield message

    def _records(self, descriptor: int) -> Iterator[KernelMessage]:
        """Yield what the kernel gives until there is nothing more, or it was enough."""
        until_s = time.monotonic() + LONGEST_S
        for count in range(MOST_MESSAGES):
            try:
                record = self._read(descriptor, _RECORD_BYTES)
            except BlockingIOError:
                return
            except BrokenPipeError:
                continue  # overwritten before it was read: the next one's number tells how many
            message = parse_record(record.decode("ascii", "replace"))
            if message is not None:
                yield message
            if count % 256 == 255 and time.monotonic() > until_s:
                return

    def _before(self, oldest: KernelMessage, after: KernelPosition) -> Iterator[KernelMessage]:
        """Yield what the journal has between a position and the oldest message the kernel still has, numbered on."""
        sequence = after.sequence + 1
        try:
            for line in self._journal():
                message = parse_entry(line, sequence)
                if message is None or message.at_us <= after.at_us:
                    continue
                if message.at_us >= oldest.at_us or sequence >= oldest.sequence:
                    return
                yield message
                sequence += 1
        except OSError:
            return  # no journal, none for this user, or not in time: what is missing is counted as lost

    def close(self) -> None:
        """Give the kernel log back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
