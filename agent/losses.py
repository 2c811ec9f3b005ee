"""Numbers of reports that could not be kept, so that the collector can be told exactly which are missing, and why."""

import os
from pathlib import Path

import msgspec
import structlog

from shared.messages import MOST_LOST, Lost

ROOM_BYTES = 4096
"""Taken while there is room, as the ballast is: what is written into it later needs none. One block on most disks."""

log = structlog.get_logger()

_Row = tuple[int, int, str]


class Losses:
    """
    Ranges of numbers, in memory and in a small file whose room is taken beforehand.

    What cannot be written stays in memory: then only a restart of the agent forgets it.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ranges = _read(path)
        if not path.exists():
            self._write()

    @property
    def last(self) -> int:
        """The highest number that was lost; 0 where none was."""
        return max((one.last for one in self._ranges), default=0)

    def add(self, first: int, last: int, reason: str) -> None:
        """Note numbers, both ends included, that no report will come for."""
        older = [one for one in self._ranges if one.last < first]
        newer = [one for one in self._ranges if one.first > last]
        within = [one for one in self._ranges if one not in older and one not in newer]
        if older and older[-1].last == first - 1 and older[-1].reason == reason:
            first = older.pop().first
        first = min([first, *(one.first for one in within)])
        last = max([last, *(one.last for one in within)])
        # Past the most, the oldest go: the collector still sees that they are missing, and not why.
        self._ranges = [*older, Lost(first=first, last=last, reason=reason), *newer][-MOST_LOST:]
        self._write()

    def before(self, seq: int) -> tuple[Lost, ...]:
        """Return the ranges right before a report's number, without a break between them and it."""
        found: list[Lost] = []
        for one in reversed(self._ranges):
            if one.last == (found[-1].first if found else seq) - 1:
                found.append(one)
        return tuple(reversed(found))

    def forget(self, up_to_seq: int) -> None:
        """Drop what was told with the reports that the collector has committed."""
        kept = [one for one in self._ranges if one.last >= up_to_seq]
        if len(kept) != len(self._ranges):
            self._ranges = kept
            self._write()

    def _write(self) -> None:
        rows: list[_Row] = [(one.first, one.last, one.reason) for one in self._ranges]
        body = msgspec.json.encode(rows).ljust(ROOM_BYTES)
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, ROOM_BYTES)
                os.pwrite(descriptor, body, 0)
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            log.warning("losses.not_written", path=str(self._path), error=error.strerror)


def _read(path: Path) -> list[Lost]:
    try:
        rows = msgspec.json.decode(path.read_bytes().strip(b" \0") or b"[]", type=list[_Row])
    except FileNotFoundError:
        return []
    except (OSError, msgspec.MsgspecError) as error:
        # The numbers stay missing at the collector; only why is lost.
        log.warning("losses.not_read", path=str(path), error=str(error))
        return []
    return sorted(
        (Lost(first=first, last=last, reason=reason) for first, last, reason in rows), key=lambda one: one.last
    )
