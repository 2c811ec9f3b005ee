"""A report against the thresholds: what is told anew, what is taken back, and what the machine is by it."""

from collections.abc import Iterable
from datetime import datetime

from collector.verdict import HEALTH, Event, HealthState, own
from collector.verdict.conclusion import reasons, worst_of
from collector.verdict.memory import EVENTS_AN_HOUR, Look, Memory
from collector.verdict.rulebook import BY_CODE, RULES, Rulebook
from collector.verdict.sightings import NOTHING, Rule, Sighting, Sightings, plain
from collector.verdict.standing import Standing, break_off, over, step
from collector.verdict.thresholds import Test, Threshold
from shared.messages import Absent, Indicators, Measured, Values

GAP_S = 150.0
"""After a longer pause between two reports nothing counts as seen, or as gone, in between."""
LEFT_OUT = "events_left_out"


def judge(
    memory: Memory, indicators: Indicators, at: datetime, boot_id: str, skew_s: float, rules: Rulebook = RULES
) -> list[Event]:
    """
    Judge a report; return what is new. The memory is changed, nothing else is.

    Args:
        memory: What is remembered of the machine.
        indicators: What the report holds.
        at: When it was made, by the collector's clock.
        boot_id: The boot in which it was made.
        skew_s: By how much the machine's clock is ahead.
        rules: What it is held against.
    """
    now = at.timestamp()
    elapsed_s = now - memory.judged_at
    unbroken = 0 <= elapsed_s <= GAP_S
    look = Look(now, elapsed_s if unbroken else 0.0)
    _refill(memory, elapsed_s)
    if not unbroken:
        _break_off(memory)
    _note_boot(memory, boot_id)
    events: list[Event] = []
    for name, its in rules.items():
        outcome = indicators.get(name)
        if type(outcome) is Measured and name != own.NAME:
            _look_at(memory, name, its, outcome.values, look, at, events)
        elif name != own.NAME and memory.standings:
            _unseen(memory, its, look, at, events, absent=type(outcome) is Absent)
    values = own.readings(memory, indicators, look, skew_s)
    _look_at(memory, own.NAME, rules.get(own.NAME, ()), values, look, at, events)
    memory.judged_at, memory.fresh = now, False
    _conclude(memory, at, events)
    return events


def _look_at(
    memory: Memory,
    name: str,
    its: Iterable[tuple[Threshold, Rule]],
    values: Values,
    look: Look,
    at: datetime,
    events: list[Event],
) -> None:
    """Hold one indicator's readings against its thresholds."""
    standings = memory.standings
    for threshold, rule in its:
        seen = rule(values, memory, look)
        if seen or (standings and threshold.code in standings):
            _settle(memory, threshold, seen, look, at, events)
    if name not in memory.seen:
        memory.seen = (*memory.seen, name)


def _unseen(
    memory: Memory,
    its: Iterable[tuple[Threshold, Rule]],
    look: Look,
    at: datetime,
    events: list[Event],
    *,
    absent: bool,
) -> None:
    """An indicator that was not read shows nothing; one whose subject is not there any more shows that all is over."""
    for threshold, _ in its:
        standings = memory.standings.get(threshold.code)
        if standings is None:
            continue
        if absent:
            _settle(memory, threshold, NOTHING, look, at, events)
        else:
            for one in standings.values():
                break_off(one)


def _settle(
    memory: Memory, threshold: Threshold, seen: Sightings, look: Look, at: datetime, events: list[Event]
) -> None:
    """Take what one rule saw, and tell what changes by it."""
    standings = memory.standings.setdefault(threshold.code, {})
    for raw, sighting in seen.items():
        item = raw if raw.isprintable() else plain(raw)
        standing = standings.get(item)
        if standing is None:
            # What the collector itself sees is bounded already, and says that the rest has no room.
            if threshold.indicator != own.NAME and not memory.room():
                look.left_out += 1
                continue
            standing = standings[item] = Standing()
        standing.words = words(threshold, sighting)
        before = step(standing, sighting.state, look.now, threshold.hold_s, threshold.gone_s)
        if before is not None:
            _tell(memory, threshold, item, standing, before, at, events)
    if len(standings) > len(seen):
        for item in [item for item in standings if item not in seen]:
            standing = standings[item]
            before = step(standing, HealthState.HEALTHY, look.now, threshold.hold_s, threshold.gone_s)
            if before is not None:
                _tell(memory, threshold, item, standing, before, at, events)
            if over(standing):
                del standings[item]
    if not standings:
        del memory.standings[threshold.code]


def words(threshold: Threshold, sighting: Sighting) -> str:
    """Say what was seen."""
    return threshold.words.format(value=sighting.value, limit=sighting.limit)


def _tell(
    memory: Memory,
    threshold: Threshold,
    item: str,
    standing: Standing,
    before: HealthState,
    at: datetime,
    events: list[Event],
) -> None:
    gone = standing.state is HealthState.HEALTHY
    _add(
        memory,
        events,
        Event(
            hardware_id=memory.hardware_id,
            at=at,
            code=threshold.code,
            item=item,
            from_state=before,
            to_state=standing.state,
            words=f"no longer: {standing.words}" if gone else standing.words,
            shadow=threshold.shadow,
        ),
    )


def _add(memory: Memory, events: list[Event], event: Event) -> None:
    """Tell an event, unless the machine has told too many; the last one that is told says so."""
    if memory.events_left < 1:
        return
    memory.events_left -= 1
    events.append(event)
    if memory.events_left < 1:
        said = f"more than {EVENTS_AN_HOUR:.0f} events an hour; further ones are left out"
        state = memory.state
        events.append(
            Event(
                hardware_id=memory.hardware_id,
                at=event.at,
                code=LEFT_OUT,
                item="",
                from_state=state,
                to_state=state,
                words=said,
            )
        )


def _refill(memory: Memory, elapsed_s: float) -> None:
    if memory.events_left < EVENTS_AN_HOUR and elapsed_s > 0:
        memory.events_left = min(EVENTS_AN_HOUR, memory.events_left + elapsed_s * EVENTS_AN_HOUR / 3600)


def _break_off(memory: Memory) -> None:
    for standings in memory.standings.values():
        for one in standings.values():
            break_off(one)
    memory.gpus_more = None


def _note_boot(memory: Memory, boot_id: str) -> None:
    """Another boot: every count but a lifetime's starts again from 0."""
    if boot_id == memory.boot_id:
        return
    if memory.boot_id:
        memory.boots += 1
        memory.counts = {code: kept for code, kept in memory.counts.items() if BY_CODE[code].lifetime}
    memory.boot_id = boot_id


def _conclude(memory: Memory, at: datetime, events: list[Event]) -> None:
    """Say what the machine is as a whole, and tell it if it changed."""
    worst = worst_of(memory)
    state = HealthState.UNKNOWN if memory.silent else worst
    if state is memory.state:
        return
    said = "; ".join(one.words for one in reasons(memory)[:3] if not one.shadow) or "nothing speaks against it"
    event = Event(
        hardware_id=memory.hardware_id,
        at=at,
        code=HEALTH,
        item="",
        from_state=memory.state,
        to_state=state,
        words=plain(said) if not memory.silent else "nothing is heard of the machine",
    )
    memory.state, memory.since = state, at.timestamp()
    _add(memory, events, event)


def silence(memory: Memory, at: datetime, *, silent: bool) -> list[Event]:
    """Note that a machine is offline, or that it is back; return what is new."""
    events: list[Event] = []
    memory.silent = silent
    _conclude(memory, at, events)
    return events


def tell(memory: Memory, code: str, said: str, at: datetime) -> list[Event]:
    """Tell a reason that no report shows; it goes by itself when it has not been told again for long enough."""
    threshold, events = BY_CODE[code], list[Event]()
    standings = memory.standings.setdefault(code, {})
    standing = standings.setdefault("", Standing())
    before, now = standing.state, at.timestamp()
    standing.state, standing.since = threshold.state or HealthState.DEGRADED, now
    standing.words, standing.run_since = words(threshold, Sighting(standing.state, plain(said))), None
    _tell(memory, threshold, "", standing, before, at, events)
    _conclude(memory, at, events)
    return events


def rebase(memory: Memory, indicators: Indicators, boot_id: str, rules: Rulebook = RULES) -> None:
    """Take the counts of the last report before a restart as known, so that what grows meanwhile is seen to."""
    memory.boot_id = boot_id
    look = Look(0.0, 0.0)
    for name, its in rules.items():
        outcome = indicators.get(name)
        if type(outcome) is Measured:
            for threshold, rule in its:
                if threshold.test in {Test.GROWN, Test.FALLEN}:
                    rule(outcome.values, memory, look)
            memory.seen = (*memory.seen, name)
    memory.windows.clear()
