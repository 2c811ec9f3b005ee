"""
What is measured: one file a subject and nothing else; each exposes one `INDICATOR`, named like its file.

A file keeps parsing (pure, `parse_…`) apart from reading (through a `Host`). Nothing here judges a reading.
"""

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from msgspec import Struct

from agent.host import Host
from shared.messages import Scalar, Values

EVERY_REPORT_S = 10.0
"""An interval below the shortest pause between two reports (15 s - 20 %), so that it is due in each of them."""

T = TypeVar("T")

Items = dict[str, Scalar]
"""One reading of several things: by mount, device, link or GPU."""


class Reading(Struct, frozen=True):
    """
    What an indicator found.

    `kept` is handed to the next read of the same indicator: counters to make rates of. It never leaves the agent.
    """

    values: Values
    kept: Any = None


class NotHere(Struct, frozen=True):
    """This machine does not have the subject; not an error. `reason` in words."""

    reason: str


class Indicator(Struct, frozen=True, kw_only=True):
    """
    One subject of the machine's health.

    Attributes:
        name: The file's name; the key in `health_indicators`.
        interval_s: Read it at most this often.
        deadline_s: Give up waiting for it after this long; it is then reported as failed.
        read: Reads it; gets what the last read kept, None the first time. May raise anything: that is a failure.
        describes: What each reading is, one line by its name, with unit, and source where it is not obvious.
    """

    name: str
    interval_s: float
    deadline_s: float
    read: Callable[[Host, Any], Reading | NotHere]
    describes: Mapping[str, str]


class Counters(Struct, frozen=True):
    """Counts that only grow, and the monotonic second they were read at."""

    at_s: float
    counts: Mapping[str, float]


class Held(Struct, Generic[T], frozen=True):
    """What is read less often than the rest of its indicator, and the monotonic second until which it holds."""

    value: T
    until_s: float


def held(before: Held[T] | None, now_s: float, hold_s: float, read: Callable[[], T]) -> Held[T]:
    """Return what was read before as long as it holds, and else read it: for what is dear, or changes slowly."""
    if before is not None and now_s < before.until_s:
        return before
    return Held(read(), now_s + hold_s)


def growth(before: Counters | None, now: Counters) -> dict[str, float]:
    """
    Return how much each count grew.

    A count that was not there before, or fell, is left out: a restarted counter or a replaced device says nothing.
    """
    if before is None:
        return {}
    pairs = ((name, before.counts.get(name), count) for name, count in now.counts.items())
    return {name: count - old for name, old, count in pairs if old is not None and count >= old}


def per_second(before: Counters | None, now: Counters) -> dict[str, float]:
    """Return how fast each count grew, a second; empty until there are two reads with time between them."""
    passed_s = now.at_s - before.at_s if before is not None else 0.0
    if passed_s <= 0:
        return {}
    return {name: grown / passed_s for name, grown in growth(before, now).items()}


def without_nothing(values: Mapping[str, Scalar | Items]) -> Values:
    """Return the readings there are: what this machine does not tell is left out, not sent as null."""
    return {name: value for name, value in values.items() if value is not None and value != {}}
