"""
On what the tenant's files lay: local file systems and the devices below them, for the evidence. Changes nothing.

Only what the kernel says is told. That a device takes TRIM does not say that it erases what was trimmed.
"""

import errno
import os
import re
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog
from msgspec import Struct

from agent.wiper.system.ground import Ground
from agent.wiper.system.kernel import xfs_shares_extents
from agent.wiper.system.mountinfo import Mount, current, on_file_system, to_look_at
from shared.documents import Medium

MAX_MEDIA = 16
"""Told at most: the home's first, then block devices, then file systems in memory or over others."""
MAX_WORDS = 300
BLOCK = Path("/sys/dev/block")
MOST_LAYERS = 8

IN_PLACE = frozenset({"ext2", "ext3", "ext4", "xfs", "jfs"})
"""File systems that write a file's new content where the old one stood, if nothing below speaks against it."""
ELSEWHERE = re.compile(r"/virtual/|/virtio|/vbd-|/vmbus|/xen|/session\d|/rport-", re.IGNORECASE)
"""Paths of devices whose medium is somewhere else: made by software, by a hypervisor, or over a network."""
EMULATED = re.compile(r"\b(qemu|vmware|vbox|virtual|msft)\b", re.IGNORECASE)
"""Makers and models of emulated disks. Source: what QEMU, VMware, VirtualBox and Hyper-V put there."""
_PLAIN_LAYER = re.compile(r"LVM-\w{64}|CRYPT-.+")
"""Layers that keep each block where it is. Thin volumes, snapshots and their origins have a suffix or such a layer."""

log = structlog.get_logger()


class Device(Struct, frozen=True, kw_only=True):
    """
    A block device in the kernel's words; each text is empty where the kernel has none.

    `name`: "nvme0n1p2"; `model`, `vendor`, `rotational` ("0" or "1"), `zoned` and `discard_max_bytes` are those of the
    whole disk. `path`: in /sys; `layer`: a device mapper's uuid; `below`: the devices it is made of.
    """

    name: str
    model: str = ""
    rotational: str = ""
    discard_max_bytes: str = ""
    vendor: str = ""
    zoned: str = ""
    path: str = ""
    layer: str = ""
    below: tuple["Device", ...] = ()


Lookup = Callable[[str], Device | None]
"""Finds a block device by "major:minor" or its path in /dev; None where there is none."""


def survey(ground: Ground, home: str) -> tuple[Medium, ...]:
    """Return the media of a real machine's local file systems; none where the kernel's list cannot be read."""
    if ground.simulated:
        return ()
    try:
        mounts = current()
    except (OSError, ValueError) as error:
        log.warning("wiper.media_unknown", error=str(error))
        return ()
    return media_of(mounts, home, block_device)


def media_of(mounts: tuple[Mount, ...], home: str, lookup: Lookup) -> tuple[Medium, ...]:
    """
    Return the file systems on which a user's files can lie, each once. Pure but for the lookup.

    Args:
        mounts: The kernel's list.
        home: The tenant's home, gone or not: what its path is on.
        lookup: Finds a block device.
    """
    local, _ = to_look_at(mounts)
    place = on_file_system(home, mounts)
    each = {mount.device: mount for mount in reversed(local)}
    found = [_medium(mount.kind, number, device_of(mount, lookup), place) for number, mount in each.items()]
    return tuple(sorted(found, key=_rank)[:MAX_MEDIA])


def device_of(mount: Mount, lookup: Lookup) -> Device | None:
    """Return the block device of a mount. btrfs has a number of its own, and names one of its devices as the source."""
    device = lookup(mount.device)
    return lookup(mount.source) if device is None and mount.kind == "btrfs" else device


def takes_discard(device: Device | None) -> bool:
    """Return whether a device can be told what is free."""
    return device is not None and _positive(device.discard_max_bytes) is True


def is_overwritable(kind: str, options: Iterable[str] | None, device: Device | None, *, shares_extents: bool) -> bool:
    """
    Return whether what is written over a file's content replaces it on the medium, as far as can be known. Pure.

    Args:
        kind: The file system's.
        options: Its own options; None where they are not known.
        device: Below it.
        shares_extents: Whether its files may share blocks (reflink): then new content may go elsewhere.
    """
    if kind not in IN_PLACE or shares_extents or options is None or "data=journal" in options:
        return False
    return device is not None and _is_spinning(device)


def _is_spinning(device: Device) -> bool:
    """On flash, what is overwritten stays; so it does under layers that put new content elsewhere."""
    if device.rotational.strip() != "1" or device.zoned.strip() not in {"", "none"}:
        return False
    if device.below:
        plain = re.fullmatch(r"md\d+(p\d+)?", device.name) or _PLAIN_LAYER.fullmatch(device.layer.strip())
        return plain is not None and all(map(_is_spinning, device.below))
    return (
        bool(device.path)
        and not ELSEWHERE.search(device.path)
        and not EMULATED.search(f"{device.vendor} {device.model}")
    )


def overwrites(directory: int) -> bool:
    """Return whether files in an open directory can be overwritten where they lie; not where anything is unknown."""
    try:
        number = number_of(os.fstat(directory).st_dev)
        mount = next(one for one in current() if one.device == number)
        device = block_device(number)
        shares = mount.kind == "xfs" and xfs_shares_extents(directory)
        return is_overwritable(mount.kind, options_of(mount, device), device, shares_extents=shares)
    except (OSError, ValueError, StopIteration):
        return False


def number_of(device: int) -> str:
    """Return a device number as the kernel's lists write it."""
    return f"{os.major(device)}:{os.minor(device)}"


def options_of(mount: Mount, device: Device | None) -> tuple[str, ...] | None:
    """Return a file system's options. Of ext, mountinfo leaves out what is the default of this very file system."""
    options = tuple(mount.options.split(","))
    if mount.kind not in {"ext3", "ext4"}:
        return options
    if device is None:
        return None
    try:
        return (*options, *Path("/proc/fs/ext4", device.name, "options").read_text("ascii").split())
    except (OSError, UnicodeDecodeError):
        return None


def _medium(kind: str, number: str, device: Device | None, home: tuple[str, str] | None) -> Medium:
    held = home is not None and home[0] == number
    if device is None:
        return Medium(file_system=kind, device=number, held_home=held)
    return Medium(
        file_system=kind,
        device=number,
        name=_plain(device.name)[:80] or None,
        model=_plain(device.model) or None,
        rotational={"0": False, "1": True}.get(device.rotational.strip()),
        discard=_positive(device.discard_max_bytes),
        held_home=held,
    )


def _rank(medium: Medium) -> tuple[bool, bool, str]:
    return not medium.held_home, medium.name is None, medium.device


def _positive(text: str) -> bool | None:
    plain = text.strip()
    return int(plain) > 0 if plain.isascii() and plain.isdigit() else None


def _plain(text: str) -> str:
    """Return a device's own words, which may be any bytes, on one line."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())[:MAX_WORDS]


def block_device(number: str) -> Device | None:
    """
    Return what /sys says of a block device; of a partition, the facts of its disk.

    Source: Linux, Documentation/ABI/stable/sysfs-block (queue/rotational, queue/discard_max_bytes).
    """
    try:
        if number.startswith("/dev/"):
            facts = os.stat(number)  # noqa: PTH116 - a path of the kernel's
            if not stat.S_ISBLK(facts.st_mode):
                return None
            number = number_of(facts.st_rdev)
        return _device(Path(os.path.realpath(BLOCK / number, strict=True)), MOST_LAYERS)
    except OSError:
        return None


def _device(path: Path, layers: int) -> Device:
    """
    Read a device, and those below it.

    Raises:
        OSError: it is not there, or there are too many layers.
    """
    if not layers:
        raise OSError(errno.ELOOP, "too many layers")
    disk = path.parent if (path / "partition").exists() else path
    return Device(
        name=path.name,
        model=_first((disk / "device/model", disk / "dm/name")),
        rotational=_first((disk / "queue/rotational",)),
        discard_max_bytes=_first((disk / "queue/discard_max_bytes",)),
        vendor=_first((disk / "device/vendor",)),
        zoned=_first((disk / "queue/zoned",)),
        path=str(path),
        layer=_first((disk / "dm/uuid",)),
        below=tuple(_device(Path(os.path.realpath(one, strict=True)), layers - 1) for one in _below(disk)),
    )


def _below(disk: Path) -> list[Path]:
    try:
        return sorted((disk / "slaves").iterdir())
    except FileNotFoundError:
        return []


def _first(paths: Iterable[Path]) -> str:
    """Return the text of the first of these files that there is."""
    for path in paths:
        try:
            return path.read_text("utf-8", "replace").strip()
        except OSError:
            continue
    return ""
