"""Where this machine's container engines keep their files: the usual places, and those that they are told."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from agent.wiper.engines.containers import STORAGE
from agent.wiper.engines.launches import Launch, launches
from agent.wiper.engines.settings import OPTIONS, Told, of_containerd, of_docker, of_options, of_podman
from agent.wiper.engines.texts import matching, text_of
from agent.wiper.system.mountinfo import beneath

SHARED = (
    *("/home", "/root", "/tmp", "/var/tmp", "/dev/shm", "/etc", "/usr", "/opt", "/srv", "/mnt", "/media"),  # noqa: S108
    *("/var/lib", "/var/spool", "/var/log", "/var/cache", "/run/user", "/run/lock"),
)
"""Places that are everybody's: a directory with one of these in it is no engine's."""
SETTINGS = {
    "docker": ("/etc/docker/daemon.json",),
    "podman": tuple(
        f"{folder}/{name}"
        for folder in ("/usr/share/containers", "/etc/containers")
        for name in ("storage.conf", "storage.conf.d/*.conf", "storage.rootful.conf.d/*.conf")
    ),
    "containerd": ("/etc/containerd/config.toml", "/etc/containerd/conf.d/*.toml"),
    "buildkit": ("/etc/buildkit/buildkitd.toml",),
}
"""
Where each engine's settings are. One file may put another out of force; what both name is left alone.

Source: dockerd(8); containers-storage.conf(5); containerd-config.toml(5); buildkitd.toml(5).
"""
MOST_FILES = 200


def of_engine(name: str) -> tuple[str, ...]:
    """Return the directories that one engine is told to keep its files in; raises as `configured`."""
    return tuple(_told(name, launches()))


def configured() -> tuple[str, ...]:
    """
    Return the directories that all engines are told to keep their files in.

    Raises:
        OSError, ValueError: settings are there and cannot be read.
    """
    launched = launches()
    return tuple(path for name in OPTIONS for path in _told(name, launched))


def unasked() -> tuple[str, ...]:
    """
    Return those of them that no engine is asked about; raises as `configured`.

    BuildKit's; and Podman's where only some command line names them: its tool is asked without it.
    """
    launched = launches()
    known = (*STORAGE, *_told("podman", ()))
    podmans = (path for path in _told("podman", launched) if not _is_in(path, known))
    return tuple(dict.fromkeys((*_told("buildkit", launched), *podmans)))


def of_containerd_alone() -> tuple[str, ...]:
    """Return containerd's that are not in a usual place or Docker's, which has one of its own; raises as above."""
    launched = launches()
    known = (*STORAGE, *_told("docker", launched))
    return tuple(path for path in _told("containerd", launched) if not _is_in(path, known))


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
        if os.path.lexists(real) and not any(beneath(real, one) for one in STORAGE):
            _check(real)
        found[real] = None
    return tuple(found)


def _told(engine: str, launched: Iterable[Launch]) -> Iterator[str]:
    """Give the directories that an engine's command lines and settings name, and what these refer to."""
    files = list(SETTINGS[engine])
    for launch in launched:
        if launch.engine == engine:
            told = of_options(engine, launch.words)
            yield from told.roots
            files += told.files
    seen = set[str]()
    for pattern in files:
        for path in matching(pattern):
            if path in seen:
                continue
            seen.add(path)
            told = _read(engine, path)
            yield from told.roots
            # The list grows while it is gone through.
            files += told.files
        if len(files) > MOST_FILES:
            raise ValueError(f"the settings of {engine} have no end")


def _read(engine: str, path: str) -> Told:
    text = text_of(path)
    if engine == "docker":
        return of_docker(text)
    return of_podman(text) if engine == "podman" else of_containerd(text, path)


def _is_in(path: str, places: Iterable[str]) -> bool:
    return any(beneath(os.path.realpath(path), os.path.realpath(place)) for place in places)


def _check(path: str) -> None:
    facts = Path(path).stat(follow_symlinks=False)
    if any(beneath(one, path) for one in SHARED) or facts.st_uid != 0 or facts.st_mode & 0o022:
        raise ValueError(f"{path} is no place for a container engine alone")
