"""Programs that make root of whoever starts them: setuid or setgid ones of root's, and those with capabilities."""

import errno
import os
import stat

CAPABILITY = "security.capability"
"""Source: capabilities(7), "File capabilities"."""
NAMESPACED_BYTES = 24
"""Length of capabilities that end with the user id that is root where they count. Source: struct vfs_ns_cap_data."""
NONE_HERE = frozenset({errno.ENODATA, errno.ENOTSUP, errno.ENOENT, errno.ELOOP})


def gives_power(directory: int, name: str, facts: os.stat_result) -> bool:
    """
    Return whether a file is such a program.

    Args:
        directory: A descriptor of the directory it is in.
        name: Its name there.
        facts: What it is, looked at without following a link.

    Raises:
        OSError: its attributes cannot be read.
    """
    if not stat.S_ISREG(facts.st_mode):
        return False
    grouped = facts.st_mode & stat.S_ISGID and facts.st_mode & stat.S_IXGRP
    # Of root's own only root sets these bits; some groups are as good as root.
    if facts.st_uid == 0 and (facts.st_mode & stat.S_ISUID or grouped):
        return True
    # Nobody runs what has no bit for it, and most files have none.
    return bool(facts.st_mode & 0o111) and not _is_of_a_namespace(capability(directory, name))


def _is_of_a_namespace(raw: bytes | None) -> bool:
    """Return whether capabilities are none, or count only in a user namespace, where anybody can make them."""
    return raw is None or (len(raw) == NAMESPACED_BYTES and raw[-4:] != bytes(4))


def capability(directory: int, name: str) -> bytes | None:
    """
    Return a file's capabilities as they are stored; None where it has none, or went away.

    Raises:
        OSError: they cannot be read.
    """
    try:
        return os.getxattr(f"/proc/self/fd/{directory}/{name}", CAPABILITY, follow_symlinks=False)
    except OSError as error:
        if error.errno in NONE_HERE:
            return None
        raise
