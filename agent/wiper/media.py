"""
On what the tenant's files lay: local file systems and the devices below them, for the evidence. Changes nothing.

Only what the kernel says is told. That a device takes TRIM does not say that it erases what was trimmed.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog
from msgspec import Struct

from agent.wiper.mountinfo import Mount, current, on_file_system, to_look_at
from agent.wiper.steps import Subject
from shared.documents import Medium

MAX_MEDIA = 16
"""Told at most: the home's first, then block devices, then file systems in memory or over others."""
MAX_WORDS = 300
BLOCK = Path("/sys/dev/block")

log = structlog.get_logger()


class Device(Struct, frozen=True, kw_only=True):
    """
    A block device in the kernel's words; each text is empty where the kernel has none.

    `name`: "nvme0n1p2"; `model`, `rotational` ("0" or "1") and `discard_max_bytes` are those of the whole disk.
    """

    name: str
    model: str = ""
    rotational: str = ""
    discard_max_bytes: str = ""


Lookup = Callable[[str], Device | None]
"""Finds a block device by "major:minor"; None where there is none."""


def survey(subject: Subject) -> tuple[Medium, ...]:
    """Return the media of a real machine's local file systems; none where the kernel's list cannot be read."""
    if subject.ground.simulated:
        return ()
    try:
        mounts = current()
    except (OSError, ValueError) as error:
        log.warning("wiper.media_unknown", error=str(error))
        return ()
    return media_of(mounts, subject.tenant.home, block_device)


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
    kinds = {mount.device: mount.kind for mount in reversed(local)}
    found = [_medium(kind, device, lookup(device), place) for device, kind in kinds.items()]
    return tuple(sorted(found, key=_rank)[:MAX_MEDIA])


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
        path = Path(os.path.realpath(BLOCK / number, strict=True))
    except OSError:
        return None
    disk = path.parent if (path / "partition").exists() else path
    return Device(
        name=path.name,
        model=_first((disk / "device/model", disk / "dm/name")),
        rotational=_first((disk / "queue/rotational",)),
        discard_max_bytes=_first((disk / "queue/discard_max_bytes",)),
    )


def _first(paths: Iterable[Path]) -> str:
    """Return the text of the first of these files that there is."""
    for path in paths:
        try:
            return path.read_text("utf-8", "replace").strip()
        except OSError:
            continue
    return ""
