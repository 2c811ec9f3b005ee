"""Disks: which there are, of what kind, and which of them carry a file system."""

import re

from msgspec import Struct

from agent.host import Host, has_link, names_or_nothing, number_or_none, text_or_none
from agent.host.hwmon import chips
from agent.host.mounts import Mount

SECTOR_BYTES = 512
"""The kernel's unit in /sys/block and /proc/diskstats, whatever the disk's own. Source: Linux, block/stat.rst."""

_NOT_A_DISK = re.compile(r"sr\d+|fd\d+|mtdblock\d+|mmcblk\d+boot\d+|nvme\d+c\d+n\d+")
"""Drives of removable media, flash partitions, and the hidden single paths of a multipath NVMe disk."""

_VIRTUAL = re.compile(r"x?vd[a-z]+")
"""Disks of a hypervisor, by its paravirtual drivers."""

_NVME_DISK = re.compile(r"nvme\d+(?:c\d+)?n\d+")
_PATH = re.compile(r"(nvme\d+)c\d+(n\d+)")

_WORST_FIRST = ("HDD", "SSD", "NVMe")


class Disk(Struct, frozen=True, kw_only=True):
    """A disk, or an array of them. `kind` is "NVMe", "SSD" or "HDD"; None where it cannot be told."""

    name: str
    kind: str | None
    size_bytes: int


def disk_names(host: Host) -> tuple[str, ...]:
    """Return the names of the disks: block devices with hardware (or a hypervisor) behind them."""
    names = names_or_nothing(host, "/sys/block")
    return tuple(
        name for name in names if not _NOT_A_DISK.fullmatch(name) and has_link(host, f"/sys/block/{name}/device")
    )


def kind_of(name: str, rotational: str | None) -> str | None:
    """
    Return a disk's kind; None for a hypervisor's disk that only carries the kernel's default, "rotational".

    Source: Linux, Documentation/ABI/stable/sysfs-block, queue/rotational: 1 for media that spin; drivers/block/
    virtio_blk.c and xen-blkfront.c, which do not know the medium and leave the default.
    """
    if name.startswith("nvme"):
        return "NVMe"
    if rotational is None or (rotational == "1" and _VIRTUAL.fullmatch(name)):
        return None
    return "HDD" if rotational == "1" else "SSD"


def disk(host: Host, name: str) -> Disk:
    """Return one disk or array by its kernel name."""
    return Disk(
        name=name,
        kind=kind_of(name, text_or_none(host, f"/sys/block/{name}/queue/rotational")),
        size_bytes=(number_or_none(host, f"/sys/block/{name}/size") or 0) * SECTOR_BYTES,
    )


def carrying(host: Host, mount: Mount) -> Disk | None:
    """
    Return the disk that carries a file system, through partitions, encryption and volumes.

    An array of several disks is returned as one, of the kind of its slowest member.
    """
    name = _block_name(host, mount)
    while name is not None:
        whole = _whole(host, name)
        members = names_or_nothing(host, f"/sys/block/{whole}/slaves")
        if len(members) > 1:
            return _array(host, whole, members)
        if not members:
            return disk(host, whole)
        name = members[0]
    return None


def _block_name(host: Host, mount: Mount) -> str | None:
    """Return the kernel's name of the block device a file system is on; None where it is on none."""
    for path in (f"/sys/dev/block/{mount.device}", f"/sys/class/block/{mount.source.rpartition('/')[2]}"):
        if has_link(host, path):
            return host.link(path).rpartition("/")[2]
    return None


def _whole(host: Host, name: str) -> str:
    """Return the disk of a partition; the name itself if it is not one. A partition lies in its disk's directory."""
    path = f"/sys/class/block/{name}"
    if text_or_none(host, f"{path}/partition") is None or not has_link(host, path):
        return name
    return host.link(path).split("/")[-2]


def _array(host: Host, name: str, members: tuple[str, ...]) -> Disk:
    """Return an array with the kind of its slowest member."""
    kinds = {disk(host, _whole(host, member)).kind for member in members}
    return Disk(
        name=name,
        kind=None if None in kinds else next(kind for kind in _WORST_FIRST if kind in kinds),
        size_bytes=(number_or_none(host, f"/sys/block/{name}/size") or 0) * SECTOR_BYTES,
    )


def temperature_files(host: Host) -> dict[str, str]:
    """
    Return the sensor's file of every disk that has one, by disk.

    Source: Linux, Documentation/hwmon/drivetemp.rst; drivers/nvme/host/hwmon.c, whose parent is the controller: its
    disk is the first of its namespaces, a hidden path of it ("nvme0c0n1") stands for the shared one ("nvme0n1").
    """
    found: dict[str, str] = {}
    for folder, driver in chips(host, {"nvme", "drivetemp"}):
        names = names_or_nothing(host, f"{folder}/device" if driver == "nvme" else f"{folder}/device/block")
        disks = [_PATH.sub(r"\1\2", name) for name in names if driver == "drivetemp" or _NVME_DISK.fullmatch(name)]
        found.update(dict.fromkeys(disks[:1], f"{folder}/temp1_input"))
    return found
