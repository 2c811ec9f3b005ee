"""Where this machine's container engines keep their files, told so by their settings. Pure but for two reads."""

import json
import os
import tomllib
from collections.abc import Iterable
from pathlib import Path

from agent.wiper.containers import STORAGE
from agent.wiper.mountinfo import beneath

SHARED = ("/home", "/root", "/tmp", "/var/tmp", "/dev/shm", "/etc", "/usr", "/opt", "/srv", "/var/lib", "/var/spool")  # noqa: S108
"""Places that are everybody's: a directory with one of these in it is no engine's."""
DOCKERS, PODMANS = "/etc/docker/daemon.json", "/etc/containers/storage.conf"


def of_docker(text: str) -> tuple[str, ...]:
    """
    Read Docker's settings; an empty text is none.

    Raises:
        ValueError: it is no JSON object.

    Source: dockerd(8), "Daemon configuration file": data-root, once called graph, and exec-root.
    """
    told = json.loads(text) if text.strip() else {}
    if not isinstance(told, dict):
        raise ValueError(f"{DOCKERS} is no JSON object")  # noqa: TRY004 - of the text, not of a caller
    return _paths(told.get(name) for name in ("data-root", "graph", "exec-root"))


def of_podman(text: str) -> tuple[str, ...]:
    """
    Read Podman's settings; an empty text is none.

    Raises:
        ValueError: it is no TOML.

    Source: containers-storage.conf(5), graphroot and runroot.
    """
    told = tomllib.loads(text).get("storage", {})
    return _paths(told.get(name) for name in ("graphroot", "runroot")) if isinstance(told, dict) else ()


def of_engine(name: str) -> tuple[str, ...]:
    """Return the directories that one engine's settings name; raises as `configured`."""
    return of_docker(_text(DOCKERS)) if name == "docker" else of_podman(_text(PODMANS))


def configured() -> tuple[str, ...]:
    """
    Return the directories of both engines that their settings name.

    Raises:
        OSError, ValueError: settings are there and cannot be read.
    """
    return (*of_engine("docker"), *of_engine("podman"))


def everything() -> tuple[str, ...]:
    """
    Return the usual directories and those, each by where it really is: one of them is often a link to a larger disk.

    Raises:
        OSError: as `configured`.
        ValueError: as `configured`; or one is no place for an engine alone, so that what others keep there would be
            left out of every look.
    """
    found = dict.fromkeys(STORAGE)
    for path in (*STORAGE, *configured()):
        real = os.path.realpath(path)
        if real not in STORAGE and os.path.lexists(real):
            _check(real)
        found[real] = None
    return tuple(found)


def _check(path: str) -> None:
    facts = Path(path).stat(follow_symlinks=False)
    if any(beneath(one, path) for one in SHARED) or facts.st_uid != 0 or facts.st_mode & 0o022:
        raise ValueError(f"{path} is no place for a container engine alone")


def _paths(told: Iterable[object]) -> tuple[str, ...]:
    return tuple(one.rstrip("/") for one in told if isinstance(one, str) and one.startswith("/") and one.strip("/"))


def _text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "surrogateescape")
    except FileNotFoundError:
        return ""
