"""Mounted file systems that last: not the kernel's pseudo ones, images, or containers' layers."""

import re

from msgspec import Struct

WITHOUT_DEVICE = frozenset({"btrfs", "zfs", "bcachefs"})
"""File systems on disks whose device numbers are made up (major 0)."""

IMAGES = frozenset({"squashfs", "iso9660", "erofs", "udf", "cramfs"})
"""Read-only images: always full, and nobody's concern."""

_ESCAPE = re.compile(r"\\([0-7]{3})")


class Mount(Struct, frozen=True, kw_only=True):
    """
    A mounted file system.

    `device` is "major:minor". `read_only` is the file system's own state, not the mount's: a service's sandbox mounts
    writable file systems read-only for itself, and an ext4 with errors turns read-only beneath a writable mount.
    """

    point: str
    device: str
    kind: str
    source: str
    read_only: bool


def parse_mounts(mountinfo: str) -> tuple[Mount, ...]:
    """
    Return the lasting file systems, each once, where the most of it is mounted; in order of mount points.

    Network and FUSE file systems are left out: a dead server would block whoever asks how full they are.

    Source: proc_pid_mountinfo(5).
    """
    found: dict[str, tuple[tuple[bool, int], Mount]] = {}
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if not separator or len(fields) < 6 or len(rest) < 3:
            continue
        mount = Mount(
            point=_plain(fields[4]),
            device=fields[2],
            kind=rest[0],
            source=_plain(rest[1]),
            read_only="ro" in rest[2].split(","),
        )
        if not lasts(mount):
            continue
        name = mount.source if mount.kind in WITHOUT_DEVICE else mount.device
        rank = (fields[3] != "/", len(mount.point))
        if name not in found or rank < found[name][0]:
            found[name] = (rank, mount)
    return tuple(sorted((mount for _, mount in found.values()), key=lambda mount: mount.point))


def lasts(mount: Mount) -> bool:
    """Return whether a file system keeps data of this machine; a container's root counts, its layers elsewhere not."""
    if mount.kind in IMAGES or mount.source.startswith(("/dev/loop", "/dev/zram", "/dev/ram")):
        return False
    if mount.kind == "overlay":
        return mount.point == "/"
    return mount.kind in WITHOUT_DEVICE or not mount.device.startswith("0:")


def holding(mounts: tuple[Mount, ...], path: str) -> Mount | None:
    """Return the file system that holds a path: the one with the longest mount point above it."""
    above = [mount for mount in mounts if f"{path}/".startswith(mount.point.rstrip("/") + "/")]
    return max(above, key=lambda mount: len(mount.point), default=None)


def _plain(escaped: str) -> str:
    """Undo the kernel's octal escapes for space, tab, newline and backslash."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), escaped)
