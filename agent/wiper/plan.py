"""Which steps a wipe takes, in which order, and what must be clean before each. Pure."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from shared.records import WipeMethod

CORE = ("processes", "mounts")
"""Places that must be clean before files are deleted: what runs can put them back, what is mounted may be others'."""

PROMISED: dict[WipeMethod, tuple[str, ...]] = {
    WipeMethod.HOME_DIRECTORY_PURGE: ("access", "processes", "mounts", "ipc", "home", "elsewhere", "engines"),
}
"""The places each method promises to have looked at."""


class Planned(NamedTuple):
    """One step: the place it works on, and the places that must be verified clean right before it."""

    step: str
    after: tuple[str, ...] = ()


_ORDER: dict[WipeMethod, tuple[Planned, ...]] = {
    WipeMethod.HOME_DIRECTORY_PURGE: (
        Planned("processes"),
        Planned("mounts"),
        Planned("ipc", after=("processes",)),
        Planned("home", after=CORE),
        Planned("elsewhere", after=CORE),
        Planned("processes"),
    ),
}


def plan(methods: Iterable[WipeMethod]) -> tuple[Planned, ...]:
    """Return the steps of these methods in order; a step that two methods share is taken once at each of its turns."""
    steps: list[Planned] = []
    for method in dict.fromkeys(methods):
        steps += _ORDER[method]
    return tuple(steps)


def promised(methods: Iterable[WipeMethod]) -> tuple[str, ...]:
    """Return the places these methods promise, each once."""
    return tuple(dict.fromkeys(place for method in methods for place in PROMISED[method]))


def obstacle(planned: Planned, states: Mapping[str, str]) -> str | None:
    """Return why a step must be left out now, in words, or None."""
    for place in planned.after:
        if states.get(place) not in {"clean", "not_applicable"}:
            return f"left out: {place} is not clean"
    return None
