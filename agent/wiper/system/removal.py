"""Taking names away: only unlink and rmdir, by descriptor; nothing is written, truncated, given or followed."""

import errno
import os
import stat
from collections.abc import Callable

from agent.wiper.system.kernel import APPEND_ONLY, IMMUTABLE, inode_flags, open_beneath, set_inode_flags

LOCKED = IMMUTABLE | APPEND_ONLY


def remove(directory: int, name: str, *, folder: bool, ours: Callable[[int], bool]) -> None:
    """
    Take one name out of a directory, lifting the immutable and append-only flags that are in the way.

    A file that has other names too gets its flags back: they may be somebody else's.

    Args:
        directory: A descriptor.
        name: An entry of it.
        folder: Whether it is an (empty) directory.
        ours: Whether a directory of this owner may be unlocked to take a name out of it.

    Raises:
        OSError: it is still there; ENOTEMPTY, EBUSY (something is mounted on it), EPERM, EROFS.
    """
    take = os.rmdir if folder else os.unlink
    try:
        take(name, dir_fd=directory)
    except FileNotFoundError:
        return
    except PermissionError as error:
        if error.errno != errno.EPERM:
            raise
        if ours(os.fstat(directory).st_uid):
            unlock(directory)
        _remove_locked(directory, name, folder=folder)


def _remove_locked(directory: int, name: str, *, folder: bool) -> None:
    take = os.rmdir if folder else os.unlink
    fd = _open_for_flags(directory, name)
    if fd is None:
        take(name, dir_fd=directory)
        return
    try:
        before = unlock(fd)
        try:
            take(name, dir_fd=directory)
        finally:
            if before and not folder and os.fstat(fd).st_nlink > 0:
                set_inode_flags(fd, before)
    finally:
        os.close(fd)


def _open_for_flags(directory: int, name: str) -> int | None:
    """Open a regular file or directory; devices, fifos, sockets and links are never opened and have no flags."""
    facts = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if not (stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode)):
        return None
    fd = open_beneath(directory, name, os.O_RDONLY | os.O_NONBLOCK)
    now = os.fstat(fd)
    if (now.st_dev, now.st_ino) != (facts.st_dev, facts.st_ino):
        os.close(fd)
        raise OSError(errno.ESTALE, "another file took this name meanwhile")
    return fd


def unlock(fd: int) -> int:
    """Lift the immutable and append-only flags of an open file; return the flags as they were, 0 if none was set."""
    try:
        flags = inode_flags(fd)
    except OSError as error:
        if error.errno in {errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL}:
            return 0
        raise
    if not flags & LOCKED:
        return 0
    set_inode_flags(fd, flags & ~LOCKED)
    return flags
