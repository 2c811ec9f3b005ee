"""Settings of other programs, read as their programs read them: through links, and by patterns."""

import errno
import fnmatch
import glob
import os
import stat
from collections.abc import Iterator

MAX_BYTES = 4 * 2**20


def text_of(path: str) -> str:
    """
    Return a file's text; empty where there is none, or nothing is linked there in its place.

    Raises:
        OSError: it cannot be read, is no plain file, or larger than settings are.
    """
    try:
        # A pipe must not hold us up.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    with os.fdopen(descriptor, "rb") as file:
        if os.path.realpath(path) == os.devnull:
            return ""
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, f"{path} is no plain file")
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise OSError(errno.EFBIG, f"{path} is too large for settings")
    return raw.decode("utf-8", "surrogateescape")


def matching(pattern: str) -> Iterator[str]:
    """
    Give the paths that a pattern stands for; one without wildcards stands for itself, be it there or not.

    Raises:
        OSError: the directory cannot be listed.
        ValueError: more than its last part is a pattern.
    """
    folder, _, last = pattern.rpartition("/")
    if glob.has_magic(folder):
        raise ValueError(f"the pattern {pattern} is not understood")
    if not glob.has_magic(last):
        yield pattern
        return
    try:
        names = os.listdir(folder or "/")  # noqa: PTH208 - names only
    except (FileNotFoundError, NotADirectoryError):
        return
    yield from (f"{folder}/{name}" for name in sorted(fnmatch.filter(names, last)))
