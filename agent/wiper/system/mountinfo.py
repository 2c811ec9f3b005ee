"""The kernel's list of mounts, and which of them hold local files. Pure but for one read."""

import re
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from agent.wiper.system.tools import systemd_runs
from shared.codes import Code, Trouble

_ESCAPE = re.compile(rb"\\([0-7]{3})")

STORED = frozenset(
    {"ext2", "ext3", "ext4", "xfs", "btrfs", "bcachefs", "f2fs", "jfs", "nilfs2", "reiserfs", "zfs", "overlay", "aufs"}
    | {"tmpfs", "ramfs", "devtmpfs", "hugetlbfs", "vfat", "exfat", "ntfs3", "udf", "minix", "hfsplus"}
)
"""Types whose files are looked at: disks and memory of this machine."""

VIRTUAL = frozenset(
    {"proc", "sysfs", "cgroup", "cgroup2", "securityfs", "debugfs", "tracefs", "bpf", "pstore", "efivarfs", "configfs"}
    | {"fusectl", "devpts", "mqueue", "binfmt_misc", "selinuxfs", "smackfs", "nsfs", "rpc_pipefs", "nfsd", "resctrl"}
    | {"autofs", "squashfs", "erofs", "iso9660", "cramfs", "romfs"}
)
"""Types that keep no files of users: views of the kernel (queues are looked at as kernel objects), read-only images."""


RUNTIME = "/run/user"
"""Where a user's memory file system is mounted while he is logged in. Source: user-runtime-dir@.service(5)."""


class Mount(Struct, frozen=True, kw_only=True):
    """
    One mount.

    `number` and `parent`: of this mount and of the one it stands on, in this view only; `device`: "major:minor";
    `root`: the directory of the file system that is mounted; `point`: where; `options`: of the file system; `shared`:
    whether what is unmounted on it is unmounted on its peers too. Source: proc(5), /proc/pid/mountinfo.
    """

    number: int
    parent: int
    device: str
    root: str
    point: str
    kind: str
    source: str
    options: str
    shared: bool = False

    @property
    def what(self) -> tuple[str, str, str, str]:
        """What is mounted where: the same in every view that has it."""
        return self.device, self.root, self.point, self.kind


def parse(raw: bytes) -> tuple[Mount, ...]:
    """
    Read a mountinfo file.

    Raises:
        ValueError: a line is not as documented.

    Source: proc(5), /proc/pid/mountinfo; blanks and line ends in paths are octal escapes.
    """
    mounts = []
    for line in raw.split(b"\n"):
        if not line:
            continue
        before, _, after = line.partition(b" - ")
        left, right = before.split(b" "), after.split(b" ")
        mounts.append(
            Mount(
                number=int(left[0]),
                parent=int(left[1]),
                device=left[2].decode(),
                root=_plain(left[3]),
                point=_plain(left[4]),
                kind=right[0].decode(),
                source=_plain(right[1]),
                options=_plain(right[2]),
                shared=any(field.startswith(b"shared:") for field in left[6:]),
            )
        )
    return tuple(mounts)


def current() -> tuple[Mount, ...]:
    """
    Return the mounts this process sees.

    Raises:
        OSError: /proc cannot be read.
    """
    return parse(Path("/proc/self/mountinfo").read_bytes())


def beneath(path: str, directory: str) -> bool:
    """Return whether a path is a directory or in it; both in plain form."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def on_file_system(path: str, mounts: Iterable[Mount]) -> tuple[str, str] | None:
    """Return the device and the path inside its file system that a path stands for; None when nothing is mounted."""
    best: Mount | None = None
    for mount in mounts:
        if beneath(path, mount.point) and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    if best is None:
        return None
    rest = path[len(best.point.rstrip("/")) :]
    return best.device, (best.root.rstrip("/") + rest) or "/"


def of_tenant(mounts: tuple[Mount, ...], homes: Iterable[str], uid: int) -> tuple[Mount, ...]:
    """
    Return the mounts in these directories, those made from them elsewhere, and FUSE mounts of this user.

    A bind mount has the same device as its source, so that only the root field tells it.
    """
    places = [(home, on_file_system(home, mounts)) for home in homes]
    return tuple(
        mount
        for mount in mounts
        if any(_concerns(mount, home, place) for home, place in places) or _names_user(mount, uid)
    )


def detached(mounts: tuple[Mount, ...], homes: tuple[str, ...], runtime: str, uid: int) -> tuple[Mount, ...]:
    """Return those of a tenant's mounts that a wipe detaches: not one in which a home itself lies."""
    found = of_tenant(mounts, (*homes, runtime), uid)
    return tuple(one for one in found if not any(beneath(home, one.point) for home in homes))


def _concerns(mount: Mount, home: str, place: tuple[str, str] | None) -> bool:
    if beneath(mount.point, home) or beneath(mount.source, home):
        return True
    if any(beneath(part, home) for option in mount.options.split(",") for part in option.partition("=")[2].split(":")):
        return True
    return place is not None and mount.device == place[0] and beneath(mount.root, place[1])


def _names_user(mount: Mount, uid: int) -> bool:
    return mount.kind.startswith("fuse") and f"user_id={uid}" in mount.options.split(",")


def to_look_at(mounts: tuple[Mount, ...]) -> tuple[tuple[Mount, ...], tuple[Mount, ...]]:
    """
    Return the mounts whose files are to be looked at, each part of a file system once, and those that cannot be.

    FUSE mounts are never touched, not even asked about: a hung one hangs whoever asks. Network file systems are other
    machines' too, and types not known here are not trusted to answer.
    """
    stored = [one for one in mounts if one.kind in STORED]
    chosen: list[Mount] = []
    for mount in sorted(stored, key=lambda one: len(one.root)):
        if not any(one.device == mount.device and beneath(mount.root, one.root) for one in chosen):
            chosen.append(mount)
    unknown = tuple(one for one in mounts if one.kind not in STORED | VIRTUAL)
    return tuple(chosen), unknown


def require_whole_view() -> None:
    """
    Pass if this process sees the machine as its first process does: the same mounts and the same user ids.

    A sandbox of its own would make it find clean what it cannot see, and unmount only in its own view. Only where
    systemd starts it: there such a sandbox is one line of configuration away.

    Raises:
        Trouble: `bad_configuration`.
    """
    if not systemd_runs():
        return
    views = [_root_mount(Path(f"/proc/{who}/mountinfo").read_bytes()) for who in ("self", "1")]
    ids = Path("/proc/self/uid_map").read_text("ascii").split()
    if views[0] != views[1] or ids != ["0", "0", "4294967295"]:
        raise Trouble(
            Code.BAD_CONFIGURATION,
            "the wiper was given a view of its own of the machine, and cannot say what is in the rest",
            "take PrivateTmp, ProtectSystem, PrivateUsers and the like out of rackproof-wiper@.service",
        )


def _root_mount(raw: bytes) -> bytes:
    """Return the id of the mount on "/", the last one where several are stacked."""
    return [line.split(b" ")[0] for line in raw.splitlines() if line.split(b" ")[4] == b"/"][-1]


def _plain(field: bytes) -> str:
    return _ESCAPE.sub(lambda match: bytes((int(match[1], 8),)), field).decode("utf-8", "surrogateescape")
