"""Which steps a wipe takes, in which order, and what must be clean before each. Pure."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from shared.records import WipeMethod

CORE = ("processes", "mounts")
"""Places that must be clean before files are deleted: what runs can put them back, what is mounted may be others'."""

_KEYS = ("keys", "sshd")
_HOME = (
    *("login", *_KEYS, "access", "schedules", "processes", "mounts", "ipc", "namespaces", "home", "elsewhere", "held"),
    *("dumps", "containers", "gpus"),
)
_USER = (*_HOME, "privileges", "account")

PROMISED: dict[WipeMethod, tuple[str, ...]] = {
    WipeMethod.SSH_KEY_REMOVAL: _KEYS,
    WipeMethod.HOME_DIRECTORY_PURGE: _HOME,
    WipeMethod.USER_DELETION: _USER,
}
"""The places each method promises to have looked at; from the narrowest to the widest, each holds the one before."""


class Planned(NamedTuple):
    """One step: the place it works on, and the places that must be verified clean right before it."""

    step: str
    after: tuple[str, ...] = ()


_PURGE = (
    Planned("sshd"),
    Planned("login"),
    Planned("keys"),
    Planned("sshd"),
    Planned("schedules"),
    # Before processes and mounts: an engine starts again what is killed behind its back.
    Planned("containers"),
    Planned("processes"),
    Planned("mounts", after=("processes",)),
    Planned("ipc", after=("processes",)),
    Planned("namespaces", after=("processes",)),
    Planned("home", after=CORE),
    Planned("elsewhere", after=CORE),
    Planned("dumps"),
)
_ORDER: dict[WipeMethod, tuple[Planned, ...]] = {
    WipeMethod.SSH_KEY_REMOVAL: (Planned("sshd"), Planned("keys"), Planned("sshd")),
    WipeMethod.HOME_DIRECTORY_PURGE: (*_PURGE, Planned("processes")),
    WipeMethod.USER_DELETION: (
        *_PURGE,
        # The account goes last: as long as it stands, its name tells whose the rest is.
        Planned("privileges"),
        Planned("account", after=CORE),
        Planned("processes"),
    ),
}


def plan(methods: Iterable[WipeMethod]) -> tuple[Planned, ...]:
    """Return the steps of the widest of these methods, in order: the others are parts of it."""
    ordered = set(methods)
    return next((_ORDER[method] for method in reversed(PROMISED) if method in ordered), ())


def promised(methods: Iterable[WipeMethod]) -> tuple[str, ...]:
    """Return the places these methods promise, each once."""
    return tuple(dict.fromkeys(place for method in methods for place in PROMISED[method]))


def obstacle(planned: Planned, states: Mapping[str, str]) -> str | None:
    """Return why a step must be left out now, in words, or None."""
    for place in planned.after:
        if states.get(place) not in {"clean", "not_applicable"}:
            return f"left out: {place} is not clean"
    return None
