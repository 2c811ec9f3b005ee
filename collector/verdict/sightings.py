"""What a rule finds, and how it reads values that a broken or lying agent may have sent."""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from collector.verdict import HealthState
from collector.verdict.memory import MOST_ITEMS, Look, Memory
from collector.verdict.thresholds import Threshold
from shared.messages import Values

LARGEST = 1e18
"""A number beyond is no measurement; bytes of the largest store are below it."""
_MOST_SIGNS = 120


class Sighting(NamedTuple):
    """What was seen of one item: what it makes of the machine, the value and its limit, in words."""

    state: HealthState
    value: str
    limit: str = ""


Sightings = Mapping[str, Sighting]
Rule = Callable[[Values, Memory, Look], Sightings]
"""Looks at one indicator's readings; made once for each threshold. It returns nothing for nearly every report."""

NOTHING: Sightings = {}


def plain(text: str) -> str:
    """Return an agent's text as it may be stored and shown: printable, and not long."""
    shown = text if text.isprintable() else "".join(sign if sign.isprintable() else "?" for sign in text)
    return shown if len(shown) <= _MOST_SIGNS else shown[: _MOST_SIGNS - 1] + "…"


def quoted(value: Any) -> str:
    """Return any value of a report as it may be stored and shown."""
    if isinstance(value, str):
        return repr(plain(value[:40]))
    # Python refuses to write a number of thousands of digits.
    return "a number of very many digits" if isinstance(value, int) and abs(value) > LARGEST else repr(value)


def figure(value: float) -> str:
    """Return a number for people: whole, or with four digits."""
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def items(found: Any) -> Iterator[tuple[str, Any]]:
    """Return a reading's values by item; a single one's item is empty."""
    return islice(found.items(), MOST_ITEMS) if type(found) is dict else iter((("", found),))


def numbers(threshold: Threshold, found: Any, look: Look, least: float = -LARGEST) -> Iterator[tuple[str, float]]:
    """Yield each item's number; what is none, or below `least`, is told as odd. A null says nothing."""
    where = f"{threshold.indicator}.{threshold.reading}"
    if type(found) is dict and len(found) > MOST_ITEMS:
        look.odd[where] = f"{len(found):,} items, of which {MOST_ITEMS} are looked at"
    for item, value in items(found):
        if readable(value, least):
            yield item, value
        elif value is not None:
            look.odd[where] = f"{quoted(value)} is no number that can be"


def readable(value: Any, least: float = -LARGEST) -> bool:
    """Return whether a value is a number that a measurement can give."""
    # A whole number may be too large for a float; comparing is exact and never raises. A NaN fails both.
    return isinstance(value, int | float) and least <= value <= LARGEST


def number_of(values: Values, reading: str, item: str) -> float | None:
    """Return another reading's number of the same item; None where it does not tell."""
    found: Any = values.get(reading)
    value = found.get(item) if type(found) is dict else found
    return value if readable(value) else None


def busy(threshold: Threshold, values: Values, item: str) -> bool:
    """Return whether the test is to be made of this item now."""
    if not threshold.busy:
        return True
    value = number_of(values, threshold.busy, item)
    return value is not None and value >= threshold.busy_least


def ranked(threshold: Threshold, value: float, shown: str, allowed: float | None = None) -> Sighting | None:
    """Hold a value that grows worse upwards against the limits."""
    for limit, state in threshold.limits:
        if value >= limit:
            return Sighting(state, shown, figure(limit if allowed is None else allowed))
    return None
