"""`indicators`: everything that is read, with unit and source; for a person, as JSON, or as the reference page."""

import re
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module

import msgspec
from msgspec import Struct

from agent import indicators as indicator_files
from agent.cli.choosing import chosen
from agent.cli.screen import coloured, width
from agent.cli.units import unit
from agent.indicators import Indicator
from agent.plugins import load

_SOURCE = re.compile(r" \((\S+(?:, \S+)*)\)$")
"""The brackets at the end of a description that name a source: words without spaces, such as "(/proc/stat)"."""

HEAD = """\
# What is measured

Every reading of a health report. Written by `rackproof-agent indicators --markdown`, from the files beside this page.

An indicator is read at most once in its interval, and given up after its deadline. Each has one of three outcomes in
a report: `measured` with its readings, `absent` with the reason why this machine has none, `failed` with the error; and
how long it took. A reading that a machine does not tell is left out. "by X" means an object with a value for each X.
"""


class Described(Struct, frozen=True, kw_only=True):
    """One reading: its unit, empty for counts, states and words; what it is; where it comes from, if that is told."""

    name: str
    unit: str
    what: str
    source: str


class Subject(Struct, frozen=True, kw_only=True):
    """One indicator and its readings."""

    name: str
    title: str
    interval_s: float
    deadline_s: float
    readings: tuple[Described, ...]


def subjects(names: Sequence[str] = ()) -> tuple[Subject, ...]:
    """
    Return every indicator, or those named.

    Raises:
        click.UsageError: there is no indicator of this name.
    """
    return tuple(map(_subject, chosen(load(indicator_files, "INDICATOR", Indicator), names, "indicator")))


def _subject(indicator: Indicator) -> Subject:
    words = (import_module(f"{indicator_files.__name__}.{indicator.name}").__doc__ or "").strip()
    return Subject(
        name=indicator.name,
        title=" ".join(words.partition("\n\n")[0].split()),
        interval_s=indicator.interval_s,
        deadline_s=indicator.deadline_s,
        readings=tuple(described(name, text) for name, text in indicator.describes.items()),
    )


def described(name: str, text: str) -> Described:
    """Return a reading's description with its unit and its source apart."""
    source = _SOURCE.search(text)
    what = text[: source.start()] if source else text
    return Described(name=name, unit=unit(name), what=what, source=source[1] if source else "")


def in_json(found: Sequence[Subject]) -> str:
    """Return the indicators as a JSON list."""
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode()


def in_markdown(found: Sequence[Subject]) -> str:
    """Return the reference page."""
    return "\n".join([HEAD, *(line for one in found for line in _section(one))])


def _section(one: Subject) -> Iterator[str]:
    yield f"## {one.name}\n"
    yield f"{one.title} Every {one.interval_s:g} s, deadline {one.deadline_s:g} s.\n"
    yield "| reading | unit | what it is | source |"
    yield "|---|---|---|---|"
    for row in one.readings:
        cells = (f"`{row.name}`", row.unit, row.what, row.source)
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""


def as_text(found: Sequence[Subject]) -> str:
    """Return the indicators for a screen."""
    from agent.cli.tables import Page  # noqa: PLC0415 - only who draws a table pays for it

    page = Page(width(sys.stdout), colour=coloured(sys.stdout))
    for one in found:
        page.heading(one.name, f"{one.title} Every {one.interval_s:g} s, deadline {one.deadline_s:g} s.")
        rows = [(row.name, row.unit, row.what, row.source) for row in one.readings]
        page.grid(["reading", "unit", "what it is", "source"], rows)
    return page.text()
