"""
What `doctor` looks at: one file a check and nothing else; each exposes one `CHECK`, named like its file.

A file keeps looking (`look`, I/O) apart from judging (`judge`, pure). Nothing is written or mended. A check judges only
whether this program can do its work here; whether the machine is well is for the collector.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path, PurePosixPath

from msgspec import Struct

from agent.config import Settings
from agent.host import Host, Usage
from shared.codes import Trouble


class Group(StrEnum):
    """What checks are about, in the order in which they are shown."""

    CONFIGURATION = "configuration"
    IDENTITY = "identity"
    COLLECTOR = "collector"
    WIPER = "wiper"
    STATE = "state"
    HEALTH = "health"
    BENCHMARKS = "benchmarks"


class State(StrEnum):
    """
    What a check found.

    "advice": it works, and could do better. "unknown": it does not apply here, or this user may not look.
    """

    FINE = "fine"
    ADVICE = "advice"
    PROBLEM = "problem"
    UNKNOWN = "unknown"


class Finding(Struct, frozen=True, kw_only=True):
    """
    What one check says.

    Attributes:
        value: What was found.
        limit: What it is held against.
        code: Stable name of what is wrong; empty where nothing is.
        remedy: What to do about it, a command where there is one.
    """

    state: State
    value: str
    limit: str = ""
    code: str = ""
    remedy: str = ""


class Scene(Struct, frozen=True, kw_only=True):
    """
    What checks may look at.

    Attributes:
        host: The machine.
        settings: Those in force; the defaults where they cannot be read.
        file: Where settings are read from.
        unreadable: Why the settings cannot be read.
        origin: The collector's address; empty while none is known.
        root: Whether we are root, who may look everywhere.
    """

    host: Host
    settings: Settings
    file: Path
    unreadable: Trouble | None = None
    origin: str = ""
    root: bool = False


class Check(Struct, frozen=True, kw_only=True):
    """
    One thing that `doctor` looks at.

    Attributes:
        name: The file's name; stable, for scripts.
        title: The same in words.
        group: What it is about.
        look: Looks and judges. May raise anything or hang: that becomes a line too.
        codes: Every code it can find, and why that matters, in one sentence.
        deadline_s: Give up waiting for it after this long.
        rank: Its place in the group, lower first; then by name.
    """

    name: str
    title: str
    group: Group
    look: Callable[[Scene], Finding]
    codes: Mapping[str, str] = {}
    deadline_s: float = 10.0
    rank: int = 0


def fine(value: str, limit: str = "") -> Finding:
    """Return that all is well."""
    return Finding(state=State.FINE, value=value, limit=limit)


def unknown(value: str) -> Finding:
    """Return that it does not apply here, or cannot be told; `value` says why."""
    return Finding(state=State.UNKNOWN, value=value)


def problem(code: str, value: str, *, remedy: str, limit: str = "") -> Finding:
    """Return that something has to be mended."""
    return Finding(state=State.PROBLEM, code=code, value=value, limit=limit, remedy=remedy)


def advice(code: str, value: str, *, remedy: str, limit: str = "") -> Finding:
    """Return that something could be better."""
    return Finding(state=State.ADVICE, code=code, value=value, limit=limit, remedy=remedy)


def nearest(host: Host, directory: str) -> tuple[str, Usage] | None:
    """Return a directory, or the nearest one above it that is there, and how full its file system is."""
    path = PurePosixPath(directory)
    for place in map(str, (path, *path.parents)):
        try:
            return place, host.usage(place)
        except OSError:
            continue
    return None
