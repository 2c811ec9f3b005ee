"""What is asked of a history: from when to when, how finely, which series."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from aiohttp import web
from msgspec import Struct

from collector.history.series import patterns_in
from collector.history.tiers import RAW_MOMENT, Resolution, Tier, usual
from shared.codes import Code, Trouble
from shared.messages import storable

MOST_MOMENTS = 20_000
"""Moments of an answer: a week by the minute, or two years by the hour."""
MOST_PATTERNS, LONGEST_PATTERN = 100, 500
AUTO = "auto"
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
"""Before anything was recorded."""

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


class Wanted(Struct, frozen=True, kw_only=True):
    """
    A range of a history.

    `start` and `end` as asked, the end excluded; `tier`: how finely; `patterns`: which series, none for all.
    """

    start: datetime
    end: datetime
    tier: Tier
    patterns: tuple[str, ...]


def range_in(request: web.Request, now: datetime, usual_length: timedelta) -> tuple[datetime, datetime]:
    """
    Return the range of a query: up to now, and as long as usual, where it says nothing.

    Raises:
        Trouble: `invalid`.
    """
    end = time_in(request, "to", now)
    start = time_in(request, "from", end - usual_length)
    if start >= end:
        raise Trouble(Code.INVALID, "from is not before to")
    return start, end


def time_in(request: web.Request, name: str, otherwise: datetime) -> datetime:
    """
    Return a time of the query.

    Raises:
        Trouble: `invalid`.
    """
    text = request.query.get(name)
    if text is None:
        return otherwise
    remedy = "like 2026-05-01 or 2026-05-01T12:00:00Z; a + of an offset is written %2B in an address"
    try:
        # A day is its first moment in UTC.
        found = datetime.fromisoformat(f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text)
        storable(found)
    except ValueError as error:
        raise Trouble(Code.INVALID, f"{name} is not a time: {text[:40]!r}", remedy) from error
    if found.tzinfo is None:
        raise Trouble(Code.INVALID, f"{name} has no time zone: {text[:40]!r}", remedy)
    return found


def wanted_in(request: web.Request, now: datetime, kept: tuple[Tier, ...], usual_length: timedelta) -> Wanted:
    """
    Return what a query asks for.

    Raises:
        Trouble: `invalid` or `range_too_large`.
    """
    only(request, ("from", "to", "resolution", "series"))
    start, end = range_in(request, now, usual_length)
    tier = _tier_in(request, kept, start, end, now)
    moments = (end - start) / max(tier.step, RAW_MOMENT)
    if moments > MOST_MOMENTS:
        words = f"{moments:.0f} moments at {tier.resolution}, at most {MOST_MOMENTS}"
        raise Trouble(Code.RANGE_TOO_LARGE, words, "a coarser resolution, or less time")
    return Wanted(start=start, end=end, tier=tier, patterns=_patterns_in(request))


def only(request: web.Request, known: Sequence[str]) -> None:
    """
    Refuse a query that asks for what there is not: a misspelt name must not be answered as if it were not there.

    Raises:
        Trouble: `invalid`.
    """
    unknown = set(request.query) - set(known)
    if unknown:
        raise Trouble(Code.INVALID, f"no parameter {min(unknown)[:40]!r}; there are {', '.join(known)}")


def _tier_in(request: web.Request, kept: tuple[Tier, ...], start: datetime, end: datetime, now: datetime) -> Tier:
    text = request.query.get("resolution", AUTO)
    if text == AUTO:
        return usual(kept, start, end, now)
    for tier in kept:
        if tier.resolution == text:
            return tier
    raise Trouble(Code.INVALID, f"resolution is {', '.join((AUTO, *Resolution))}, not {text[:40]!r}")


def _patterns_in(request: web.Request) -> tuple[str, ...]:
    texts = request.query.getall("series", [])
    found = tuple(dict.fromkeys(one for text in texts for one in patterns_in(text)))
    if texts and not found:
        raise Trouble(Code.INVALID, "series names nothing", "leave it out for all, or see /health/series")
    if len(found) > MOST_PATTERNS or any(len(one) > LONGEST_PATTERN for one in found):
        raise Trouble(Code.INVALID, f"series has at most {MOST_PATTERNS} names, of {LONGEST_PATTERN} letters each")
    return found
