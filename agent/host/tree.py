"""Files under one root, so that a recorded /proc and /sys can stand for the machine's."""

import errno
import os

_CHUNK_BYTES = 65_536
MOST_BYTES = 32 * 2**20
"""Far beyond any file that says how a machine is; whoever was root may have left one that fills the memory."""

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
"""Without waiting: a pipe in the place of a file would never be opened."""


class Tree:
    """
    A file tree read only by absolute paths below its root.

    Args:
        root: Put before every path; empty for the machine itself.
    """

    def __init__(self, root: str = "") -> None:
        self._root = root

    def text(self, path: str) -> str:
        """
        Return a file's text; bytes that are not UTF-8 are replaced.

        Raises:
            OSError: it cannot be read, or is too large to be what it should.
        """
        descriptor = os.open(self._root + path, _READ)
        try:
            chunks, size = [], 0
            # /proc and /sys tell no size beforehand, and may give less than asked for.
            while chunk := os.read(descriptor, _CHUNK_BYTES):
                chunks.append(chunk)
                size += len(chunk)
                if size > MOST_BYTES:
                    raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
        finally:
            os.close(descriptor)
        return b"".join(chunks).decode(errors="replace")

    def tail(self, path: str, most_bytes: int) -> str:
        """Return the end of a file; its first line may be cut."""
        descriptor = os.open(self._root + path, _READ)
        try:
            start = max(0, os.fstat(descriptor).st_size - most_bytes)
            return os.pread(descriptor, most_bytes, start).decode(errors="replace")
        finally:
            os.close(descriptor)

    def names(self, path: str) -> tuple[str, ...]:
        """Return the names in a directory, sorted; those that are not printable text are left out."""
        listed = os.listdir(self._root + path)  # noqa: PTH208 - names are wanted, a Path for each would cost more
        return tuple(sorted(name for name in listed if name.isprintable()))

    def link(self, path: str) -> str:
        """Return where a symbolic link points, as written in it."""
        return os.readlink(self._root + path)  # noqa: PTH115 - paths are text here, a Path would cost more than the call
