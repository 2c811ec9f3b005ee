"""Disks: how full the file systems are, how busy and how hot the devices."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec
from msgspec import Struct

from agent.host import Host, Usage, number_or_none, numbers
from agent.host.asking import Question, ask
from agent.host.disks import SECTOR_BYTES, disk, disk_names, temperature_files
from agent.host.hwmon import celsius
from agent.host.mounts import Mount, parse_mounts
from agent.host.pressure import percent, pressure
from agent.indicators import (
    EVERY_REPORT_S,
    Counters,
    Held,
    Indicator,
    Items,
    NotHere,
    Reading,
    held,
    per_second,
    without_nothing,
)

MOST_ITEMS = 64
"""File systems and devices reported; a machine with more says how many were left out."""

MOST_NAMES_BYTES = 5_000
"""Mount points of a report together: each stands in seven readings, and the whole report has room for 56 kB."""

DEVICES_HOLD_S = 60.0
"""Disks come and go by hand."""

TEMPERATURES_HOLD_S = 60.0
"""Each is a command to the disk, and one asked all the time never spins down. Source: Linux, hwmon/drivetemp.rst."""

_MOST_NAME = 300


class Kept(Struct, frozen=True):
    """What the next read needs: counters, what is read rarely, and the questions that hang."""

    mountinfo: str
    mounts: tuple[Mount, ...]
    counters: Counters
    waiting: Counters
    devices: Held[Mapping[str, tuple[str | None, int]]]
    temperatures: Held[Mapping[str, Question[float | None]]]
    usages: Mapping[str, Question[Usage]]


def parse_diskstats(text: str, names: frozenset[str]) -> dict[str, float]:
    """
    Return bytes read and written and milliseconds busy since boot, as "vda read", "vda write", "vda busy".

    Raises:
        Unreadable: a disk's line holds something that is no number.

    Source: Linux, Documentation/admin-guide/iostats.rst: sectors read is field 3, written 7, time busy 10.
    """
    found: dict[str, float] = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 14 and fields[2] in names:
            read, written, busy = numbers((fields[5], fields[9], fields[12]), "/proc/diskstats")
            found[f"{fields[2]} read"] = read * SECTOR_BYTES
            found[f"{fields[2]} write"] = written * SECTOR_BYTES
            found[f"{fields[2]} busy"] = busy
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
    """
    Turn file systems' state into readings by mount point; a system without a fixed number of inodes has no share.

    The used share is df's: what root has reserved belongs neither to used nor to available.
    """
    return {
        "size_bytes": {point: usage.size_bytes for point, usage in usages.items()},
        "used_bytes": {point: usage.used_bytes for point, usage in usages.items()},
        "available_bytes": {point: usage.available_bytes for point, usage in usages.items()},
        "used_percent": {
            point: round(100 * usage.used_bytes / (usage.used_bytes + usage.available_bytes), 1)
            for point, usage in usages.items()
            if usage.used_bytes + usage.available_bytes > 0
        },
        "inodes_used_percent": {
            point: round(100 * (usage.inodes - usage.inodes_free) / usage.inodes, 1)
            for point, usage in usages.items()
            if usage.inodes
        },
    }


def shown(mounts: Sequence[Mount]) -> tuple[Mount, ...]:
    """Return as many file systems as there is room for; who mounts many under long names hides none of the short."""
    chosen, room = [], MOST_NAMES_BYTES
    for mount in sorted(mounts, key=lambda mount: len(mount.point))[:MOST_ITEMS]:
        room -= len(msgspec.json.encode(mount.point[:_MOST_NAME]))
        if room < 0:
            break
        chosen.append(mount)
    return tuple(sorted(chosen, key=lambda mount: mount.point))


def _ask_usages(
    host: Host, mounts: tuple[Mount, ...], before: Mapping[str, Question[Usage]]
) -> dict[str, Question[Usage]]:
    """Ask each file system how full it is; one that hangs hides none of the others."""
    wanted: dict[str, Callable[[], Usage]] = {mount.point: partial(host.usage, mount.point) for mount in mounts}
    return ask(wanted, before)


def _file_systems(mounts: tuple[Mount, ...], asked: Mapping[str, Question[Usage]]) -> dict[str, Items]:
    """Return what the file systems answered; one that answered with an error, or not at all, is reported with it."""
    answers = {point: question.answer for point, question in asked.items()}
    errors = {point: question.trouble for point, question in asked.items()}
    return {
        **parse_usage({point[:_MOST_NAME]: usage for point, usage in answers.items() if usage is not None}),
        "read_only": {mount.point[:_MOST_NAME]: mount.read_only for mount in mounts},
        "error": {point[:_MOST_NAME]: words for point, words in errors.items() if words is not None},
    }


def _ask_temperatures(host: Host, before: Mapping[str, Question[float | None]]) -> dict[str, Question[float | None]]:
    """Ask each disk's sensor; a disk that no longer answers commands hides none of the others."""
    wanted: dict[str, Callable[[], float | None]] = {
        name: partial(celsius, host, path) for name, path in temperature_files(host).items()
    }
    return ask(wanted, before)


def _devices(host: Host) -> dict[str, tuple[str | None, int]]:
    """Return kind and size of every disk."""
    found = (disk(host, name) for name in disk_names(host)[:MOST_ITEMS])
    return {one.name: (one.kind, one.size_bytes) for one in found}


def _counts(host: Host, names: Mapping[str, object], file: str) -> Items:
    """Return a counter of SCSI disks; others have none. Source: Linux, drivers/scsi/scsi_sysfs.c, in hexadecimal."""
    found = {name: number_or_none(host, f"/sys/block/{name}/device/{file}") for name in names}
    return {name: count for name, count in found.items() if count is not None}


def read(host: Host, before: Kept | None) -> Reading | NotHere:
    """Read file systems and devices; rates need a second read."""
    now_s = host.monotonic_s()
    mountinfo = host.text("/proc/self/mountinfo")
    # A machine with containers has hundreds, and they rarely change.
    every = before.mounts if before and before.mountinfo == mountinfo else parse_mounts(mountinfo)
    mounts = shown(every)
    devices = held(before.devices if before else None, now_s, DEVICES_HOLD_S, lambda: _devices(host))
    counters = Counters(now_s, parse_diskstats(host.text("/proc/diskstats"), frozenset(devices.value)))
    waiting = Counters(now_s, pressure(host, "io"))
    waited = per_second(before.waiting if before else None, waiting)
    asked = before.temperatures.value if before else {}
    temperatures = held(
        before.temperatures if before else None, now_s, TEMPERATURES_HOLD_S, lambda: _ask_temperatures(host, asked)
    )
    usages = _ask_usages(host, mounts, before.usages if before else {})
    values = without_nothing(
        {
            **_file_systems(mounts, usages),
            "mounts_left_out": len(every) - len(mounts) or None,
            "type": {name: kind for name, (kind, _) in devices.value.items()},
            "device_size_bytes": {name: size for name, (_, size) in devices.value.items()},
            **parse_rates(per_second(before.counters if before else None, counters)),
            "pressure_some_percent": percent(waited, "some"),
            "pressure_full_percent": percent(waited, "full"),
            "temperature_celsius": {
                name: question.answer for name, question in temperatures.value.items() if question.answer is not None
            },
            "device_error": {
                name: words for name, one in temperatures.value.items() if (words := one.trouble) is not None
            },
            "io_errors": _counts(host, devices.value, "ioerr_cnt"),
            "io_timeouts": _counts(host, devices.value, "iotmo_cnt"),
        }
    )
    return Reading(values, Kept(mountinfo, every, counters, waiting, devices, temperatures, usages))


INDICATOR = Indicator(
    name="disks",
    interval_s=EVERY_REPORT_S,
    deadline_s=5.0,
    read=read,
    describes={
        "size_bytes": "by mount point: size of the file system (statvfs)",
        "used_bytes": "by mount point: used",
        "available_bytes": "by mount point: free for everybody but root",
        "used_percent": "by mount point: used, of used and available, as df has it",
        "inodes_used_percent": "by mount point: inodes used; left out where their number is not fixed",
        "read_only": "by mount point: the file system itself is read-only, as after an error (mountinfo)",
        "error": "by mount point: what the file system answered instead of its size, or since when it does not answer",
        "mounts_left_out": "file systems beyond the 64 reported, or under names too long for a report",
        "type": "by device: NVMe, SSD or HDD",
        "device_size_bytes": "by device: size",
        "read_mb_s": "by device: 10^6 bytes read a second, since the last read (/proc/diskstats)",
        "write_mb_s": "by device: 10^6 bytes written a second, since the last read (/proc/diskstats)",
        "busy_percent": "by device: time with at least one request in flight, since the last read (/proc/diskstats)",
        "pressure_some_percent": "time in which a task waited for a disk, since the last read (PSI)",
        "pressure_full_percent": "time in which all tasks waited for disks, since the last read (PSI)",
        "temperature_celsius": "by device (hwmon: nvme, drivetemp)",
        "device_error": "by device: since when its sensor does not answer",
        "io_errors": "by SCSI device: requests that ended in an error since boot (ioerr_cnt)",
        "io_timeouts": "by SCSI device: requests that timed out since boot (iotmo_cnt)",
    },
)
