"""
Rules about what is so now: values above or below a limit, yes or no, texts, one reading beside another.

Each maker returns a rule. A rule first asks the cheapest question that can tell that all is well, for that is the
answer of nearly every report.
"""

import re
from typing import Any

from collector.verdict import HealthState
from collector.verdict.memory import MOST_ITEMS, Look, Memory
from collector.verdict.sightings import (
    LARGEST,
    NOTHING,
    Rule,
    Sighting,
    Sightings,
    busy,
    figure,
    items,
    number_of,
    numbers,
    plain,
    quoted,
    ranked,
)
from collector.verdict.thresholds import Threshold
from shared.messages import Values

SHORT_TEXT = 40
"""Signs of a text that is worth remembering."""


def above(threshold: Threshold) -> Rule:
    """Return the rule that a value is at least its limit."""
    reading, least = threshold.reading, min(limit for limit, _ in threshold.limits)

    def rule(values: Values, _memory: Memory, look: Look) -> Sightings:
        found: Any = values.get(reading)
        if found is None:
            return NOTHING
        try:
            if (max(found.values()) if type(found) is dict else found) < least:
                return NOTHING
        except (TypeError, ValueError):
            pass  # a text or a null among them, or none at all: looked at one by one
        seen = {item: ranked(threshold, value, figure(value)) for item, value in numbers(threshold, found, look)}
        return {item: one for item, one in seen.items() if one is not None and busy(threshold, values, item)}

    return rule


def below(threshold: Threshold) -> Rule:
    """Return the rule that a value is at most its limit."""
    reading, most = threshold.reading, max(limit for limit, _ in threshold.limits)

    def rule(values: Values, _memory: Memory, look: Look) -> Sightings:
        found: Any = values.get(reading)
        if found is None:
            return NOTHING
        try:
            if (min(found.values()) if type(found) is dict else found) > most:
                return NOTHING
        except (TypeError, ValueError):
            pass
        seen: dict[str, Sighting] = {}
        for item, value in numbers(threshold, found, look):
            reached = next((one for one in threshold.limits if value <= one[0]), None)
            if reached is not None and busy(threshold, values, item):
                seen[item] = Sighting(reached[1], figure(value), figure(reached[0]))
        return seen

    return rule


def beyond(threshold: Threshold) -> Rule:
    """Return the rule that a value is at least its limit, whatever its sign."""
    reading, least = threshold.reading, min(limit for limit, _ in threshold.limits)

    def rule(values: Values, _memory: Memory, look: Look) -> Sightings:
        found: Any = values.get(reading)
        if found is None or (type(found) in {int, float} and -least < found < least):
            return NOTHING
        seen = {item: ranked(threshold, abs(value), figure(value)) for item, value in numbers(threshold, found, look)}
        return {item: one for item, one in seen.items() if one is not None}

    return rule


def true(threshold: Threshold) -> Rule:
    """Return the rule that something is so; a number says so unless it is 0."""
    return _truth(threshold, ill=True)


def false(threshold: Threshold) -> Rule:
    """Return the rule that something is not so."""
    return _truth(threshold, ill=False)


def _truth(threshold: Threshold, *, ill: bool) -> Rule:
    reading, state = threshold.reading, threshold.state or HealthState.DEGRADED

    def rule(values: Values, _memory: Memory, look: Look) -> Sightings:
        found: Any = values.get(reading)
        if found is None or found is (not ill):
            return NOTHING
        if type(found) is dict and not (any(found.values()) if ill else not all(found.values())):
            return NOTHING
        return {
            item: Sighting(state, figure(value))
            for item, value in numbers(threshold, found, look)
            if bool(value) is ill and busy(threshold, values, item)
        }

    return rule


def text(threshold: Threshold) -> Rule:
    """Return the rule that a text is none of those that are well."""
    reading, well, state = threshold.reading, frozenset(threshold.well), threshold.state or HealthState.DEGRADED
    pattern = re.compile(threshold.matches, re.IGNORECASE)
    where = f"{threshold.indicator}.{reading}"
    # Most texts are of a few kinds: those that were found to be no reason need not be searched again.
    quiet: set[Any] = set(well)

    def rule(values: Values, _memory: Memory, look: Look) -> Sightings:
        found: Any = values.get(reading)
        if found is None:
            return NOTHING
        if quiet.issuperset(found.values()) if type(found) is dict else found in quiet:
            return NOTHING
        seen: dict[str, Sighting] = {}
        for item, value in items(found):
            if not isinstance(value, str):
                if value is not None:
                    look.odd[where] = f"{quoted(value)} is no text"
            elif value not in well and pattern.search(value):
                seen[item] = Sighting(state, plain(value))
            elif len(quiet) < MOST_ITEMS and len(value) < SHORT_TEXT:
                quiet.add(value)
        return seen

    return rule


def short(threshold: Threshold) -> Rule:
    """Return the rule that a value is less than another reading of the same item."""
    reading, other = threshold.reading, threshold.other

    def rule(values: Values, _memory: Memory, look: Look) -> Sightings:
        found, full = values.get(reading), values.get(other)
        if found is None or full is None or found == full:
            return NOTHING
        seen: dict[str, Sighting] = {}
        for item, value in numbers(threshold, found, look):
            whole = number_of(values, other, item)
            one = ranked(threshold, whole - value, figure(value), whole) if whole is not None else None
            if one is not None and busy(threshold, values, item):
                seen[item] = one
        return seen

    return rule


def share(threshold: Threshold) -> Rule:
    """Return the rule that a value is a certain share of another reading of the same item, in percent."""
    reading, other = threshold.reading, threshold.other

    def rule(values: Values, _memory: Memory, look: Look) -> Sightings:
        found = values.get(reading)
        if not found:
            return NOTHING
        seen: dict[str, Sighting] = {}
        for item, value in numbers(threshold, found, look):
            whole = number_of(values, other, item)
            if whole is not None and whole > 0:
                # Of almost nothing a share may be infinite, which has no figure.
                percent = max(-LARGEST, min(100 * value / whole, LARGEST))
                one = ranked(threshold, percent, figure(round(percent, 1)))
                if one is not None:
                    seen[item] = one
        return seen

    return rule


def fallen(threshold: Threshold) -> Rule:
    """Return the rule that a value is below the best seen before; after a window the lower one is believed."""
    code, reading, state = threshold.code, threshold.reading, threshold.state or HealthState.DEGRADED

    def rule(values: Values, memory: Memory, look: Look) -> Sightings:
        found = values.get(reading)
        best = memory.best.get(code)
        if found is None or found == best:
            return NOTHING
        if best is None:
            best = memory.best[code] = {}
        seen: dict[str, Sighting] = {}
        for item, value in numbers(threshold, found, look, least=0.0):
            top = best.get(item, value)
            since = memory.lower_since.setdefault((code, item), look.now) if value < top else look.now
            if value < top and look.now - since < threshold.window_s:
                seen[item] = Sighting(state, figure(value), figure(top))
                continue
            memory.lower_since.pop((code, item), None)
            if item in best or len(best) < MOST_ITEMS:
                best[item] = value
        return seen

    return rule


def told(_threshold: Threshold) -> Rule:
    """Return the rule of what reports do not show: nothing is seen, so that it goes by itself."""
    return lambda _values, _memory, _look: NOTHING
