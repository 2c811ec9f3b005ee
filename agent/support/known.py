"""What identifies this machine and the people on it, looked up to be taken out; none of it is recorded."""

import re
from collections.abc import Iterator

from agent.host import Host, names_or_nothing, text_or_none
from agent.inventory import meaningful
from agent.support.redaction import Kind, Redactor

FIRST_USER, LAST_USER = 1000, 60_000
"""Source: login.defs(5), UID_MIN and UID_MAX."""

_DMI = "/sys/class/dmi/id"
_BY_ID = "/dev/disk/by-id"
_SMARTD = "/var/lib/smartmontools"
_FILE_OF_SMARTD = re.compile(r"(?:smartd|attrlog)\..+-([0-9A-Za-z_]+?)(?:-n\d+)?\.(?:ata|scsi|nvme)\.\w+~?")
"""Source: smartmontools, src/smartd.cpp: "smartd.MODEL-SERIAL.ata.state", "-n1" for a namespace."""

_NAME_OF_UDEV = re.compile(r"(?:ata|scsi|nvme|usb|virtio|mmc)-(.+?)(?:-\d+:\d+)?(?:-part\d+)?")
"""Source: systemd, rules.d/60-persistent-storage.rules: "ata-MODEL_SERIAL", "nvme-MODEL_SERIAL_1" for a namespace."""

Known = Iterator[tuple[Kind, str]]


def tell(host: Host, redactor: Redactor) -> None:
    """Let a redactor know what identifies this machine."""
    for find in (_hosts, _users, _boards, _disks):
        for kind, word in find(host):
            redactor.know(kind, word)


def _hosts(host: Host) -> Known:
    for path in ("/proc/sys/kernel/hostname", "/etc/hostname"):
        yield from _host(_line(host, path))
    for line in (text_or_none(host, "/etc/hosts") or "").splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        for name in names if address.startswith("127.0.") else ():
            yield from _host(name)


def _host(name: str) -> Known:
    first, dot, domain = name.partition(".")
    if first in {"", "localhost", "(none)"}:
        return
    yield Kind.HOST, name
    yield Kind.HOST, first
    if dot and "." in domain:
        yield Kind.HOST, domain


def _users(host: Host) -> Known:
    for line in (text_or_none(host, "/etc/passwd") or "").splitlines():
        fields = line.split(":")
        if len(fields) == 7 and fields[2].isdigit() and FIRST_USER <= int(fields[2]) <= LAST_USER:
            yield Kind.USER, fields[0]
            yield Kind.USER, fields[4].partition(",")[0]
            yield Kind.USER, fields[5].rpartition("/")[2]


def _boards(host: Host) -> Known:
    for name in names_or_nothing(host, _DMI):
        if name.endswith(("_serial", "_uuid", "_asset_tag")):
            value = _line(host, f"{_DMI}/{name}")
            if meaningful(value):
                yield Kind.SERIAL, value


def _disks(host: Host) -> Known:
    for name in names_or_nothing(host, "/sys/block"):
        for file in ("serial", "device/serial"):
            yield Kind.SERIAL, _line(host, f"/sys/block/{name}/{file}")
        wwid = _line(host, f"/sys/block/{name}/device/wwid") or _line(host, f"/sys/block/{name}/wwid")
        yield Kind.SERIAL, wwid.split()[-1] if wwid else ""
        number = _line(host, f"/sys/block/{name}/dev")
        for line in (text_or_none(host, f"/run/udev/data/b{number}") or "").splitlines():
            if line.startswith(("E:ID_SERIAL_SHORT=", "E:ID_SCSI_SERIAL=")):
                yield Kind.SERIAL, line.partition("=")[2]
    for name in names_or_nothing(host, "/sys/class/nvme"):
        yield Kind.SERIAL, _line(host, f"/sys/class/nvme/{name}/serial")
    for name in names_or_nothing(host, _SMARTD):
        if (written := _FILE_OF_SMARTD.fullmatch(name)) is not None:
            yield Kind.SERIAL, written[1]
    for name in names_or_nothing(host, _BY_ID):
        if (link := _NAME_OF_UDEV.fullmatch(name)) is not None:
            yield Kind.SERIAL, re.sub(r"_\d{1,3}$", "", link[1]).rpartition("_")[2]


def _line(host: Host, path: str) -> str:
    """Return a file's first line; empty where there is none."""
    return (text_or_none(host, path) or "").partition("\n")[0].strip()
