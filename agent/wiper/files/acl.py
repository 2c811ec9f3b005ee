"""
Access lists of files: which entries are a tenant's, and the list without them. Pure but for the two calls.

Source: Linux, include/uapi/linux/posix_acl_xattr.h and posix_acl.h; acl(5).
"""

import os
import struct
from collections.abc import Callable

NAMES = ("system.posix_acl_access", "system.posix_acl_default")
VERSION = struct.pack("<I", 2)
USER, GROUP = 0x02, 0x08
_ENTRY = struct.Struct("<HHI")


def without(raw: bytes, owns: Callable[[int], bool], gid: int | None) -> bytes:
    """
    Return an access list without the entries that name these users or this group; the same bytes when none does.

    Raises:
        ValueError: it is of another form than this kernel's.
    """
    if raw[:4] != VERSION or (len(raw) - 4) % _ENTRY.size:
        raise ValueError("an access list of an unknown form")
    entries = (raw[at : at + _ENTRY.size] for at in range(4, len(raw), _ENTRY.size))
    return VERSION + b"".join(entry for entry in entries if not _is_his(entry, owns, gid))


def _is_his(entry: bytes, owns: Callable[[int], bool], gid: int | None) -> bool:
    tag, _, identifier = _ENTRY.unpack(entry)
    return (tag == USER and owns(identifier)) or (tag == GROUP and identifier == gid)


def read(path: str, name: str) -> bytes | None:
    """Return a file's access list, following no link at its end; None where it has none."""
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError:  # no list, a file system without lists, or gone
        return None


def write(path: str, name: str, raw: bytes) -> None:
    """Replace a file's access list. Raises OSError."""
    os.setxattr(path, name, raw, follow_symlinks=False)
