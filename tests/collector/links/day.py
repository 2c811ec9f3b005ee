"""A simulated day: agents, ways and clocks that fail in virtual time, in front of the collector's own `Watching`."""

import heapq
import itertools
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import bindparam, update

from agent.backoff import wait_s
from collector.feed import Feed
from collector.links.presence import Cause
from collector.links.skew import greeted
from collector.links.watching import Watching
from collector.store import presence
from collector.store.tables import live

DAY_S = 86_400.0
BEGIN = datetime(2026, 5, 2, tzinfo=UTC)
HEARTBEAT_S, JITTER = 15.0, 0.2
CONNECT_S = 15.0
"""How long an agent tries where nobody answers; where a program is missing the refusal comes at once."""
DEAD_S = 30.0
"""After which an agent notices that the way is broken; until then what it sends is repeated by TCP."""
LOOK_S = 2.0


def at(second: float) -> datetime:
    return BEGIN + timedelta(seconds=second)


@dataclass
class Simulated:
    """A machine, and what happened to it in truth."""

    name: str
    ahead_s: float
    kind: str = "plain"
    stored_s: float | None = None
    running: bool = False
    way: bool = True
    linked: bool = False
    boot: int = 0
    run: int = 0
    kept: int = 0
    failures: int = 0
    life: int = 0
    outages: int = 0
    certain: bool = True
    arrivals: list[tuple[float, int, int]] = field(default_factory=list)
    goodbyes: list[float] = field(default_factory=list)
    closes: list[float] = field(default_factory=list)


class World:
    """
    Everything that happens, in order.

    Args:
        database: The collector's, migrated, with the machines in it.
        machines: By their names.
        dice: All chance.
    """

    def __init__(self, database, machines: list[Simulated], dice: random.Random) -> None:
        self.database, self.machines, self.dice = database, machines, dice
        self.second = 0.0
        self.queue: list[tuple[float, int, object, tuple]] = []
        self.order = itertools.count()
        self.watching: Watching | None = None
        self.air = True
        self.listened: list[list[float]] = []
        self.looks: list[float] = []
        self.own_outages: list[tuple[float, float]] = []

    def plan(self, second: float, act, *arguments) -> None:
        heapq.heappush(self.queue, (second, next(self.order), act, arguments))

    def later(self, seconds: float, act, *arguments) -> None:
        self.plan(self.second + seconds, act, *arguments)

    async def live_through(self, until_s: float) -> None:
        next_look = LOOK_S
        while (self.queue and self.queue[0][0] < until_s) or next_look < until_s:
            if not self.queue or self.queue[0][0] >= next_look:
                self.second, next_look = next_look, next_look + LOOK_S
                if self.watching is not None:
                    self.looks.append(self.second)
                    await self.watching.look()
                continue
            self.second, _, act, arguments = heapq.heappop(self.queue)
            if (waits := act(*arguments)) is not None:
                await waits
        self.second = until_s

    # the collector

    async def start_collector(self) -> None:
        self.watching = Watching(self.database, Feed(), lambda: at(self.second), frozenset())
        await self.watching.load()
        self.listened.append([self.second, DAY_S])

    async def stop_collector(self, away_s: float, *, goodbye: bool) -> None:
        """Planned, with a goodbye to each agent, or killed."""
        await self._committed()
        if goodbye:
            await self.watching.end()
        self.watching = None
        heard = max(one.arrivals[-1][0] for one in self.machines if one.arrivals)
        self.listened[-1][1] = self.second if goodbye else heard
        for one in self.machines:
            if one.linked:
                one.linked, one.failures = False, 1
                told_s = wait_s(1, self.dice.random(), self.dice.uniform(0, 10) if goodbye else 0.0)
                self.later(told_s if one.way else DEAD_S, self._try, one, one.life)
        self.later(away_s, self.start_collector)

    async def _committed(self) -> None:
        """What the group commits have stored by now."""
        rows = [
            {"of": one.name, "heard": at(second), "boot": f"b{boot}", "run": f"r{run}"}
            for one in self.machines
            for second, boot, run in one.arrivals[-1:]
        ]
        mine = update(live).where(live.c.hardware_id == bindparam("of"))
        async with self.database.write() as conn:
            await conn.execute(
                mine.values(last_received_at=bindparam("heard"), boot_id=bindparam("boot"), run_id=bindparam("run")),
                rows,
            )

    def lose_air(self, for_s: float) -> None:
        """The collector's own network fails."""
        self.air = False
        self.own_outages.append((self.second, self.second + for_s))
        for one in self.machines:
            self.later(DEAD_S * self.dice.uniform(0.7, 1), self._notice, one, one.life)
        self.later(for_s, self._regain_air)

    def _regain_air(self) -> None:
        self.air = True

    # the agents

    def begin(self, one: Simulated):
        one.running, one.life, one.run, one.failures = True, one.life + 1, one.run + 1, 0
        self._beat(one, one.life)
        return self._try(one, one.life)

    def _beat(self, one: Simulated, life: int) -> None:
        if life != one.life:
            return
        one.kept += 1
        self._arrive(one, life)
        self.later(HEARTBEAT_S * self.dice.uniform(1 - JITTER, 1 + JITTER), self._beat, one, life)

    def _reachable(self, one: Simulated) -> bool:
        return self.watching is not None and self.air and one.way

    def _arrive(self, one: Simulated, life: int) -> None:
        if life == one.life and one.linked and one.kept and self._reachable(one):
            for number in range(one.kept, 0, -1):
                collected_s = self.second + one.ahead_s - HEARTBEAT_S * (number - 1)
                self.watching.heard(one.name, at(collected_s), HEARTBEAT_S * (number - 1))
            one.kept = 0
            one.arrivals.append((self.second, one.boot, one.run))

    def _try(self, one: Simulated, life: int):
        if life != one.life or one.linked:
            return None
        if self._reachable(one):
            one.linked, one.failures = True, 0
            clock = greeted(at(self.second), at(self.second), at(self.second + one.ahead_s))
            self.watching.joined(one.name, f"b{one.boot}", f"r{one.run}", clock)
            self.later(self.dice.uniform(0.01, 0.1), self._arrive, one, life)
            return self._greeted(one) if one.stored_s != one.ahead_s else None
        one.failures += 1
        blind_s = 0.0 if self.air and one.way else CONNECT_S
        self.later(blind_s + wait_s(one.failures, self.dice.random()), self._try, one, life)
        return None

    async def _greeted(self, one: Simulated) -> None:
        """What the link stores of a hello."""
        one.stored_s = one.ahead_s
        async with self.database.write() as conn:
            await presence.write_skews(conn, [(one.name, round(one.ahead_s * 1000))])

    def _notice(self, one: Simulated, life: int) -> None:
        if life == one.life and one.linked and not (self.air and one.way):
            one.linked, one.failures = False, 1
            self.later(wait_s(1, self.dice.random()), self._try, one, life)

    # what happens to them

    def lose_way(self, one: Simulated, for_s: float) -> None:
        one.way = False
        self.later(DEAD_S * self.dice.uniform(0.7, 1), self._notice, one, one.life)
        self.later(for_s, self._regain_way, one)

    def _regain_way(self, one: Simulated) -> None:
        one.way = True
        self.later(self.dice.uniform(0.1, 3), self._arrive, one, one.life)

    def end(self, one: Simulated, for_s: float, *, goodbye: bool, closes: bool, reboots: bool) -> None:
        """The agent ends and comes back: stopped, killed, or with its machine."""
        if one.linked and self._reachable(one):
            if goodbye:
                one.goodbyes.append(self.second)
                self.watching.ended(one.name, Cause.STOPPED, "the agent stops")
            if closes:
                one.closes.append(self.second)
                self.watching.ended(one.name, Cause.LINK_CLOSED, "the connection ended without a goodbye")
        one.running, one.linked, one.life = False, False, one.life + 1
        one.boot += reboots
        self.later(for_s, self.begin, one)

    def jump(self, one: Simulated, by_s: float) -> None:
        one.ahead_s += by_s
