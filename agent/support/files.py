"""A recording without what names anything: each file by what it holds, paths and names by the same rules. Pure."""

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import msgspec

from agent.host.kernel import DEVICE
from agent.host.mounts import parse_mounts
from agent.host.recorded import Answers
from agent.support import kernellog
from agent.support.redaction import Kind, Redactor

NEVER = re.compile(
    r".*/(?:\.ssh|\.gnupg|\.aws|\.kube)(?:/.*)?|/etc/g?shadow-?|/etc/ssh/.*key.*|.*\.(?:key|pem)|/root(?:/.*)?"
)
"""Files that no recording holds, whatever reads them."""

_PROCESS = re.compile(r"/proc/\d+/(?:task/\d+/)?(?:stat|comm|status)")
_SERIAL = re.compile(r"/sys/.*(?:serial|wwid|uuid|asset_tag|vpd_pg\w+|unique_id|nguid|eui)|/etc/machine-id")
_KERNEL_S = frozenset({"0", "2"})
"""The parents of kernel threads: nobody, and kthreadd. Source: Linux, init/main.c, rest_init()."""

_SESSIONS = "/run/systemd/sessions/"
_SESSION = re.compile(r"(CLASS|USER)=(.*)")
"""The lines of a session that are looked at; others have its addresses. Source: systemd, logind-session.c."""

_BY_ID = "/dev/disk/by-id"
_DISKS_BY_ID = ("ata-", "nvme-", "scsi-", "wwn-")


def without_names(files: Mapping[str, str], answers: Answers, redactor: Redactor) -> tuple[dict[str, str], Answers]:
    """
    Return a recording's texts by path, and its other answers, with everything replaced that names anything.

    Args:
        files: As they were read.
        answers: What was answered besides.
        redactor: What replaces; it knows what identifies the machine.
    """
    redactor.spare({part for path in (*files, *answers.listings) for part in PurePosixPath(path).parts[1:]})
    kept = {
        redactor.text(path): _file(path, text, redactor) for path, text in files.items() if not NEVER.fullmatch(path)
    }
    plain: dict[str, Any] = msgspec.to_builtins(answers)
    for path, names in plain["listings"].items():
        plain["listings"][path] = list(_names(path, names))
    plain["links"] = {path: to for path, to in plain["links"].items() if _wanted(path)}
    plain["users"] = [redactor.name(Kind.USER, user) for user in answers.users] if answers.users is not None else None
    redacted = msgspec.convert(redactor.plain(plain), Answers)
    sorted_names = {path: tuple(sorted(names)) for path, names in redacted.listings.items()}
    return kept, msgspec.structs.replace(redacted, listings=sorted_names)


def _names(path: str, names: list[str]) -> Iterator[str]:
    for name in names:
        if _wanted(f"{path}/{name}") and not NEVER.fullmatch(f"{path}/{name}"):
            yield name


def _wanted(path: str) -> bool:
    """Return whether a name is kept: of the many that udev gives each disk, those that an indicator looks for."""
    return not path.startswith(f"{_BY_ID}/") or path.removeprefix(f"{_BY_ID}/").startswith(_DISKS_BY_ID)


def _file(path: str, text: str, redactor: Redactor) -> str:
    """Return a file's text, by what it holds."""
    if path == DEVICE:
        return kernellog.without_names(text, redactor)
    if path.startswith(_SESSIONS):
        return _session(text, redactor)
    if _PROCESS.fullmatch(path):
        return redactor.text(_process(text, redactor))
    if path.endswith("/mountinfo"):
        return redactor.text(_mounts(text, redactor))
    if _SERIAL.fullmatch(path):
        return redactor.whole(Kind.SERIAL, text)
    return redactor.text(text)


def _process(stat: str, redactor: Redactor) -> str:
    """Return a process's line without its name, unless it is the kernel's own. Source: proc_pid_stat(5)."""
    before, opened, rest = stat.partition("(")
    name, closed, after = rest.rpartition(")")
    if not opened or not closed or after.split()[1:2] == [] or after.split()[1] in _KERNEL_S:
        return stat
    redactor.left_out(Kind.PROCESS, name)
    return f"{before}(-){after}"


def _session(text: str, redactor: Redactor) -> str:
    """Return a session's file without whose it is."""
    lines = (found for line in text.splitlines() if (found := _SESSION.fullmatch(line)) is not None)
    return "".join(
        f"{line[0]}\n" if line[1] == "CLASS" else f"USER={redactor.name(Kind.USER, line[2])}\n" for line in lines
    )


def _mounts(mountinfo: str, redactor: Redactor) -> str:
    """Return the lines that the agent looks at: those of disks. Others tell of servers, tenants and containers."""
    kept = []
    for line in mountinfo.splitlines(keepends=True):
        if parse_mounts(line):
            kept.append(line)
        else:
            redactor.left_out(Kind.MOUNT, line)
    return "".join(kept)
