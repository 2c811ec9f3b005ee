"""Series: the numbers of a report by name, and the patterns that choose among them."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import msgspec
from msgspec import Struct

MOST_SERIES = 4_096
"""Series of one machine; a report of an eight-GPU server has about 300. More are an error of its, and cost storage."""


class _Read(Struct):
    """Any outcome of an indicator; only one that was measured has values."""

    values: dict[str, Any] = {}


_decoder: msgspec.json.Decoder[dict[str, _Read]] = msgspec.json.Decoder(dict[str, _Read])


_NUMBERS: frozenset[Any] = frozenset({int, float, bool})
_LARGEST = 1e300
"""Larger ones would become infinite as soon as somebody adds them."""


def numbers(indicators: bytes | str, wanted: Callable[[str], bool] | None = None) -> dict[str, float]:
    """
    Return a report's numbers by series: "cpu.use_percent", or with an item "disks.used_percent[/]".

    True and false are 1 and 0; words and numbers out of all bounds are no series. One more than `MOST_SERIES` at most:
    ten thousand fit into a message, and a few hundred such reports would fill the memory.

    Args:
        indicators: JSON, as it was checked when it came in.
        wanted: Says of "disks.used_percent" whether it is read at all, as `readings` does; None for all.

    Raises:
        ValueError: it is not a report's JSON.
    """
    found: dict[str, Any] = {}
    value: Any
    for indicator, outcome in _decoder.decode(indicators).items():
        for reading, value in outcome.values.items():
            name = f"{indicator}.{reading}"
            if wanted is not None and not wanted(name):
                continue
            if len(found) > MOST_SERIES:
                return found
            if value.__class__ is dict:
                for item, one in islice(value.items(), MOST_SERIES + 1 - len(found)):
                    if one.__class__ in _NUMBERS and -_LARGEST < one < _LARGEST:
                        found[f"{name}[{item}]"] = one
            elif value.__class__ in _NUMBERS and -_LARGEST < value < _LARGEST:
                found[name] = value
    return found


def readings(patterns: Sequence[str]) -> Callable[[str], bool] | None:
    """Return what says of a reading whether a series of it can fit one of the patterns; None where all can."""
    if not patterns:
        return None
    starts = [one.partition("*")[0] for one in patterns]
    known: dict[str, bool] = {}

    def wanted(name: str) -> bool:
        if name not in known:
            known[name] = any(one.startswith(name) or name.startswith(one) for one in starts)
        return known[name]

    return wanted


def parts(name: str) -> tuple[str, str, str | None]:
    """Return a series' indicator, reading and item; the item is None where a reading has no items."""
    plain, bracket, rest = name.partition("[")
    indicator, _, reading = plain.partition(".")
    return indicator, reading, rest.removesuffix("]") if bracket else None


def patterns_in(text: str) -> tuple[str, ...]:
    """Return the patterns of a list with commas; one inside brackets belongs to an item's name."""
    found, depth, start = [], 0, 0
    for at, letter in enumerate(text):
        depth = max(0, depth + (letter == "[") - (letter == "]"))
        if letter == "," and depth == 0:
            found.append(text[start:at])
            start = at + 1
    found.append(text[start:])
    return tuple(one.strip() for one in found if one.strip())


def chosen(names: Sequence[str], patterns: Sequence[str]) -> list[int]:
    """Return the places of the names that fit one of the patterns; "*" stands for anything. No pattern: all."""
    if not patterns:
        return list(range(len(names)))
    pieces = [one.split("*") for one in patterns]
    starts = tuple(one[0] for one in pieces)
    # Most names fit none, which one look at their starts tells.
    near = (at for at, name in enumerate(names) if name.startswith(starts))
    return [at for at in near if any(_fits(names[at], one) for one in pieces)]


def unfit(names: Iterable[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the patterns that no name fits."""
    known = list(names)
    return tuple(one for one in patterns if not chosen(known, (one,)))


def _fits(name: str, pieces: Sequence[str]) -> bool:
    """Find the pieces between the stars one after another: no pattern takes longer than the name is."""
    first, *middle, last = pieces if len(pieces) > 1 else (pieces[0], "")
    if len(pieces) == 1:
        return name == first
    at, end = len(first), len(name) - len(last)
    if at > end or not name.startswith(first) or not name.endswith(last):
        return False
    for piece in middle:
        found = name.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def bounded(shapes: Iterable[Sequence[str]]) -> tuple[list[str], int]:
    """Return the series that reports have, sorted, at most `MOST_SERIES`; and how many were left out."""
    seen = dict.fromkeys(name for shape in shapes for name in shape)
    return sorted(list(seen)[:MOST_SERIES]), max(0, len(seen) - MOST_SERIES)
