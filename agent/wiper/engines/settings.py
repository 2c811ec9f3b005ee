"""What container engines' settings, units and command lines say of where they keep their files. Pure."""

import json
import posixpath
import re
import shlex
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise, takewhile
from typing import Any, NamedTuple


class Options(NamedTuple):
    """
    Words of an engine's command line, without their dashes.

    `roots`: those that a directory follows; `files`: those that a file with settings follows; `ends`: what follows
    these is a container's.
    """

    roots: frozenset[str]
    files: frozenset[str] = frozenset()
    ends: frozenset[str] = frozenset()


OPTIONS = {
    "docker": Options(frozenset({"data-root", "graph", "g", "exec-root"}), frozenset({"config-file"})),
    "containerd": Options(frozenset({"root", "state"}), frozenset({"config", "c"})),
    "buildkit": Options(frozenset({"root"}), frozenset({"config"})),
    "podman": Options(frozenset({"root", "runroot", "imagestore"}), ends=frozenset({"run", "create", "exec"})),
}
"""Source: dockerd(8); containerd(8); BuildKit, cmd/buildkitd/main.go; podman(1), "Global Options"."""
_ATTACHED = re.compile(r"-([a-z])(/.*)")
_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")


class Told(NamedTuple):
    """Directories, and files with more settings; the last part of a file's path may be a pattern."""

    roots: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


class Unit(NamedTuple):
    """What a unit's files say: command lines as they are written, variables, and files with more of these."""

    commands: tuple[str, ...]
    variables: Mapping[str, str]
    files: tuple[str, ...]


def of_docker(text: str) -> Told:
    """
    Read Docker's settings; an empty text is none.

    Raises:
        ValueError: it is no JSON object.

    Source: dockerd(8), "Daemon configuration file": data-root, once called graph, and exec-root.
    """
    told = json.loads(text) if text.strip() else {}
    if not isinstance(told, dict):
        raise ValueError("Docker's settings are no JSON object")  # noqa: TRY004 - of the text, not of a caller
    return Told(_paths(told.get(name) for name in ("data-root", "graph", "exec-root")))


def of_podman(text: str) -> Told:
    """
    Read Podman's settings; an empty text is none.

    Not rootless_storage_path: what lies there has user ids of the machine, those that its user was given.

    Raises:
        ValueError: it is no TOML.

    Source: containers-storage.conf(5), graphroot, runroot, imagestore and additionalimagestores.
    """
    storage = _table(tomllib.loads(text), "storage")
    options = _table(storage, "options")
    more = options.get("additionalimagestores")
    one_by_one = (*(storage.get(name) for name in ("graphroot", "runroot", "imagestore")), options.get("imagestore"))
    return Told(_paths((*one_by_one, *(more if isinstance(more, list) else ()))))


def of_containerd(text: str, path: str) -> Told:
    """
    Read containerd's or BuildKit's settings, which lie at `path`; an empty text is none.

    Raises:
        ValueError: it is no TOML.

    Source: containerd-config.toml(5), root, state, imports; containerd, plugins/snapshots: root_path.
    """
    told = tomllib.loads(text)
    plugins = [one for one in _table(told, "plugins").values() if isinstance(one, dict)]
    roots = _paths((told.get("root"), told.get("state"), *(one.get("root_path") for one in plugins)))
    imports = told.get("imports")
    files = [one for one in imports if isinstance(one, str)] if isinstance(imports, list) else []
    return Told(roots, tuple(posixpath.join(posixpath.dirname(path), one) for one in files))


def of_options(engine: str, words: Sequence[str]) -> Told:
    """
    Read a command line of an engine's.

    Raises:
        ValueError: what it says is only known to the service manager.

    Source: as for `OPTIONS`; systemd.unit(5), "Specifiers".
    """
    options = OPTIONS[engine]
    given = list(_given(tuple(takewhile(lambda word: word not in options.ends, words))))
    roots = [value for name, value in given if name in options.roots]
    files = [value for name, value in given if name in options.files]
    for value in (*roots, *files):
        if "$" in value or "%" in value:
            raise ValueError(f"where {engine} keeps its files is not known: {value}")
    return Told(_paths(roots), _paths(files))


def of_unit(text: str) -> Unit:
    """
    Read a unit's file, or one that changes it.

    Raises:
        ValueError: its quotes do not match.

    Source: systemd.service(5), ExecStart; systemd.exec(5), Environment and EnvironmentFile; systemd.syntax(7).
    """
    lines = [line.partition("=") for line in _statements(text).split("\n")]
    given = [(name.strip(), value.strip()) for name, _, value in lines]
    variables = _variables(word for name, value in given if name == "Environment" for word in shlex.split(value))
    files = (value.removeprefix("-") for name, value in given if name == "EnvironmentFile")
    return Unit(tuple(value for name, value in given if name == "ExecStart"), variables, tuple(filter(None, files)))


def of_environment(text: str) -> dict[str, str]:
    """
    Read a file with variables, a service manager's or a start script's.

    Raises:
        ValueError: its quotes do not match.

    Source: systemd.exec(5), EnvironmentFile; Debian Policy, 9.3.2, /etc/default.
    """
    return _variables(shlex.split(_statements(text), comments=True))


def words_of(command: str, variables: Mapping[str, str]) -> tuple[str, ...]:
    """
    Return a unit's command line word by word; a variable that is not known stays as it is written.

    Raises:
        ValueError: its quotes do not match.

    Source: systemd.service(5), "Command Lines".
    """
    return tuple(shlex.split(_VARIABLE.sub(lambda found: variables.get(found[1] or found[2], found[0]), command)))


def words_of_variable(value: str) -> tuple[str, ...]:
    """Return a variable's words; where its quotes do not match it may be meant for anything, and is split at blanks."""
    try:
        return tuple(shlex.split(value))
    except ValueError:
        return tuple(value.split())


def _given(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Give each option with its value, be that in the same word or the next."""
    for word, after in pairwise((*words, "")):
        attached = _ATTACHED.fullmatch(word)
        if attached:
            yield attached[1], attached[2]
        elif word.startswith("-"):
            name, same, value = word.lstrip("-").partition("=")
            yield name, value if same else after


def _variables(words: Iterable[str]) -> dict[str, str]:
    parts = (word.partition("=") for word in words)
    return {name: value for name, same, value in parts if same and name.isidentifier()}


def _statements(text: str) -> str:
    """Return a text without its comments, each statement in one line."""
    lines = (line for line in text.split("\n") if line.lstrip()[:1] not in {"#", ";"})
    return "\n".join(lines).replace("\\\n", " ")


def _table(told: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = told.get(name)
    return table if isinstance(table, dict) else {}


def _paths(told: Iterable[object]) -> tuple[str, ...]:
    return tuple(one.rstrip("/") for one in told if isinstance(one, str) and one.startswith("/") and one.strip("/"))
