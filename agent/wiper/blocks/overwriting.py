"""
Writing over a file's content before its name goes, where that reaches the medium; see `media.is_overwritable`.

Only files that are the tenant's alone: regular, one name, his. Others are unlinked as they are.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator

from agent.wiper.blocks.media import number_of
from agent.wiper.blocks.treated import Treated
from agent.wiper.system.kernel import flush_file_system, open_beneath
from agent.wiper.system.removal import unlock

CHUNK_BYTES = 4 * 2**20
FLUSH_BYTES = 256 * 2**20
"""Written between two flushes: a machine with much memory would else write for many minutes at the end, in one call."""
_ZEROS = bytes(CHUNK_BYTES)

Decide = Callable[[int], bool]
"""Says of an open directory whether overwriting the files of its file system means something."""


class Overwriter:
    """
    Overwrites files with zeros.

    Args:
        owns: Whose files.
        tick: Called after each chunk; a large file takes long.
        flush_bytes: How much is written between two flushes.
    """

    def __init__(self, owns: Callable[[int], bool], tick: Callable[[], None], flush_bytes: int = FLUSH_BYTES) -> None:
        self._flush_bytes = flush_bytes
        self._owns = owns
        self._tick = tick
        self._unsettled = 0
        self.bytes = 0
        self.failed = 0

    def overwrite(self, directory: int, name: str) -> None:
        """Write over what a file has on the disk, holes left out; what cannot be written is counted."""
        try:
            facts = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if self._is_his_alone(facts) and facts.st_size:
                self._write_over(directory, name, facts)
        except OSError:
            self.failed += 1

    def treated(self, directory: int) -> tuple[Treated, ...]:
        """Return what was overwritten on the file system of an open directory."""
        device = number_of(os.fstat(directory).st_dev)
        return (Treated(device=device, overwritten_bytes=self.bytes),) if self.bytes else ()

    def notes(self) -> tuple[str, ...]:
        """Return what could not be overwritten, in words."""
        return (f"not overwritten, only unlinked: {self.failed} files",) if self.failed else ()

    def settle(self, directory: int) -> None:
        """Bring it to the disk: what is unlinked before that is never written."""
        if not self._unsettled:
            return
        try:
            flush_file_system(directory)
            self.bytes += self._unsettled
        except OSError:
            self.failed += 1
        self._unsettled = 0

    def _is_his_alone(self, facts: os.stat_result) -> bool:
        return stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1 and self._owns(facts.st_uid)

    def _write_over(self, directory: int, name: str, facts: os.stat_result) -> None:
        fd = _open(directory, name)
        try:
            now = os.fstat(fd)
            if (now.st_dev, now.st_ino) != (facts.st_dev, facts.st_ino) or not self._is_his_alone(now):
                raise OSError(errno.ESTALE, "another file took this name meanwhile")
            for start, end in _extents(fd, now.st_size):
                for at in range(start, end, CHUNK_BYTES):
                    self._unsettled += os.pwrite(fd, _ZEROS[: end - at], at)
                    self._tick()
                    if self._unsettled >= self._flush_bytes:
                        self.settle(fd)
        finally:
            os.close(fd)


def _open(directory: int, name: str) -> int:
    """Open a file for writing; one that is immutable or append-only after taking that from it."""
    try:
        return open_beneath(directory, name, os.O_WRONLY | os.O_NONBLOCK)
    except PermissionError:
        fd = open_beneath(directory, name, os.O_RDONLY | os.O_NONBLOCK)
        try:
            facts = os.fstat(fd)
            if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1 or not unlock(fd):
                raise
        finally:
            os.close(fd)
        return open_beneath(directory, name, os.O_WRONLY | os.O_NONBLOCK)


def _extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Give the parts of a file that are not holes. Source: lseek(2), SEEK_DATA and SEEK_HOLE."""
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        at = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        yield start, at
