"""
Copies of whole file systems that this machine keeps: what there is, and since when. Nothing is ever deleted.

Of each mechanism: None where the machine has none of it, else how many copies were made since a moment. Snapper makes
btrfs or LVM snapshots, so that it needs not be asked; backups that restic, borg and others send away cannot be known.
"""

import errno
import json
import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from agent.wiper.blocks import btrfs, media
from agent.wiper.blocks.media import Device
from agent.wiper.system.children import in_child
from agent.wiper.system.ground import Ground
from agent.wiper.system.mountinfo import Mount
from agent.wiper.system.tools import is_there, run_apart
from agent.wiper.system.uncover import root_of

DEADLINE_S = 60.0
"""Of a tool, which may have to look at many disks."""
LVS = ("lvs", "--all", "--reportformat", "json", "--config", 'report/time_format="%s"')
LVS_FIELDS = "lv_uuid,origin_uuid,lv_time"
"""Source: lvs(8); lvm.conf(5), report/time_format: "%s" is Unix time."""
ZFS = ("zfs", "list", "-H", "-p", "-t", "snapshot", "-o", "name,creation")
"""Source: zfs-list(8), -p: numbers as they are, so that times are Unix times."""
LVM_PREFIX, LVM_ID = "LVM-", 32
"""A device mapper's uuid is this, the group's id and the volume's. Source: LVM2, lib/activate/dev_manager.c."""
TIMESHIFT = ("/etc/timeshift/timeshift.json", "/etc/timeshift.json")
TIMESHIFT_FOLDER, TIMESHIFT_NAME = "timeshift/snapshots", "%Y-%m-%d_%H-%M-%S"
"""Source: Timeshift's README and src/Core/SnapshotRepo.vala; the names are local time."""


def of_btrfs(mounts: Iterable[Mount], since_s: float) -> int | None:
    """
    Count the snapshots of all btrfs here.

    Raises:
        OSError: one cannot be asked.
    """
    # One with several subvolumes mounted is asked once.
    each = {mount.device: mount for mount in mounts if mount.kind == "btrfs"}
    return sum(_snapshots(mount, since_s) for mount in each.values()) if each else None


def _snapshots(mount: Mount, since_s: float) -> int:
    return int(in_child(lambda: _count(mount, since_s), DEADLINE_S))


def _count(mount: Mount, since_s: float) -> bytes:
    root = root_of(mount)
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    return b"%d" % sum(one.snapshot and one.made_at_s >= since_s for one in btrfs.subvolumes(fd))


def of_lvm(mounts: Iterable[Mount], since_s: float) -> int | None:
    """
    Count the snapshots of all logical volumes with mounted file systems, those that are not active included.

    Raises:
        OSError: there are such volumes, and their snapshots cannot be asked for.
    """
    devices = (media.device_of(mount, media.block_device) for mount in mounts)
    volumes = frozenset(volume for device in devices if device is not None for volume in logical_volumes(device))
    if not volumes:
        return None
    return len(parse_lvs(_told(*LVS, "--options", LVS_FIELDS), volumes, since_s))


def logical_volumes(device: Device) -> frozenset[str]:
    """Return the ids of the logical volumes that a device is or lies on. Pure."""
    below = frozenset(volume for one in device.below for volume in logical_volumes(one))
    ids = device.layer.strip().removeprefix(LVM_PREFIX)
    if ids == device.layer.strip() or len(ids) < 2 * LVM_ID:
        return below
    return below | {ids[LVM_ID : 2 * LVM_ID]}


def parse_lvs(text: str, volumes: frozenset[str], since_s: float) -> frozenset[str]:
    """
    Return the snapshots of these volumes, and of their snapshots, that were made since a moment. Pure.

    Raises:
        OSError: this is not what `lvs` writes.
    """
    try:
        rows = [row for report in json.loads(text)["report"] for row in report["lv"]]
        origins = {_id(row["lv_uuid"]): _id(row["origin_uuid"]) for row in rows}
        made = {_id(row["lv_uuid"]): int(row["lv_time"]) for row in rows}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OSError(errno.EPROTO, "lvs says what is not understood") from error
    family = set(volumes)
    while more := {one for one, origin in origins.items() if origin in family and one not in family}:
        family |= more
    return frozenset(one for one in family - volumes if made[one] >= since_s)


def _id(text: str) -> str:
    return text.replace("-", "")


def of_zfs(mounts: Iterable[Mount], since_s: float) -> int | None:
    """
    Count the snapshots of all mounted ZFS data sets.

    Raises:
        OSError: there are such data sets, and their snapshots cannot be asked for.
    """
    sets = frozenset(mount.source for mount in mounts if mount.kind == "zfs")
    return len(parse_zfs(_told(*ZFS), sets, since_s)) if sets else None


def parse_zfs(text: str, sets: frozenset[str], since_s: float) -> frozenset[str]:
    """
    Return the snapshots of these data sets that were made since a moment. Pure.

    Raises:
        OSError: this is not what `zfs list` writes.
    """
    try:
        rows = [line.split("\t") for line in text.splitlines()]
        return frozenset(name for name, made in rows if name.split("@")[0] in sets and int(made) >= since_s)
    except ValueError as error:
        raise OSError(errno.EPROTO, "zfs says what is not understood") from error


def of_timeshift(ground: Ground, mounts: Iterable[Mount], since_s: float) -> int | None:
    """
    Count the copies that Timeshift made with rsync; those that it has btrfs make are counted there.

    Raises:
        OSError: it is set up, and the device with its copies is not mounted.
    """
    if not is_rsync(next((text for path in TIMESHIFT if (text := ground.read(path))), "")):
        return None
    folders = [one for mount in mounts if (one := Path(mount.point, TIMESHIFT_FOLDER)).is_dir()]
    if not folders:
        raise OSError(errno.ENODEV, "the device with its copies is not mounted")
    return sum(made_since(child.name, since_s) for folder in folders for child in folder.iterdir())


def is_rsync(text: str) -> bool:
    """
    Return whether a configuration of Timeshift names a device for copies by rsync. Pure.

    Raises:
        OSError: it is not understood.
    """
    if not text:
        return False
    try:
        told = json.loads(text)
        return bool(told["backup_device_uuid"]) and told.get("btrfs_mode") != "true"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OSError(errno.EPROTO, "its configuration is not understood") from error


def made_since(name: str, since_s: float) -> bool:
    """Return whether a copy of Timeshift's was made since a moment, by its name; other names are none."""
    try:
        return datetime.strptime(name, TIMESHIFT_NAME).astimezone().timestamp() >= since_s
    except ValueError:
        return False


def _told(*argv: str) -> str:
    """
    Return what a tool says.

    Raises:
        OSError: it is not installed, or cannot say.
    """
    if not is_there(argv[0]):
        raise OSError(errno.ENOENT, f"{argv[0]} is not installed")
    done = run_apart(*argv, deadline_s=DEADLINE_S)
    if done.code:
        raise OSError(errno.EIO, f"{argv[0]} ended with {done.code}")
    return done.out
