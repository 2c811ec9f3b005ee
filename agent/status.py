"""What the running agent tells `rackproof-agent status`, through a small file."""

import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from shared.codes import Code, Trouble

FRESH_S = 60.0
"""A running agent writes its status with every report; older than this it is stuck or stopped."""


class Status(Struct, frozen=True, kw_only=True):
    """
    The agent's state at a moment.

    `link`: "online", or why not; `doing`: the kind of command at work; `waiting`: reports not yet acknowledged;
    `unsettled`: answers that the collector has not confirmed; `tenants`: accounts granted and not yet wiped.
    """

    pid: int
    at: datetime
    link: str
    doing: str
    waiting: int
    unsettled: int
    tenants: int = 0


def write_status(path: Path, *, link: str, doing: str, waiting: int, unsettled: int, tenants: int) -> None:
    """
    Replace the status file.

    Not flushed: it describes a moment. A full disk leaves the old one, whose age shows; the report itself has said so.
    """
    status = Status(
        pid=os.getpid(),
        at=datetime.now(UTC),
        link=link,
        doing=doing,
        waiting=waiting,
        unsettled=unsettled,
        tenants=tenants,
    )
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_bytes(msgspec.json.encode(status))
        beside.replace(path)
    except OSError as error:
        raise Trouble(Code.STATE_UNWRITABLE, f"{path}: {error.strerror}") from error


def read_status(path: Path) -> Status | None:
    """
    Return what the agent told last; None when it never ran.

    Raises:
        Trouble: `state_corrupt` or `forbidden`.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Status)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise Trouble(Code.FORBIDDEN, f"{path} is the agent's", "run it as root") from error
    except msgspec.MsgspecError as error:
        raise Trouble(Code.STATE_CORRUPT, f"{path}: {error}") from error


def alive(pid: int) -> bool:
    """Return whether a process with this number runs."""
    return Path("/proc", str(pid)).exists()


def in_words(told: Status | None, now: datetime, *, runs: bool) -> str:
    """Return the agent's state: "online", or why not."""
    if told is None:
        return "has never run; start it: systemctl start rackproof-agent"
    if not runs:
        return "not running; start it: systemctl start rackproof-agent"
    if (now - told.at).total_seconds() > FRESH_S:
        return f"running as process {told.pid}, but silent since {told.at.isoformat(timespec='seconds')}"
    return told.link
