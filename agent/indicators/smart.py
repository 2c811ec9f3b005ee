"""SMART: what disks say of their own health, as smartd wrote it down; the agent asks no disk, and has no right to."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from agent.host import Host, has_link, names_or_nothing, text_or_none
from agent.indicators import Indicator, Items, NotHere, Reading, without_nothing
from shared.messages import Scalar

INTERVAL_S = 300.0
"""smartd itself looks every 30 minutes. Source: smartd(8), --interval."""

MOST_DISKS = 64
_LINE_BYTES = 8192
"""More than the longest line of an attribute log, which grows for years: only its end is read."""

FOLDER = "/var/lib/smartmontools"
_NVME = "/sys/class/nvme"
_BY_ID = "/dev/disk/by-id"

_FILE = re.compile(r"(?:smartd|attrlog)\.(?P<disk>.+)\.(?P<bus>ata|scsi|nvme)\.(?P<kind>state|csv)")

WARNINGS: Mapping[int, str] = {
    1: "Health",
    2: "Usage",
    3: "SelfTest",
    4: "ErrorCount",
    5: "FailedHealthCheck",
    6: "FailedReadSmartData",
    7: "FailedReadSmartErrorLog",
    8: "FailedReadSmartSelfTestLog",
    9: "FailedOpenDevice",
    10: "CurrentPendingSector",
    11: "OfflineUncorrectableSector",
    12: "Temperature",
}
"""What smartd warns of, by the number it keeps the mail under. Source: smartmontools, src/smartd.cpp, whichfail."""

FAILING = frozenset({"Health", "Usage"})
"""Warnings that are the disk's own verdict: its health status failed, or a pre-fail attribute is below its limit."""

RAW_VALUES: Mapping[int, str] = {
    5: "reallocated_sectors",
    9: "power_on_hours",
    187: "reported_uncorrectable",
    197: "pending_sectors",
    198: "uncorrectable_sectors",
    199: "cable_errors",
}
"""ATA attributes whose raw value is a count with nearly all makers. Source: smartmontools, drivedb.h, its defaults."""

LIFE_LEFT = (231, 233, 202, 177, 173)
"""ATA attributes whose value goes from 100 to 0 with an SSD's wear, the plainest first. Source: drivedb.h."""

NVME: Mapping[str, str] = {
    "percentage-used": "wear_percent",
    "available-spare": "spare_percent",
    "media-errors": "media_errors",
    "power-on-hours": "power_on_hours",
    "critical-warning": "critical_warning",
}
"""Names in smartd's NVMe attribute log. Source: smartmontools 7.5, src/smartd.cpp, write_nvme_attrlog."""


class Attribute(NamedTuple):
    """An ATA attribute: the maker's scale from 100 or more down, and the count behind it."""

    value: int
    raw: int


def parse_state(text: str) -> dict[str, int]:
    """
    Return a state file's numbers by name; smartd leaves out what is 0. Lines that are none are left out.

    Source: smartmontools, src/smartd.cpp, write_dev_state: "ata-smart-attribute.3.raw = 12".
    """
    pairs = (line.partition(" = ")[::2] for line in text.splitlines() if not line.startswith("#"))
    return {name.strip(): int(number) for name, number in pairs if number.strip().isdecimal()}


def parse_attributes(state: Mapping[str, int]) -> dict[int, Attribute]:
    """Return the ATA attributes of a state file by their ids."""
    found = {}
    for name, number in state.items():
        prefix, dot, what = name.rpartition(".")
        if dot and what == "id" and prefix.startswith("ata-smart-attribute."):
            found[number] = Attribute(state.get(f"{prefix}.val", 0), state.get(f"{prefix}.raw", 0))
    return found


def parse_log(tail: str) -> tuple[str, dict[str, tuple[str, ...]]]:
    """
    Return the time of an attribute log's last whole line, and its entries by their first word.

    Source: smartd(8), --attributelog: "2026-01-01 00:00:00;<tab>5;100;0;<tab>9;…"; SCSI and NVMe: "<tab>name;number;".
    """
    whole = tail[: tail.rfind("\n") + 1].splitlines()
    at, *entries = whole[-1].split("\t") if whole else [""]
    fields = (tuple(entry.rstrip(";").split(";")) for entry in entries)
    return at.rstrip(";")[:40], {first: tuple(rest) for first, *rest in fields if rest}


def parse_warnings(state: Mapping[str, int]) -> tuple[str, ...]:
    """Return what smartd has warned of and not taken back."""
    return tuple(words for number, words in WARNINGS.items() if state.get(f"mail.{number}.count"))


def parse_ata(attributes: Mapping[int, Attribute]) -> dict[str, Scalar]:
    """Turn ATA attributes into readings."""
    counts: dict[str, Scalar] = {
        name: attributes[number].raw for number, name in RAW_VALUES.items() if number in attributes
    }
    if "power_on_hours" in counts:
        # The upper bytes are minutes or a second count with some makers.
        counts["power_on_hours"] = attributes[9].raw & 0xFFFFFFFF
    left = next((attributes[number].value for number in LIFE_LEFT if number in attributes), None)
    return counts if left is None else {**counts, "wear_percent": max(0, 100 - left)}


def parse_nvme(state: Mapping[str, int], log: Mapping[str, tuple[str, ...]]) -> dict[str, Scalar]:
    """Turn what smartd keeps of an NVMe disk into readings: from the log, else from the state, which 7.5 began with."""
    found: dict[str, Scalar] = {
        name: int(log[key][0]) for key, name in NVME.items() if key in log and log[key][0].lstrip("-").isdecimal()
    }
    if "nvme-available-spare" in state and not found:
        for key in ("percentage-used", "available-spare", "media-errors"):
            found[NVME[key]] = state.get(f"nvme-{key}", 0)
    if "nvme-err-log-entries" in state:
        found["error_log_entries"] = state["nvme-err-log-entries"]
    return found


def parse_scsi(log: Mapping[str, tuple[str, ...]]) -> dict[str, Scalar]:
    """Turn a SCSI disk's error counters into readings: what could not be corrected, over reads, writes and checks."""
    counts = [log[key][0] for key in log if key.endswith("-total-unc-errors")]
    uncorrected = [int(count) for count in counts if count.isdecimal()]
    return {"media_errors": sum(uncorrected)} if uncorrected else {}


def _readings(bus: str, state_text: str, log_tail: str) -> dict[str, Scalar]:
    """Return one disk's readings."""
    state = parse_state(state_text)
    at, log = parse_log(log_tail)
    warnings = parse_warnings(state)
    found: dict[str, Scalar] = {"logged_at": at or None, "warnings": ", ".join(warnings) or None}
    if bus == "ata":
        logged = {
            int(number): Attribute(int(rest[0]), int(rest[1]))
            for number, rest in log.items()
            if len(rest) == 2 and all(word.isdecimal() for word in (number, *rest))
        }
        found.update(parse_ata(logged or parse_attributes(state)))
        found["error_log_entries"] = state.get("ata-error-count", 0) if state else None
    else:
        found.update(parse_nvme(state, log) if bus == "nvme" else parse_scsi(log))
    if state_text.startswith("#"):
        found["self_test_errors"] = state.get("self-test-errors")
    if state_text.startswith("#") or "critical_warning" in found:
        found["health"] = "failed" if FAILING & set(warnings) or found.get("critical_warning") else "passed"
        found["critical_warning"] = found.get("critical_warning") or None
    return found


def _plain(words: str) -> str:
    return re.sub(r"[^0-9a-z]", "", words.lower())


def _names_of_disks(host: Host) -> dict[str, str]:
    """Return the kernel's name of each disk by its model and serial number, as udev has them."""
    found = {}
    for name in names_or_nothing(host, _BY_ID):
        bus, dash, rest = name.partition("-")
        if dash and bus in {"ata", "nvme", "scsi"} and "-part" not in rest and has_link(host, f"{_BY_ID}/{name}"):
            found[_plain(rest)] = host.link(f"{_BY_ID}/{name}").rpartition("/")[2]
    return found


def _name(disk: str, known: Mapping[str, str]) -> str | None:
    """Return the kernel's name of a disk in smartd's files; None for one that is gone, whose files stay behind."""
    plain = _plain(disk)
    if not known:
        return disk[:100]
    # smartd appends the namespace of an NVMe disk: "MODEL-SERIAL-n1".
    return known.get(plain) or known.get(_plain(re.sub(r"-n\d+$", "", disk)))


def _smartd(host: Host) -> dict[str, dict[str, Scalar]]:
    """Return what smartd wrote, by disk."""
    files: dict[tuple[str, str], dict[str, str]] = {}
    for name in names_or_nothing(host, FOLDER):
        if (found := _FILE.fullmatch(name)) is not None:
            files.setdefault((found["disk"], found["bus"]), {})[found["kind"]] = f"{FOLDER}/{name}"
    known = _names_of_disks(host)
    disks = {}
    for (disk, bus), paths in list(files.items())[:MOST_DISKS]:
        here = _name(disk, known)
        if here is not None:
            state = text_or_none(host, paths["state"]) if "state" in paths else None
            disks[here] = _readings(bus, state or "", _tail(host, paths.get("csv")))
    return disks


def _tail(host: Host, path: str | None) -> str:
    """Return the end of an attribute log; nothing where there is none."""
    try:
        return host.tail(path, _LINE_BYTES) if path is not None else ""
    except OSError:
        return ""


def _controllers(host: Host) -> Items:
    """Return the state of every NVMe controller. Source: Linux, drivers/nvme/host/sysfs.c, nvme_sysfs_show_state."""
    names = names_or_nothing(host, _NVME)[:MOST_DISKS]
    found = {name: text_or_none(host, f"{_NVME}/{name}/state") for name in names}
    return {name: state[:40] for name, state in found.items() if state}


def read(host: Host, _before: None) -> Reading | NotHere:
    """Read what smartd last wrote, and the state of NVMe controllers."""
    by_name: dict[str, Items] = {}
    for disk, readings in _smartd(host).items():
        for name, value in readings.items():
            if value is not None:
                by_name.setdefault(name, {})[disk] = value
    controllers = _controllers(host)
    hint = "" if by_name else "smartd has written nothing: install smartmontools to see the disks' own health"
    if hint and not controllers:
        return NotHere(f"{hint}; disks of a hypervisor have none")
    return Reading(without_nothing({**by_name, "controller_state": controllers, "hint": hint or None}))


INDICATOR = Indicator(
    name="smart",
    interval_s=INTERVAL_S,
    deadline_s=5.0,
    read=read,
    describes={
        "health": "by disk: failed where the disk says so itself: health status, pre-fail attribute, critical warning",
        "warnings": "by disk: what smartd warned of and has not taken back",
        "logged_at": "by disk: when smartd last read it, UTC or local as smartd writes it",
        "self_test_errors": "by disk: failed self-tests in its log; left out while 0",
        "error_log_entries": "by disk: entries of its own error log, ever",
        "wear_percent": "by SSD: endurance used; over 100 is possible with NVMe",
        "spare_percent": "by NVMe disk: spare blocks left",
        "media_errors": "by NVMe or SCSI disk: data that could not be read back right, ever",
        "critical_warning": "by NVMe disk: bits of its critical warning; left out while 0",
        "reallocated_sectors": "by ATA disk: sectors replaced by spare ones (attribute 5)",
        "pending_sectors": "by ATA disk: sectors that could not be read and wait for a write (attribute 197)",
        "uncorrectable_sectors": "by ATA disk: sectors that a scan could not read (attribute 198)",
        "reported_uncorrectable": "by ATA disk: errors it could not correct (attribute 187)",
        "cable_errors": "by ATA disk: transfers that arrived damaged, often the cable (attribute 199)",
        "power_on_hours": "by disk: hours it has run",
        "controller_state": "by NVMe controller: live, resetting, connecting, deleting, dead (sysfs)",
        "hint": "why there is nothing by disk",
    },
)
