"""Disks: how full the file systems are, how busy and how hot the devices."""

from collections.abc import Mapping

from msgspec import Struct

from agent.host import Host, Usage, names_or_nothing, number_or_none, text_or_none
from agent.host.disks import SECTOR_BYTES, disk, disk_names
from agent.host.mounts import Mount, parse_mounts
from agent.indicators import EVERY_REPORT_S, Counters, Indicator, Items, NotHere, Reading, per_second, without_nothing

MOST_ITEMS = 64
"""File systems and devices reported; a machine with more says how many were left out."""


class Kept(Struct, frozen=True):
    """What the next read needs: counters, and each device's kind and size, which do not change."""

    counters: Counters
    devices: Mapping[str, tuple[str | None, int]]


def parse_diskstats(text: str, names: frozenset[str]) -> dict[str, float]:
    """
    Return bytes read and written and milliseconds busy since boot, as "vda read", "vda write", "vda busy".

    Source: Linux, Documentation/admin-guide/iostats.rst: sectors read is field 3, written 7, time busy 10.
    """
    found: dict[str, float] = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 14 and fields[2] in names:
            found[f"{fields[2]} read"] = float(fields[5]) * SECTOR_BYTES
            found[f"{fields[2]} write"] = float(fields[9]) * SECTOR_BYTES
            found[f"{fields[2]} busy"] = float(fields[12])
    return found


def parse_rates(rates: Mapping[str, float]) -> dict[str, Items]:
    """Turn growth a second into MB/s and percent, by device."""
    found: dict[str, Items] = {"read_mb_s": {}, "write_mb_s": {}, "busy_percent": {}}
    for name, rate in rates.items():
        device, what = name.split()
        if what == "busy":
            found["busy_percent"][device] = round(min(rate / 10, 100.0), 1)
        else:
            found[f"{what}_mb_s"][device] = round(rate / 1e6, 3)
    return found


def parse_usage(usages: Mapping[str, Usage]) -> dict[str, Items]:
    """Turn file systems' state into readings by mount point; a system without a fixed number of inodes has no share."""
    return {
        "size_bytes": {point: usage.size_bytes for point, usage in usages.items()},
        "used_bytes": {point: usage.used_bytes for point, usage in usages.items()},
        "available_bytes": {point: usage.available_bytes for point, usage in usages.items()},
        "inodes_used_percent": {
            point: round(100 * (usage.inodes - usage.inodes_free) / usage.inodes, 1)
            for point, usage in usages.items()
            if usage.inodes
        },
    }


def _file_systems(host: Host, mounts: tuple[Mount, ...]) -> dict[str, Items]:
    """Ask each file system how full it is; one that answers with an error is reported with it."""
    usages: dict[str, Usage] = {}
    errors: Items = {}
    for mount in mounts:
        try:
            usages[mount.point[:300]] = host.usage(mount.point)
        except OSError as error:
            errors[mount.point[:300]] = str(error.strerror)
    read_only: Items = {mount.point[:300]: mount.read_only for mount in mounts}
    return {**parse_usage(usages), "read_only": read_only, "error": errors}


def _temperatures(host: Host) -> Items:
    """Return the temperature of every disk that has a sensor. Source: Linux, hwmon/drivetemp.rst and nvme/hwmon.c."""
    found: Items = {}
    for hwmon in (f"/sys/class/hwmon/{name}" for name in names_or_nothing(host, "/sys/class/hwmon")):
        sensor = text_or_none(host, f"{hwmon}/name")
        if sensor not in {"nvme", "drivetemp"}:
            continue
        millidegrees = number_or_none(host, f"{hwmon}/temp1_input")
        entries = names_or_nothing(host, f"{hwmon}/device" if sensor == "nvme" else f"{hwmon}/device/block")
        disks = [name for name in entries if sensor == "drivetemp" or name.startswith("nvme")]
        if millidegrees is not None:
            found.update({name: round(millidegrees / 1000, 1) for name in disks[:1]})
    return found


def _devices(host: Host, known: Mapping[str, tuple[str | None, int]]) -> dict[str, tuple[str | None, int]]:
    """Return kind and size of every disk; only new ones are looked at."""
    found = {}
    for name in disk_names(host)[:MOST_ITEMS]:
        if name in known:
            found[name] = known[name]
        else:
            new = disk(host, name)
            found[name] = (new.kind, new.size_bytes)
    return found


def read(host: Host, before: Kept | None) -> Reading | NotHere:
    """Read file systems and devices; rates need a second read."""
    mounts = parse_mounts(host.text("/proc/self/mountinfo"))
    devices = _devices(host, before.devices if before is not None else {})
    now = Counters(host.monotonic_s(), parse_diskstats(host.text("/proc/diskstats"), frozenset(devices)))
    io_errors = {name: number_or_none(host, f"/sys/block/{name}/device/ioerr_cnt") for name in devices}
    values = without_nothing(
        {
            **_file_systems(host, mounts[:MOST_ITEMS]),
            "mounts_left_out": len(mounts) - MOST_ITEMS if len(mounts) > MOST_ITEMS else None,
            "type": {name: kind for name, (kind, _) in devices.items()},
            "device_size_bytes": {name: size for name, (_, size) in devices.items()},
            **parse_rates(per_second(before.counters if before is not None else None, now)),
            "temperature_celsius": _temperatures(host),
            "io_errors": {name: count for name, count in io_errors.items() if count is not None},
        }
    )
    return Reading(values, Kept(now, devices))


INDICATOR = Indicator(
    name="disks",
    interval_s=EVERY_REPORT_S,
    deadline_s=5.0,
    read=read,
    describes={
        "size_bytes": "by mount point: size of the file system (statvfs)",
        "used_bytes": "by mount point: used",
        "available_bytes": "by mount point: free for everybody but root",
        "inodes_used_percent": "by mount point: inodes used; left out where their number is not fixed",
        "read_only": "by mount point: the file system itself is read-only, as after an error (mountinfo)",
        "error": "by mount point: what the file system answered instead of its size",
        "mounts_left_out": "file systems beyond the 64 reported",
        "type": "by device: NVMe, SSD or HDD",
        "device_size_bytes": "by device: size",
        "read_mb_s": "by device: 10^6 bytes read a second, since the last read (/proc/diskstats)",
        "write_mb_s": "by device: 10^6 bytes written a second, since the last read (/proc/diskstats)",
        "busy_percent": "by device: time with at least one request in flight, since the last read (/proc/diskstats)",
        "temperature_celsius": "by device (hwmon)",
        "io_errors": "by SCSI device: requests that ended in an error since boot (ioerr_cnt)",
    },
)
