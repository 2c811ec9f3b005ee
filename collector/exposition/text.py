"""
Lines of Prometheus' text format and of OpenMetrics, which differ in the names of counters and the end.

Source: prometheus.io, "Exposition formats"; OpenMetrics 1.0, section 5.
"""

import math
from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

LONGEST_LABEL = 200
"""Characters of a label's value; the names of devices and mounts that anybody works with are shorter."""


class Kind(StrEnum):
    """How a figure behaves: up and down, or only up until its source restarts."""

    GAUGE = "gauge"
    COUNTER = "counter"


class Family(Struct, frozen=True, kw_only=True):
    """All series of one name. `name`: with base unit, and `_total` for a counter; `words`: one line."""

    name: str
    words: str
    kind: Kind = Kind.GAUGE


def heading(family: Family, *, openmetrics: bool) -> str:
    """Return the lines before a family's series."""
    name = family.name.removesuffix("_total") if openmetrics and family.kind is Kind.COUNTER else family.name
    return f"# HELP {name} {_one_line(family.words)}\n# TYPE {name} {family.kind}\n"


def quoted(value: str) -> str:
    """Return a label's value in quotes, whatever is in it."""
    return f'"{_one_line(value)}"' if '"' not in value else '"' + _one_line(value).replace('"', '\\"') + '"'


def _one_line(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n")


def labels(pairs: Iterable[tuple[str, str]]) -> str:
    """Return labels as they stand between the braces."""
    return ",".join(f"{name}={quoted(value)}" for name, value in pairs)


def number(value: object, times: int = 1, divide_by: int = 1) -> str | None:
    """Return a number or a truth as text, in other units; None where it is neither, or not finite."""
    if not isinstance(value, int | float):
        return None
    try:
        scaled = value * times / divide_by if divide_by != 1 else value * times
        return repr(scaled) if math.isfinite(scaled) else None
    except (OverflowError, ValueError):  # a whole number beyond what a float or a decimal text may hold
        return None
