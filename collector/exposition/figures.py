"""What it takes to show a reading of a machine's report: its name as a metric, its labels, its unit."""

from enum import StrEnum

from msgspec import Struct

from collector.exposition.text import Family, Kind

PREFIX = "rackproof_machine_"

MEGA = 10**6
"""MHz in Hz, MB in bytes."""
MBIT = 125_000
"""In bytes."""


class Shown(StrEnum):
    """What of a reading becomes a series: its number, that it is there as a 1, or whether it is a certain word."""

    NUMBER = "number"
    THERE = "there"
    WORD = "word"


class Figure(Struct, frozen=True, kw_only=True):
    """
    One reading as a metric.

    Attributes:
        indicator: The subject in the report.
        reading: Its name there.
        family: What it becomes.
        item: The label that names the mount, device or GPU; empty for a reading of the machine itself.
        fixed: A label and its value, where several readings are one family.
        times: What the number is multiplied by to get the base unit.
        divide_by: What it is divided by.
        shown: What becomes a series.
        word: The reading that is a 1, where others are a 0.
    """

    indicator: str
    reading: str
    family: Family
    item: str = ""
    fixed: tuple[str, str] | None = None
    times: int = 1
    divide_by: int = 1
    shown: Shown = Shown.NUMBER
    word: str = ""


def gauge(
    indicator: str, reading: str, name: str, words: str, item: str = "", *, times: int = 1, divide_by: int = 1
) -> Figure:
    """Return a figure that goes up and down. `name`: without prefix, with the base unit."""
    family = Family(name=PREFIX + name, words=words)
    return Figure(indicator=indicator, reading=reading, item=item, family=family, times=times, divide_by=divide_by)


def counter(
    indicator: str, reading: str, name: str, words: str, item: str = "", fixed: tuple[str, str] | None = None
) -> Figure:
    """Return a figure that only goes up until its source restarts; its name gets `_total`."""
    family = Family(name=f"{PREFIX}{name}_total", words=words, kind=Kind.COUNTER)
    return Figure(indicator=indicator, reading=reading, item=item, fixed=fixed, family=family)


def share(indicator: str, reading: str, name: str, words: str, item: str = "") -> Figure:
    """Return a share of one; its name gets `_ratio`."""
    return gauge(indicator, reading, f"{name}_ratio", words, item, divide_by=100)


def ms(indicator: str, reading: str, name: str, words: str, item: str = "") -> Figure:
    """Return a time that is read in milliseconds; its name gets `_seconds`."""
    return gauge(indicator, reading, f"{name}_seconds", words, item, divide_by=1000)
