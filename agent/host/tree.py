"""Files under one root, so that a recorded /proc and /sys can stand for the machine's."""

import os

_CHUNK_BYTES = 65_536


class Tree:
    """
    A file tree read only by absolute paths below its root.

    Args:
        root: Put before every path; empty for the machine itself.
    """

    def __init__(self, root: str = "") -> None:
        self._root = root

    def text(self, path: str) -> str:
        """Return a file's text; bytes that are not UTF-8 are replaced."""
        descriptor = os.open(self._root + path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            chunks = []
            # /proc and /sys tell no size beforehand, and may give less than asked for.
            while chunk := os.read(descriptor, _CHUNK_BYTES):
                chunks.append(chunk)
        finally:
            os.close(descriptor)
        return b"".join(chunks).decode(errors="replace")

    def tail(self, path: str, most_bytes: int) -> str:
        """Return the end of a file; its first line may be cut."""
        descriptor = os.open(self._root + path, os.O_RDONLY | os.O_CLOEXEC)
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
