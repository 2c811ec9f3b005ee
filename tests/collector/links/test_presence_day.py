"""A day of 200 machines in virtual time: the ledger and the uptime are what happened, to the second."""

import itertools
import os
import random
import tempfile
from bisect import bisect_left
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from collector.links.presence import Cause, Presence
from collector.links.uptime import By, away, rows, uptime
from collector.store import presence, runs
from collector.store.engine import open_database
from tests.collector.known import add_machine
from tests.collector.links.day import BEGIN, DAY_S, Simulated, World, at

SEED = int(os.environ.get("DAY_SEED", "20260501"))
MACHINES = {"plain": 100, "silent": 25, "brief": 15, "stopped": 15, "killed": 15, "rebooted": 15, "flapping": 15}
STOP_S, CRASH_S, OWN_S = 5 * 3600.0, 11 * 3600.0, 17 * 3600.0
OWN_FOR_S = 360.0
KEPT_CLEAR_S = 900.0
"""What an end's cause needs is in memory, so it is not made to happen around what the collector itself goes through."""


class Fact(NamedTuple):
    """A ledger's entry: the second, to a thousandth, the state from then on, and why."""

    second: float
    state: Presence
    cause: Cause


@pytest.fixture
def quick_url(sqlite_template):
    """A migrated SQLite database in memory where that can be: a day has thousands of commits."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as folder:
        file = Path(folder) / "day.db"
        file.write_bytes(sqlite_template.read_bytes())
        yield f"sqlite:///{file}"


@pytest.fixture
async def quick(quick_url):
    opened = open_database(quick_url)
    yield opened
    await opened.close()


@pytest.mark.slow
async def test_the_ledger_of_a_day_is_what_happened(quick):
    """
    Outages, restarts, reboots, flapping links, wrong clocks; the collector restarts, is killed, and loses its network.

    A machine is there while it can be heard: the truth is made afterwards from what arrived when, by other code.
    """
    world = await lived(quick, random.Random(SEED))
    causes: Counter[Cause] = Counter()
    async with quick.read() as conn:
        states = {row.hardware_id: row for row in await presence.all_live(conn)}
        gone = away(await runs.between(conn, BEGIN, at(DAY_S)), BEGIN, at(DAY_S), at(DAY_S))
        for one in world.machines:
            entries = reversed(await presence.events(conn, one.name, 10_000))
            kept = [Fact(_second(row.at), Presence(row.to_state), Cause(row.cause)) for row in entries]
            facts = truth(one, world)
            assert kept == facts, f"{one.name}, {one.kind}, seed {SEED}"
            as_planned(one, facts)
            causes.update(fact.cause for fact in facts)
            ledger = await presence.ledger(conn, one.name, BEGIN, at(DAY_S))
            (day,) = uptime(ledger, gone, rows(BEGIN, at(DAY_S), By.DAY))
            expected = pytest.approx(shares(facts, world), abs=1)
            assert (day.online_s, day.offline_s) == expected, f"{one.name}, {one.kind}, seed {SEED}"
            if facts[-1].state is Presence.ONLINE:
                assert states[one.name].clock_skew_ms == pytest.approx(one.ahead_s * 1000, abs=500), one.name
    absences = [(_second(one.start_at), _second(one.end_at)) for one in gone]
    slept = [(before[1], after[0]) for before, after in itertools.pairwise(world.listened)]
    assert absences == [pytest.approx(one, abs=1) for one in slept]
    print(f"seed {SEED}: {sum(causes.values())} entries: {dict(causes)}")
    assert set(causes) == set(Cause) - {Cause.REVOKED, Cause.CLONE}


async def lived(database, dice: random.Random) -> World:
    kinds = [kind for kind, many in MACHINES.items() for _ in range(many)]
    machines = [Simulated(f"hw_{number}", dice.gauss(0, 40), kind) for number, kind in enumerate(kinds)]
    async with database.write() as conn:
        for one in machines:
            await add_machine(conn, one.name)
    world = World(database, machines, dice)
    world.plan(0, world.start_collector)
    for one in machines:
        world.plan(dice.uniform(1, 20), world.begin, one)
        happens(world, one, dice)
        if dice.random() < 0.2:
            world.plan(dice.uniform(0, 80_000), world.jump, one, dice.choice([-7200, 3600, 86_400 * 400, -30, 30]))
    world.plan(STOP_S, lambda: world.stop_collector(40, goodbye=True))
    world.plan(CRASH_S, lambda: world.stop_collector(300, goodbye=False))
    world.plan(OWN_S, world.lose_air, OWN_FOR_S)
    await world.live_through(DAY_S)
    await world.watching.end()
    return world


def happens(world: World, one: Simulated, dice: random.Random) -> None:
    """Plan what happens to a machine, by its kind."""
    for slot in range(3):
        second = slot * 28_000 + dice.uniform(600, 14_000)
        long_s, short_s = dice.choice([dice.uniform(150, 900), dice.uniform(1900, 12_000)]), dice.uniform(5, 25)
        lasts = dice.random() < 0.6
        for_s = long_s if lasts else short_s
        match one.kind:
            case "flapping" if clear(second, second + 7200, OWN_S):
                flaps(world, one, second, dice)
            case "brief":
                world.plan(second, world.lose_way, one, short_s)
            case "silent" if clear(second, second + long_s, OWN_S):
                one.outages += 1
                one.certain = one.certain and clear(second, second + long_s, STOP_S, CRASH_S)
                if lasts:
                    world.plan(second, world.lose_way, one, long_s)
                else:
                    world.plan(second, ends(world, one, long_s, goodbye=False, closes=False, reboots=True))
            case "stopped" | "killed" | "rebooted" if clear(second, second + for_s, STOP_S, CRASH_S, OWN_S):
                one.outages += lasts
                goodbye, reboots = one.kind != "killed", one.kind == "rebooted"
                world.plan(second, ends(world, one, for_s, goodbye=goodbye, closes=True, reboots=reboots))


def ends(world: World, one: Simulated, for_s: float, **how: bool):
    return lambda: world.end(one, for_s, **how)


def clear(from_s: float, to_s: float, *trials: float) -> bool:
    return all(to_s < trial - KEPT_CLEAR_S or trial + KEPT_CLEAR_S + OWN_FOR_S < from_s for trial in trials)


def flaps(world: World, one: Simulated, second: float, dice: random.Random) -> None:
    ends_s = second + 7000
    while second < ends_s:
        down_s = dice.uniform(20, 200)
        world.plan(second, world.lose_way, one, down_s)
        second += down_s + dice.uniform(1, 60)


def truth(one: Simulated, world: World) -> list[Fact]:
    """What the ledger has to say, from what arrived when, and what really happened between."""
    facts: list[Fact] = []
    state, before, left, first, since, cause = Presence.NEVER, None, None, None, 0.0, Cause.SILENCE
    for arrival in [*one.arrivals, (DAY_S, None, None)]:
        second, over = arrival[0], arrival[1] is None
        if before is not None and state is Presence.ONLINE:
            if (told_s := told(before[0], second, world)) is not None:
                (since, cause), left, first = end_of(one, before[0], second), before, None
                held = any(begin + 60 <= told_s <= end + 120 for begin, end in world.own_outages)
                state = Presence.STALE if held else Presence.OFFLINE
                facts.append(Fact(_second(at(since)), state, Cause.MASS_SILENCE if held else cause))
            elif not over and arrival[1:] != before[1:]:
                facts.append(Fact(_second(at(second)), Presence.ONLINE, came(before, arrival)))
        if state is Presence.OFFLINE:
            if first is None or second - before[0] >= 45 or boundary(before[0], second, world):
                first = second
            back = not over and second - first >= 5
            if (back or over) and looked(since + 1800, second, world):
                facts.append(Fact(_second(at(since + 1800)), Presence.OVERDUE, cause))
            if back:
                state = Presence.ONLINE
                facts.append(Fact(_second(at(first)), state, came(left, arrival)))
        elif state is not Presence.ONLINE and not over:
            why = came(left, arrival) if left is not None else Cause.FIRST_REPORT
            state = Presence.ONLINE
            facts.append(Fact(_second(at(second)), state, why))
        before = arrival
    return facts


def told(heard_s: float, next_s: float, world: World) -> float | None:
    """When a silence is long enough to be told: ninety seconds of it while the collector listens."""
    for begin, end in world.listened:
        due_s = max(heard_s, begin) + 90
        if (next_s < end and due_s <= next_s) or (due_s < end and looked(due_s, min(end, next_s), world)):
            return due_s
    return None


def looked(from_s: float, to_s: float, world: World) -> bool:
    place = bisect_left(world.looks, from_s)
    return place < len(world.looks) and world.looks[place] < to_s


def boundary(from_s: float, to_s: float, world: World) -> bool:
    return any(from_s < begin <= to_s for begin, _ in world.listened)


def end_of(one: Simulated, heard_s: float, next_s: float) -> tuple[float, Cause]:
    for second in one.goodbyes:
        if heard_s < second < next_s:
            return second, Cause.STOPPED
    closed = any(heard_s < second < next_s for second in one.closes)
    return heard_s, Cause.LINK_CLOSED if closed else Cause.SILENCE


def came(left: tuple, arrival: tuple) -> Cause:
    if left[1] != arrival[1]:
        return Cause.REBOOTED
    return Cause.AGENT_RESTARTED if left[2] != arrival[2] else Cause.REPORTS_AGAIN


def as_planned(one: Simulated, facts: list[Fact]) -> None:
    """A machine is offline as often as something happened to it for long enough, and never else."""
    if one.kind != "flapping" and one.certain:
        assert sum(fact.state is Presence.OFFLINE for fact in facts) == one.outages, one


def shares(facts: list[Fact], world: World) -> tuple[float, float]:
    """Seconds online and offline, without those in which the collector was away."""
    sums: Counter[Presence] = Counter()
    absences = [(before[1], after[0]) for before, after in itertools.pairwise(world.listened)]
    ends_s = [*(fact.second for fact in facts[1:]), DAY_S]
    for fact, end_s in zip(facts, ends_s, strict=True):
        away_s = sum(max(0.0, min(end_s, to_s) - max(fact.second, from_s)) for from_s, to_s in absences)
        sums[fact.state] += end_s - fact.second - away_s
    return sums[Presence.ONLINE], sums[Presence.OFFLINE] + sums[Presence.OVERDUE]


def _second(moment: datetime) -> float:
    return round((moment - BEGIN).total_seconds(), 3)
