"""Where a file lies: the file system, how it is mounted, and the block devices that carry it."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from agent.host.mounts import parse_mounts
from shared.codes import Code, Trouble

IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs", "rootfs"})
LAYERED = frozenset({"overlay", "aufs", "unionfs", "ecryptfs"})
"""Their speed depends on what lies below whichever file happens to be written; it is not what tenants' files get."""
NO_NAMELESS = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT})
"""What file systems and old kernels answer that have no O_TMPFILE. Source: open(2)."""
_FLAGS = os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC
_SUGGESTED = 3


class Place(Struct, frozen=True, kw_only=True):
    """
    A file's place.

    Attributes:
        kind: The file system's type ("ext4").
        options: Its mount options, as in mountinfo.
        source: What is mounted ("/dev/sda1").
        carriers: Kernel names of the block devices below it; none where the kernel does not tell (ZFS) or they are
            another machine's (NFS).
    """

    kind: str
    options: str
    source: str
    carriers: tuple[str, ...] = ()


@contextlib.contextmanager
def nameless(folder: Path) -> Iterator[int]:
    """
    Give the descriptor of a new file without a name, open for direct I/O: whatever ends us, its space comes back.

    Where the file system cannot make one (NFS, FUSE) the name is taken away at once; a kill within these microseconds
    leaves an empty file.

    Raises:
        Trouble: `no_direct_io`; `benchmark_failed` for a directory that is missing, forbidden or read-only.
    """
    try:
        descriptor = _opened(folder)
    except OSError as error:
        code = Code.NO_DIRECT_IO if error.errno == errno.EINVAL else Code.BENCHMARK_FAILED
        raise Trouble(code, f"{folder}: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _opened(folder: Path) -> int:
    try:
        return os.open(folder, _FLAGS | os.O_TMPFILE, 0o600)
    except OSError as error:
        if error.errno not in NO_NAMELESS or not folder.is_dir():
            raise
    return unnamed(folder)


def unnamed(folder: Path) -> int:
    """Make a file with a name, take the name away, and return a descriptor for direct I/O; raises `OSError`."""
    made, name = tempfile.mkstemp(prefix=".rackproof-benchmark-", dir=folder)
    try:
        # The very file, and not what somebody else may have put under its name meanwhile.
        return os.open(f"/proc/self/fd/{made}", _FLAGS)
    finally:
        os.close(made)
        os.unlink(name)  # noqa: PTH108 - mkstemp gives text


def look(descriptor: int, folder: Path) -> Place:
    """
    Return the place of an open file.

    Raises:
        Trouble: `no_direct_io`: it is in memory, or on layers; the words name directories that would do.
    """
    mountinfo = Path("/proc/self/mountinfo").read_text()
    place, device = mounted(mountinfo, _mount_id(descriptor))
    if place.kind in IN_MEMORY | LAYERED:
        what = "memory" if place.kind in IN_MEMORY else "a container's layers"
        raise Trouble(Code.NO_DIRECT_IO, f"{folder} is on {place.kind}, {what}; {_suggestion(mountinfo)}")
    return Place(kind=place.kind, options=place.options, source=place.source, carriers=carriers(device, place.source))


def _mount_id(descriptor: int) -> str:
    """Return the id of the mount that a descriptor was opened through. Source: proc_pid_fdinfo(5)."""
    lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("mnt_id:"))


def mounted(mountinfo: str, mount_id: str) -> tuple[Place, str]:
    """Return a mount and its device number ("8:1"), by its id. Source: proc_pid_mountinfo(5)."""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if fields[0] == mount_id:
            return Place(kind=rest[0], options=f"{fields[5]},{rest[2]}", source=rest[1]), fields[2]
    return Place(kind="unknown", options="", source=""), ""


def carriers(device: str, source: str, sys: Path = Path("/sys")) -> tuple[str, ...]:
    """
    Return the kernel's names of the block devices below a file system.

    A btrfs has a device number of no device; it lists all of its devices, of which the mount names one.

    Args:
        device: "major:minor" of the mount.
        source: What is mounted.
        sys: Where sysfs is.
    """
    link = sys / "dev/block" / device
    if device and link.exists():
        return (link.resolve().name,)
    named = Path(source).resolve().name
    for folder in sys.glob("fs/btrfs/*/devices"):
        names = tuple(sorted(one.name for one in folder.iterdir()))
        if named in names:
            return names
    return ()


def _suggestion(mountinfo: str) -> str:
    """Return words about which directory to name instead: one on a disk."""
    points = [
        one.point
        for one in parse_mounts(mountinfo)
        if one.kind != "overlay" and not one.read_only and Path(one.point).is_dir()
    ]
    if not points:
        return "name a directory on the disk that tenants get"
    return f"name a directory on the disk that tenants get, below {', '.join(points[:_SUGGESTED])}"
