"""
Rules about what happened lately: counts that grew, and shares of time, over a window.

Counts start anew with each boot: then all that is counted is growth. Counts are remembered where one is not zero.
"""

from collections.abc import Mapping
from typing import Any

from collector.verdict.memory import MOST_ITEMS, Look, Memory, Window
from collector.verdict.sightings import NOTHING, Rule, Sighting, Sightings, figure, numbers, ranked
from collector.verdict.thresholds import Threshold
from shared.messages import Values


def grown(threshold: Threshold) -> Rule:
    """Return the rule that a count grew by at least its limit within the window."""
    code, reading = threshold.code, threshold.reading

    def rule(values: Values, memory: Memory, look: Look) -> Sightings:
        found: Any = values.get(reading)
        before, windows = memory.counts.get(code), memory.windows.get(code)
        if windows is None:
            if found is None:
                return NOTHING
            if before is None:
                if not (any(found.values()) if type(found) is dict else found):
                    return NOTHING
            elif found == (before if type(found) is dict else before.get("")):
                return NOTHING
        counts = dict(numbers(threshold, found, look, least=0.0)) if found is not None else {}
        for item, amount in growth(threshold, memory, counts, before or {}).items():
            windows = memory.windows.setdefault(code, {})
            windows.setdefault(item, Window()).add(look.now, amount, threshold.window_s)
        _remember(memory, code, counts, before)
        return _totals(threshold, memory, look.now, 1.0) if windows else NOTHING

    return rule


def growth(
    threshold: Threshold, memory: Memory, counts: Mapping[str, float], before: Mapping[str, float]
) -> dict[str, float]:
    """
    Return by how much each count grew since it was remembered; what did not grow is left out.

    A count seen for the first time is no growth, unless the indicator was read before, when it stood at 0; or the
    machine is new and the threshold takes what was counted before for news.
    """
    known = threshold.indicator in memory.seen or (memory.fresh and threshold.first)
    found: dict[str, float] = {}
    for item, count in counts.items():
        old = before.get(item)
        if old is None:
            grew = count if known else 0.0
        elif count >= old:
            grew = count - old
        else:
            # It started again: with the driver or a new device; a lifetime's count falls only with the device.
            grew = 0.0 if threshold.lifetime else count
        if grew:
            found[item] = grew
    return found


def _remember(memory: Memory, code: str, counts: Mapping[str, float], before: Mapping[str, float] | None) -> None:
    """Keep counts, if one is not zero; also those of items that are not told now: a GPU may come back."""
    kept = {item: count for item, count in (before or {}).items() if item not in counts}
    if len(kept) + len(counts) > MOST_ITEMS:
        kept = {}
    kept.update(counts)
    if any(kept.values()):
        memory.counts[code] = kept
    else:
        memory.counts.pop(code, None)


def _totals(threshold: Threshold, memory: Memory, now: float, scale: float) -> dict[str, Sighting]:
    """Hold what grew within the window against the limits, and forget what has left it."""
    windows = memory.windows.get(threshold.code, {})
    seen: dict[str, Sighting] = {}
    for item, window in list(windows.items()):
        total = window.total(now, threshold.window_s) * scale
        if not window.parts or len(windows) > MOST_ITEMS:
            del windows[item]
            continue
        one = ranked(threshold, total, figure(round(total, 1)))
        if one is not None:
            seen[item] = one
    if not windows:
        memory.windows.pop(threshold.code, None)
    return seen


def lasting(threshold: Threshold) -> Rule:
    """Return the rule that something was so for a share of the window's time, in percent."""
    code, reading = threshold.code, threshold.reading

    def rule(values: Values, memory: Memory, look: Look) -> Sightings:
        found: Any = values.get(reading)
        windows = memory.windows.get(code)
        if windows is None and not (any(found.values()) if type(found) is dict else found):
            return NOTHING
        shares = numbers(threshold, found, look, least=0.0) if found is not None else ()
        for item, percent in shares:
            if percent and look.elapsed_s:
                windows = memory.windows.setdefault(code, {})
                seconds = min(percent, 100.0) / 100 * look.elapsed_s
                windows.setdefault(item, Window()).add(look.now, seconds, threshold.window_s)
        return _totals(threshold, memory, look.now, 100 / threshold.window_s) if windows else NOTHING

    return rule
