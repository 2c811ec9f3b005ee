"""Which steps a wipe takes, in which order, and what must be clean before each. Pure."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from shared.records import WipeMethod

CORE = ("processes", "mounts")
"""Places that must be clean before files are deleted: what runs can put them back, what is mounted may be others'."""

_KEYS = ("baseline", "keys", "sshd")
_HOME = (
    *("login", *_KEYS, "access", "schedules", "processes", "mounts", "ipc", "namespaces", "home", "elsewhere", "held"),
    *("dumps", "containers", "gpus", "copies"),
)
_USER = (*_HOME, "privileges", "account", "directory")

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
    # What the steps after it take away is on record before they do.
    Planned("baseline"),
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
    # After the processes, most of which free what they had; with them alive it still tells what is his.
    Planned("gpus"),
)
# Trim goes after all that frees blocks. It is no place: nobody promises what a device does.
_ORDER: dict[WipeMethod, tuple[Planned, ...]] = {
    WipeMethod.SSH_KEY_REMOVAL: (Planned("baseline"), Planned("sshd"), Planned("keys"), Planned("sshd")),
    WipeMethod.HOME_DIRECTORY_PURGE: (*_PURGE, Planned("trim"), Planned("processes")),
    WipeMethod.USER_DELETION: (
        *_PURGE,
        # The account goes last: as long as it stands, its name tells whose the rest is.
        Planned("privileges"),
        Planned("account", after=CORE),
        Planned("trim"),
        Planned("processes"),
    ),
}


PATIENCE_S = 120.0
"""How long a step may go without progress: without a call of `alive` or `tell`."""
PATIENCE_OF_S = {
    "mounts": 300.0,
    "processes": 180.0,
    "sshd": 180.0,
    "containers": 600.0,
    "gpus": 600.0,
    "copies": 300.0,
    "directory": 180.0,
    "trim": 660.0,
}
"""What is longer: swapping back in, killing what comes back, and whatever asks other programs one after the other."""

REVOKE = (
    Planned("sshd"),
    Planned("login"),
    Planned("keys"),
    Planned("sessions"),
    Planned("processes"),
    Planned("sshd"),
)
"""The steps that cut access and keep data: nothing new gets in before what is in is ended."""

REVOKED = ("login", "keys", "sessions", "processes", "sshd")
"""The places that are looked at after access was cut."""


def patience_s(step: str) -> float:
    """Return how long a step may go without progress, in seconds."""
    return PATIENCE_OF_S.get(step, PATIENCE_S)


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
