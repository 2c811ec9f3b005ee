"""
The subvolumes of a btrfs and which of them are snapshots, by the kernel's own word: no tool needs to be there.

Source: Linux, include/uapi/linux/btrfs.h and btrfs_tree.h (struct btrfs_ioctl_search_args, struct btrfs_root_item).
"""

import errno
import fcntl
import struct
from collections.abc import Iterator
from typing import NamedTuple

TREE_SEARCH = (3 << 30) | (4096 << 16) | (0x94 << 8) | 17
GET_FLAGS, SET_FLAGS, READ_ONLY = 0x8008_9419, 0x4008_941A, 2
ROOT_TREE, ROOT_ITEM = 1, 132
FIRST, LAST = 256, 2**64 - 256
"""Ids of subvolumes."""
MOST = 2**64 - 1
_KEY = struct.Struct("=7Q3I4x4Q")
_HEADER = struct.Struct("=3Q2I")
_REFERENCES_AT, _UUIDS_AT, _MADE_AT, _ROOT_BYTES = 216, 263, 339, 439
_UUID_BYTES = 16


class Subvolume(NamedTuple):
    """One subvolume. `snapshot`: made or received as a copy of another; `made_at_s`: Unix time."""

    number: int
    snapshot: bool
    made_at_s: int


def subvolumes(directory: int) -> tuple[Subvolume, ...]:
    """
    Return the subvolumes of the btrfs that an open directory is on, but for its top and those being deleted.

    Raises:
        OSError: it is no btrfs, or CAP_SYS_ADMIN is missing.
    """
    found: list[Subvolume] = []
    # The range is one of whole keys, so that items of other kinds between come too.
    start = (FIRST, ROOT_ITEM, 0)
    while True:
        number, kind, offset = start
        key = (ROOT_TREE, number, LAST, offset, MOST, 0, MOST, kind, ROOT_ITEM, 4096)
        raw = bytearray(_KEY.pack(*key, *(0,) * 4))
        raw += bytes(4096 - len(raw))
        fcntl.ioctl(directory, TREE_SEARCH, raw, True)  # noqa: FBT003 - the call's own flag
        count = int(_KEY.unpack_from(raw)[9])
        if not count:
            return tuple(found)
        for number, offset, kind, item in _items(bytes(raw), count):
            start = (number, kind, offset + 1)
            if kind == ROOT_ITEM and (one := parse(number, item)) is not None:
                found.append(one)


def make_writable(directory: int) -> None:
    """
    Make a subvolume writable that is read-only, as its owner can make it; what is no subvolume stays as it is.

    Raises:
        OSError: it stays read-only.
    """
    try:
        (flags,) = struct.unpack("=Q", fcntl.ioctl(directory, GET_FLAGS, bytes(8)))
    except OSError as error:
        if error.errno in {errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP}:
            return
        raise
    if flags & READ_ONLY:
        fcntl.ioctl(directory, SET_FLAGS, struct.pack("=Q", flags & ~READ_ONLY))


def _items(raw: bytes, count: int) -> Iterator[tuple[int, int, int, bytes]]:
    at = _KEY.size
    for _ in range(count):
        _, number, offset, kind, length = _HEADER.unpack_from(raw, at)
        at += _HEADER.size
        yield number, offset, kind, raw[at : at + length]
        at += length


def parse(number: int, item: bytes) -> Subvolume | None:
    """Read a subvolume's item; None for one that is being deleted. Items of before Linux 3.6 do not tell copies."""
    (references,) = struct.unpack_from("<I", item, _REFERENCES_AT)
    if not FIRST <= number <= LAST or not references:
        return None
    if len(item) < _ROOT_BYTES:
        return Subvolume(number, snapshot=False, made_at_s=0)
    parent, received = (item[_UUIDS_AT + at : _UUIDS_AT + at + _UUID_BYTES] for at in (0, _UUID_BYTES))
    (made,) = struct.unpack_from("<Q", item, _MADE_AT)
    return Subvolume(number, snapshot=any(parent) or any(received), made_at_s=made)
