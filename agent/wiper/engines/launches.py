"""How container engines are started: those that run, by their command lines; those that would run, by their units."""

import os
from collections.abc import Iterator
from typing import NamedTuple

from agent.wiper.engines.settings import of_environment, of_unit, words_of, words_of_variable
from agent.wiper.engines.texts import matching, text_of
from agent.wiper.tenant.alive import says, user_of

PROGRAMS = {b"dockerd": "docker", b"containerd": "containerd", b"buildkitd": "buildkit", b"podman": "podman"}
UNITS = {"docker": "docker", "containerd": "containerd", "buildkit": "buildkit", "podman": "podman"}
"""Engines by the names of their units, and of the files with variables that start scripts read."""
UNIT_FOLDERS = (
    *("/etc/systemd/system", "/run/systemd/system", "/run/systemd/transient"),
    *("/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"),
)
"""Source: systemd.unit(5), "Unit File Load Path"."""
VARIABLES = ("/etc/default", "/etc/sysconfig")
MOST_WORDS = 4096


class Launch(NamedTuple):
    """A command line of an engine's, or words that may come to be in one."""

    engine: str
    words: tuple[str, ...]


def launches() -> tuple[Launch, ...]:
    """
    Return every command line of every engine.

    Raises:
        OSError, ValueError: a unit is there and cannot be read.
    """
    return (*_running(), *(one for unit, engine in UNITS.items() for one in _in_unit(unit, engine)))


def _running() -> Iterator[Launch]:
    """
    Give the engines that run as root; what a container runs has paths of its own and says nothing.

    By the name that the kernel gave the process: its program is shown only to who may do as much as an engine may.

    Source: proc(5), comm, cmdline, and in status Uid and NSpid.
    """
    for name in os.listdir("/proc"):  # noqa: PTH208 - names only
        engine = PROGRAMS.get(says(int(name), "comm").rstrip(b"\n")) if name.isdigit() else None
        if engine is not None and _is_the_machines(int(name)):
            words = says(int(name), "cmdline").split(b"\0")[:MOST_WORDS]
            yield Launch(engine, tuple(map(os.fsdecode, words)))


def _is_the_machines(pid: int) -> bool:
    user = user_of(pid)
    lines = says(pid, "status").split(b"\n")
    return (
        user is not None and user[0] == 0 and any(len(one.split()) == 2 for one in lines if one.startswith(b"NSpid:"))
    )


def _in_unit(name: str, engine: str) -> Iterator[Launch]:
    """Give what a unit's files say, all of them: one that another replaces names what an earlier run may have left."""
    commands, variables = list[str](), dict[str, str]()
    files = [f"{folder}/{name}" for folder in VARIABLES]
    for folder in UNIT_FOLDERS:
        for path in (f"{folder}/{name}.service", *matching(f"{folder}/{name}.service.d/*.conf")):
            unit = of_unit(text_of(path))
            commands += unit.commands
            variables |= unit.variables
            files += unit.files
    for path in (path for pattern in dict.fromkeys(files) for path in matching(pattern)):
        variables |= of_environment(text_of(path))
    yield from (Launch(engine, words_of(command, variables)) for command in commands)
    yield from (Launch(engine, words_of_variable(value)) for value in variables.values())
