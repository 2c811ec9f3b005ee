"""Arrays of disks: the kernel's RAID (md), ZFS pools, btrfs: whether a disk is missing, and what is rebuilt."""

import re
from collections.abc import Iterator

from agent.host import Host, names_or_nothing, number_or_none, text_or_none
from agent.indicators import Indicator, Items, NotHere, Reading, without_nothing
from shared.messages import Scalar

INTERVAL_S = 30.0
"""A dozen files an array; a rebuild takes hours."""

MOST_ARRAYS = 32
"""Arrays reported; nobody has more on one machine."""

_POOLS = "/proc/spl/kstat/zfs"
_BTRFS = "/sys/fs/btrfs"
_BTRFS_ERRORS = ("write_errs", "read_errs", "flush_errs", "corruption_errs", "generation_errs")
_MD = re.compile(r"md[\w-]+")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")

Found = Iterator[tuple[str, str, Scalar]]
"""Readings one by one: which, of what, and its value."""


def parse_progress(sync_completed: str) -> float | None:
    """Return the percent of a rebuild or check that is done, of "sectors / all"; None where none runs ("none")."""
    done, slash, every = (word.strip() for word in sync_completed.partition("/"))
    if not slash or not done.isdecimal() or not every.isdecimal() or int(every) == 0:
        return None
    return round(100 * int(done) / int(every), 1)


def _md_arrays(host: Host) -> Found:
    """
    Read the kernel's arrays.

    Source: Linux, Documentation/admin-guide/md.rst: `degraded` counts the missing disks; a member's `errors` are reads
    that failed and were corrected from the others; RAID 0 and linear arrays have no `degraded`.
    """
    for name in [one for one in names_or_nothing(host, "/sys/block") if _MD.fullmatch(one)][:MOST_ARRAYS]:
        folder = f"/sys/block/{name}/md"
        state = text_or_none(host, f"{folder}/array_state")
        if state is None:
            continue
        yield "state", name, state[:40]
        yield "level", name, (text_or_none(host, f"{folder}/level") or "")[:40] or None
        yield "disks", name, number_or_none(host, f"{folder}/raid_disks")
        yield "missing_disks", name, number_or_none(host, f"{folder}/degraded")
        yield "rebuilding", name, (text_or_none(host, f"{folder}/sync_action") or "")[:40] or None
        yield "rebuilt_percent", name, parse_progress(text_or_none(host, f"{folder}/sync_completed") or "")
        yield "mismatched_sectors", name, number_or_none(host, f"{folder}/mismatch_cnt")
        for member in (one for one in names_or_nothing(host, folder) if one.startswith("dev-")):
            disk = f"{name} {member.removeprefix('dev-')[:100]}"
            if "faulty" in (text_or_none(host, f"{folder}/{member}/state") or "").split(","):
                yield "faulty", disk, True
            yield "corrected_errors", disk, number_or_none(host, f"{folder}/{member}/errors") or None


def _zfs_pools(host: Host) -> Found:
    """Read the pools' states: ONLINE, DEGRADED, FAULTED, UNAVAIL, SUSPENDED. Source: zpoolconcepts(7)."""
    for name in names_or_nothing(host, _POOLS)[: 4 * MOST_ARRAYS]:
        state = text_or_none(host, f"{_POOLS}/{name}/state")
        if state:
            yield "state", f"zfs {name[:200]}", state[:40]


def _btrfs(host: Host) -> Found:
    """Read btrfs over several devices. Source: Linux, Documentation/ABI/testing/sysfs-fs-btrfs; fs/btrfs/sysfs.c."""
    for uuid in [name for name in names_or_nothing(host, _BTRFS) if _UUID.fullmatch(name)][:MOST_ARRAYS]:
        folder = f"{_BTRFS}/{uuid}/devinfo"
        devices = names_or_nothing(host, folder)
        if len(devices) < 2:
            continue
        name = f"btrfs {uuid[:8]}"
        missing = [number_or_none(host, f"{folder}/{device}/missing") for device in devices]
        yield "disks", name, len(devices)
        yield "missing_disks", name, sum(one or 0 for one in missing)
        for device in devices:
            yield "device_errors", f"{name} {device[:20]}", _sum(text_or_none(host, f"{folder}/{device}/error_stats"))


def _sum(error_stats: str | None) -> int | None:
    """Add up the kinds of errors of a btrfs device, each a line "kind count"; None where it has none."""
    pairs = (line.split() for line in (error_stats or "").splitlines())
    counts = [int(pair[1]) for pair in pairs if len(pair) == 2 and pair[0] in _BTRFS_ERRORS and pair[1].isdecimal()]
    return sum(counts) or None


def read(host: Host, _before: None) -> Reading | NotHere:
    """Read the arrays."""
    by_name: dict[str, Items] = {}
    for source in (_md_arrays, _zfs_pools, _btrfs):
        for name, item, value in source(host):
            if value is not None:
                by_name.setdefault(name, {})[item] = value
    if not by_name:
        return NotHere("no array of disks: neither RAID (md), nor ZFS, nor btrfs over several disks")
    return Reading(without_nothing(by_name))


INDICATOR = Indicator(
    name="arrays",
    interval_s=INTERVAL_S,
    deadline_s=5.0,
    read=read,
    describes={
        "state": "by array: md's array_state (clean, active, inactive, …) or a ZFS pool's (ONLINE, DEGRADED, …)",
        "level": "by array of md: raid1, raid5, …",
        "disks": "by array: disks it should have",
        "missing_disks": "by array: disks it should have and has not (md: degraded; btrfs: missing)",
        "rebuilding": "by array of md: idle, recover, resync, check, repair, … (sync_action)",
        "rebuilt_percent": "by array of md: how much of that is done",
        "mismatched_sectors": "by array of md: sectors that differed between disks at the last check (mismatch_cnt)",
        "faulty": "by array and disk: md has put it out of use after errors",
        "corrected_errors": "by array and disk: failed reads that md corrected from the other disks; left out while 0",
        "device_errors": "by btrfs and device: errors ever, of all kinds (error_stats); left out while 0",
    },
)
