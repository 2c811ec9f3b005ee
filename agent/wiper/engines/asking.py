"""
Container engines, asked through their own tools: what they hold, and to remove some of it by id.

The wiper's own process may make few namespaces, has few capabilities and no network; an engine's tool may need any of
root's, for a container's network for one, so the service manager starts it apart, where one runs.
"""

import errno
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from agent.wiper.engines import storage
from agent.wiper.engines.containers import Container, Image, Stock, Volume
from agent.wiper.engines.stocks import SaidContainer, SaidImage, SaidVolume, plain, read
from agent.wiper.system.tools import NOW, Ended, is_there, run, systemd_runs

ASK_S, REMOVE_S = 30.0, 60.0
SLACK_S = 5.0
"""How much longer than the service manager we wait."""
AT_ONCE = 50
"""Ids of one call: its arguments stay far below the kernel's limit, and its answer below a few megabytes."""
MOST = 5000
"""Things of one kind that an engine may hold; more are not looked at at all."""
TRIES = 3
"""How often a list is asked for anew when something in it went away meanwhile."""
APART = (*NOW, "--service-type=exec", "--property=KillMode=mixed")
"""Source: systemd-run(1); systemd.kill(5)."""
ID = re.compile(r"[0-9a-f]{12,64}")
VOLUME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")
"""Source: Docker, volume/names/names.go, RestrictedNamePattern; Podman, libpod/define/config.go, NameRegex."""
DRIVER = re.compile(r"[a-z0-9]{1,32}")


class Engine(NamedTuple):
    """
    An engine that can be asked.

    `tool`: its words before a command; `storage`: where it keeps things unless told otherwise; `socket`: where its
    service is asked; `settings`: a file that may put the storage elsewhere, where the tool needs no service;
    `at_once`: words that make it remove a running container without waiting.
    """

    name: str
    tool: tuple[str, ...]
    storage: tuple[str, ...]
    socket: str
    settings: str | None = None
    at_once: tuple[str, ...] = ()


DOCKER = Engine(
    "docker",
    ("docker", "--host", "unix:///run/docker.sock"),
    ("/var/lib/docker", "/run/docker", "/var/snap/docker"),
    "/run/docker.sock",
)
PODMAN = Engine(
    "podman",
    ("podman",),
    ("/var/lib/containers", "/run/containers/storage"),
    "/run/podman/podman.sock",
    settings="/etc/containers/storage.conf",
    at_once=("--time", "0"),
)
ENGINES = (DOCKER, PODMAN)

OF_DOCKER = frozenset({"moby", "plugins.moby"})
"""What containerd holds for Docker. Source: Docker, daemon/config: ContainerdNamespace, ContainerdPluginNamespace."""


def is_here(engine: Engine) -> bool:
    """Return whether an engine has something, or could have it elsewhere than usual."""
    if any(map(holds_something, (*engine.storage, *storage.of_engine(engine.name)))):
        return True
    if engine.settings is not None:
        return Path(engine.settings).exists() and is_there(engine.tool[0])
    # A link there is Podman's stand-in for Docker.
    return Path(engine.socket).is_socket() and not Path(engine.socket).is_symlink()


def holds_something(directory: str) -> bool:
    """Return whether there is something in it: an engine that never ran leaves the directories of its package empty."""
    try:
        return any(Path(directory).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return False


def namespaces(but: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """
    Return the namespaces of containerd's, without some.

    Raises:
        OSError: it cannot be asked.
    """
    done = _apart(("ctr", "namespaces", "list", "--quiet"), ASK_S)
    if done.code:
        raise OSError(errno.EIO, "it does not answer")
    return tuple(sorted(set(done.out.split()) - but))


Said = TypeVar("Said", SaidContainer, SaidVolume, SaidImage)


def stock(engine: Engine) -> Stock:
    """
    Ask an engine for all it holds.

    Raises:
        OSError: it is not installed (ENOENT), does not answer, or not in time, or nothing that can be understood.
    """
    images = _all(engine, "image", ("ls", "--all", "--quiet", "--no-trunc"), SaidImage)
    containers = _all(engine, "container", ("ls", "--all", "--quiet", "--no-trunc"), SaidContainer)
    volumes = _all(engine, "volume", ("ls", "--quiet"), SaidVolume)
    return read(containers, volumes, images, _births(engine, [plain(one.id) for one in images]))


def _all(engine: Engine, kind: str, listing: tuple[str, ...], said: type[Said]) -> list[Said]:
    for _ in range(TRIES):
        rule = VOLUME if kind == "volume" else ID
        listed = list(dict.fromkeys(plain(one) for one in _ask(engine, kind, *listing).out.split()))
        if len(listed) > MOST or not all(map(rule.fullmatch, listed)):
            raise OSError(errno.EPROTO, f"{engine.name} says something that is no list of its {kind}s")
        found: list[Said] = []
        try:
            for some in _chunks(listed):
                out = _ask(engine, kind, "inspect", "--", *some).out
                found += msgspec.json.decode(out.encode("utf-8", "surrogateescape"), type=list[said])  # type: ignore[valid-type]
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            continue  # one of them went away meanwhile
        except msgspec.DecodeError as error:
            words = f"{engine.name} says of a {kind} what cannot be understood"
            raise OSError(errno.EPROTO, words) from error
        return found
    raise OSError(errno.EIO, f"{engine.name} does not answer")


def _chunks(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), AT_ONCE):
        yield names[start : start + AT_ONCE]


def _births(engine: Engine, images: Sequence[str]) -> dict[str, datetime]:
    """Return when each image's files came to this machine; an image itself only tells when it was built, if at all."""
    if not images:
        return {}
    words = "{{.DockerRootDir}} {{.Driver}}" if engine is DOCKER else "{{.Store.GraphRoot}} {{.Store.GraphDriverName}}"
    root, _, driver = _ask(engine, "info", "--format", words).out.strip().rpartition(" ")
    if not root.startswith("/") or not DRIVER.fullmatch(driver):
        return {}
    above = f"{root}/image/{driver}/imagedb/content/sha256" if engine is DOCKER else f"{root}/{driver}-images"
    found = {}
    for some in _chunks(images):
        # It ends with an error where one is missing, and tells the others.
        done = run("stat", "--format=%W %n", "--", *(f"{above}/{one}" for one in some), deadline_s=ASK_S)
        for line in done.out.splitlines():
            birth, _, path = line.partition(" ")
            if birth.isdigit() and int(birth) > 0:
                found[path.rpartition("/")[2]] = datetime.fromtimestamp(int(birth), UTC)
    return found


def remove_container(engine: Engine, one: Container) -> None:
    """
    End a container and remove it with its anonymous volumes; one that is removed is not restarted.

    Raises:
        OSError: it stays.
    """
    _remove(engine, "container", ("--force", *engine.at_once, "--volumes"), one.id, ID)


def remove_pod(engine: Engine, pod: str) -> None:
    """
    Remove a pod of Podman's with all its containers.

    Raises:
        OSError: it stays.
    """
    _remove(engine, "pod", ("--force", *engine.at_once), pod, ID)


def remove_volume(engine: Engine, one: Volume) -> None:
    """
    Remove a volume; one that is in use stays.

    Raises:
        OSError: it stays.
    """
    _remove(engine, "volume", (), one.name, VOLUME)


def remove_image(engine: Engine, one: Image) -> None:
    """
    Remove an image with all its names, and nothing else: not the nameless ones below it.

    Raises:
        OSError: it stays.
    """
    # Podman's force would remove containers too; without names none is needed. Docker has no such command.
    if engine is PODMAN:
        _remove(engine, "", (), one.id, ID, verb="untag")
    _remove(engine, "image", ("--no-prune", *(("--force",) if engine is DOCKER else ())), one.id, ID)


def _remove(
    engine: Engine, kind: str, options: tuple[str, ...], what: str, rule: re.Pattern[str], verb: str = "rm"
) -> None:
    if not rule.fullmatch(what):
        raise AssertionError("only what the engine itself listed is removed")
    done = _apart((*engine.tool, *((kind,) if kind else ()), verb, *options, "--", what), REMOVE_S)
    if done.code:
        raise OSError(errno.EBUSY, f"{engine.name} does not remove a {kind or 'name'}")


def _ask(engine: Engine, *words: str) -> Ended:
    done = _apart((*engine.tool, *words), ASK_S)
    if done.code:
        raise OSError(errno.EIO, f"{engine.name} does not answer")
    return done


def _apart(argv: tuple[str, ...], deadline_s: float) -> Ended:
    if not is_there(argv[0]):
        raise OSError(errno.ENOENT, f"{argv[0]} is not installed")
    apart: tuple[str, ...] = ()
    if systemd_runs():
        apart = ("systemd-run", *APART, f"--property=RuntimeMaxSec={deadline_s:.0f}", "--")
    return run(*apart, *argv, deadline_s=deadline_s + SLACK_S)
