"""What the kernel tells of the device below a file system: model, medium, way to it, and what stands between."""

import re
from pathlib import Path

from msgspec import Struct

SECTOR_BYTES = 512
"""The kernel's unit in /sys/block, whatever the disk's own. Source: Linux, Documentation/block/stat.rst."""
SYS = Path("/sys")
MOST_LAYERS = 16

VIRTUAL_DRIVERS = frozenset({"virtio_blk", "vbd", "xen-blkfront", "xen_blkfront"})
VIRTUAL_WORDS = (
    *("qemu", "virtio", "vmware", "vbox", "virtualbox", "xen", "msft", "virtual disk", "parallels"),
    *("amazon elastic block store", "google", "nvme_card-pd", "persistentdisk", "msft nvme accelerator"),
)
"""In a disk's vendor or model: hypervisors' disks, and clouds' network disks behind an NVMe face."""
SOFTWARE = re.compile(r"(loop|zram|ram|nbd|rbd|drbd|ublkb|bcache)\d+")
"""Block devices made of software: below them is a file, memory or another machine, and a cache that nobody sees."""
_TRANSPORTS = (
    *(("nvme", r"nvme(-subsystem|\d*)"), ("virtio", r"virtio\d+"), ("usb", r"usb\d+"), ("sata", r"ata\d+")),
    *(("iscsi", r"session\d+"), ("sas", r"end_device-.*"), ("mmc", r"mmc\d+"), ("hyper-v", r"VMBUS.*|vmbus.*")),
    *(("xen", r"vbd-\d+"),),
)
"""The part of a device's path in /sys that tells how it is attached, the telling ones first."""


class Device(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    A disk and the way to it; what the kernel does not tell is left out.

    Attributes:
        layers: Everything between the file system and the disks, disks included, with device mapper's own names.
        rotational: What the kernel says; hypervisors' disks often say true and know nothing.
        link: The speed of the link that was agreed on ("16.0 GT/s PCIe x4", "6.0 Gbps").
        virtual: Whether a hypervisor stands before the medium.
        software: Whether the device is made of software (a loop device, memory, another machine's).
        thin: Whether space is given to it only when it is written.
    """

    layers: tuple[str, ...]
    model: str | None = None
    size_bytes: int | None = None
    rotational: bool | None = None
    logical_block_bytes: int | None = None
    scheduler: str | None = None
    discards: bool | None = None
    transport: str | None = None
    link: str | None = None
    virtual: bool = False
    software: bool = False
    thin: bool = False


def below(carriers: tuple[str, ...], sys: Path = SYS) -> Device | None:
    """
    Return what lies below a file system; None where the kernel names no device.

    Of an array the first disk is described: members are of a kind, and `layers` names them all.
    """
    names, disks = _layers(carriers, sys)
    if not disks:
        return None
    first = disks[0]
    sectors = _number(_text(sys / "class/block" / first / "size"))
    rotational = _queue(sys, first, "rotational")
    return Device(
        layers=tuple(_named(sys, one) for one in names),
        model=_model(sys, first),
        size_bytes=None if sectors is None else sectors * SECTOR_BYTES,
        rotational=None if rotational is None else rotational == "1",
        logical_block_bytes=_number(_queue(sys, first, "logical_block_size")),
        scheduler=chosen(_queue(sys, first, "scheduler") or ""),
        discards=None if (most := _queue(sys, first, "discard_max_bytes")) is None else most != "0",
        transport=transport(_real(sys, first)),
        link=_link(sys, _real(sys, first)),
        virtual=any(is_virtual(_driver(sys, one), _model(sys, one) or "") for one in disks),
        software=any(SOFTWARE.fullmatch(one) for one in names),
        thin=any(_is_pool(sys, one) for one in names),
    )


def whole(name: str, sys: Path = SYS) -> str:
    """Return the disk of a partition; the name itself if it is not one. A partition lies in its disk's directory."""
    here = sys / "class/block" / name
    return here.resolve().parent.name if (here / "partition").exists() else name


def is_virtual(driver: str, model: str) -> bool:
    """Return whether a disk is a hypervisor's or a cloud's network disk, by its driver or what it calls itself."""
    return driver in VIRTUAL_DRIVERS or any(word in model.lower() for word in VIRTUAL_WORDS)


def transport(path: Path) -> str | None:
    """Return how a device is attached, from its path in /sys."""
    for name, pattern in _TRANSPORTS:
        if any(re.fullmatch(pattern, part) for part in path.parts[:-1]):
            return name
    return None


def chosen(schedulers: str) -> str | None:
    """Return the one in use: "mq-deadline" of "none [mq-deadline] kyber"."""
    found = re.search(r"\[(\S+)\]", schedulers)
    return found[1] if found else schedulers or None


def _layers(carriers: tuple[str, ...], sys: Path) -> tuple[list[str], list[str]]:
    """Return the names of all layers from the top, and of the disks at the bottom."""
    names: list[str] = []
    disks: list[str] = []
    waiting = list(carriers)
    while waiting and len(names) < MOST_LAYERS:
        name = waiting.pop(0)
        if name in names:
            continue
        names.append(name)
        parts = sorted(one.name for one in (sys / "class/block" / name / "slaves").glob("*"))
        if not parts and (disk := whole(name, sys)) != name:
            parts = [disk]
        waiting += parts
        if not parts:
            disks.append(name)
    return names, disks


def _real(sys: Path, name: str) -> Path:
    return (sys / "class/block" / name).resolve()


def _queue(sys: Path, name: str, what: str) -> str | None:
    return _text(sys / "class/block" / name / "queue" / what)


def _named(sys: Path, name: str) -> str:
    """Return a name for people: device mapper's ("vg-root") beside the kernel's ("dm-0")."""
    mapped = _text(sys / "class/block" / name / "dm/name")
    return f"{name} {mapped}"[:80] if mapped else name


def _is_pool(sys: Path, name: str) -> bool:
    """Return whether a layer is the pool of LVM's thin volumes. Source: lvm2, uuids of device mapper's devices."""
    return (_text(sys / "class/block" / name / "dm/uuid") or "").endswith("-tpool")


def _model(sys: Path, name: str) -> str | None:
    here = sys / "class/block" / name / "device"
    words = [_text(here / "vendor") or "", _text(here / "model") or ""]
    # A virtio or PCI vendor is a number there ("0x1af4").
    told = " ".join(word for word in words if word and not word.startswith("0x"))
    return told[:80] or None


def _driver(sys: Path, name: str) -> str:
    link = sys / "class/block" / name / "device/driver"
    return link.resolve().name if link.exists() else ""


def _link(sys: Path, device: Path) -> str | None:
    """Return the speed of the link to a disk: SATA's own, or that of the first PCI Express device above it."""
    for part in device.parts:
        if re.fullmatch(r"ata\d+", part):
            return _text(sys / "class/ata_link" / part.replace("ata", "link") / "sata_spd")
    # With native multipath the disk lies below a subsystem, which links to its controllers.
    controllers = [one.resolve() for one in sorted(device.parent.glob("nvme[0-9]*")) if one.is_symlink()]
    for above in (controllers or [device])[0].parents:
        speed, width = _text(above / "current_link_speed"), _text(above / "current_link_width")
        if speed and width:
            return f"{speed} x{width}"
    return None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
