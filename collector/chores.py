"""Periodic work: commands that expire, hours of health to close, what is old enough to go, machines to be measured."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from msgspec import Struct

from collector.benchmarks.ordering import KEPT_FREE, BenchmarkOrders
from collector.benchmarks.scheduling import RETRY, Candidate, plan
from collector.bus.local import Bell
from collector.closing import Closing
from collector.history.tiers import Tier
from collector.links.dispatch import FROM, OPEN, State
from collector.store import benchmarks, commands, gaps, health, history, idempotency, verdicts
from collector.store.engine import Database
from shared.codes import Code, Trouble

EXPIRE_EVERY_S = 5
TIDY_EVERY_S = 900
CLOSE_EVERY_S = 60
STUCK_KEPT = timedelta(days=7)
"""How long a report stays in the log that cannot be moved into a chunk: a defect, told each time it is tried."""
MEASURE_EVERY_S = 60
MEASURE_WITHIN = timedelta(hours=1)
"""How long a benchmark that nobody asked for may wait: the machine was there and idle when it was ordered."""
DUE_ROWS = 200
ANSWERS_KEPT = timedelta(days=7)
"""How long a repeated request gets its first answer; as long as an order lives unless its caller says otherwise."""
EVENTS_KEPT = timedelta(days=2 * 365)
"""What came and went of a machine's reasons; as long as the coarsest history of its readings."""

log = structlog.get_logger()


class Round(Struct, kw_only=True):
    """
    How a chore gets on.

    Attributes:
        every_s: How often its turn comes.
        succeeded_at: When it was done last; None until it was.
        took_s: How long the last turn was, whatever became of it.
        failures: Turns that broke off.
    """

    every_s: float
    succeeded_at: datetime | None = None
    took_s: float = 0.0
    failures: int = 0


class Chores:
    """
    The collector's periodic work.

    Args:
        database: What is tidied.
        now: The clock.
        closing: Closes hours of health.
        kept: The tiers of health, and how long each is kept.
        benchmark_orders: Orders benchmarks.
        bell: Rung for a machine that is to be measured.
        benchmark_every: How often each is; zero for never.

    Attributes:
        rounds: How each chore gets on, by name.
        expired: Commands that waited too long for their machine, by kind.
    """

    def __init__(
        self,
        database: Database,
        now: Callable[[], datetime],
        closing: Closing,
        kept: Sequence[Tier],
        benchmark_orders: BenchmarkOrders,
        bell: Bell,
        benchmark_every: timedelta,
    ) -> None:
        self._database = database
        self._now = now
        self._closing = closing
        self._kept = tuple(kept)
        self._benchmark_orders = benchmark_orders
        self._bell = bell
        self._benchmark_every = benchmark_every
        self._scheduler = AsyncIOScheduler(timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1})
        self.rounds: dict[str, Round] = {}
        self.expired: Counter[str] = Counter()

    def schedule(self) -> AsyncIOScheduler:
        """Return a scheduler with every chore on it, not yet started."""
        self._add(self.expire, EXPIRE_EVERY_S)
        self._add(self.close, CLOSE_EVERY_S, jitter=10)
        self._add(self.tidy, TIDY_EVERY_S, jitter=60)
        if self._benchmark_every:
            self._add(self.measure, MEASURE_EVERY_S, jitter=10)
        return self._scheduler

    def _add(self, chore: Callable[[], Awaitable[None]], every_s: int, jitter: int | None = None) -> None:
        self.rounds[chore.__name__] = Round(every_s=every_s)
        self._scheduler.add_job(self._told, "interval", args=[chore], seconds=every_s, jitter=jitter)

    async def expire(self) -> None:
        """End the commands that waited too long for their machine."""
        async with self._database.write() as conn:
            ended = await commands.expire(conn, self._now(), FROM[State.EXPIRED])
        for row in ended:
            self.expired[row.kind] += 1
            log.warning("command.expired", command_id=row.command_id, hardware_id=row.hardware_id, kind=row.kind)

    async def tidy(self) -> None:
        """Drop what is past its time: chunks and gaps of health, kept answers."""
        now = self._now()
        async with self._database.write() as conn:
            reports = await health.drop_before(conn, now - STUCK_KEPT)
            chunks = [
                await history.drop_before(conn, tier.resolution, now - tier.kept - tier.span) for tier in self._kept
            ]
            missing = await gaps.drop_before(conn, now - self._kept[-1].kept)
            answers = await idempotency.forget(conn, now - ANSWERS_KEPT)
            events = await verdicts.drop_before(conn, now - EVENTS_KEPT)
        log.info(
            "store.tidied",
            stuck_reports=reports,
            health_chunks=sum(chunks),
            health_gaps=missing,
            health_events=events,
            kept_answers=answers,
        )

    async def close(self) -> None:
        """Close the hours of health that are over."""
        if moved := await self._closing.close():
            log.info("history.closed", reports=moved)

    async def measure(self) -> None:
        """Order benchmarks on machines that are due."""
        now = self._now()
        async with self._database.read() as conn:
            found = await benchmarks.due(conn, now, now + KEPT_FREE, OPEN, DUE_ROWS)
            sites = await benchmarks.sites(conn, {one.customer_id for one in found}, OPEN)
        planned = plan(found, sites, now, self._benchmark_every)
        async with self._database.write() as conn:
            for hardware_id, due_at in planned.put_off.items():
                await benchmarks.put_off(conn, hardware_id, due_at)
        for one in planned.measured:
            await self._measure(one)

    async def _measure(self, machine: Candidate) -> None:
        hardware_id = machine.hardware_id
        try:
            async with self._database.write() as conn:
                await benchmarks.put_off(conn, hardware_id, self._now() + RETRY)
                row = await self._benchmark_orders.issue(
                    conn,
                    hardware_id,
                    self._benchmark_orders.usual(has_gpu=machine.has_gpu),
                    requested_by="schedule",
                    lifetime=MEASURE_WITHIN,
                )
        except Trouble as trouble:
            if trouble.code is not Code.BOOKED:
                raise
            # Booked since it was looked at: its turn comes again when it is free.
            return
        log.info("benchmark.scheduled", command_id=row.command_id, hardware_id=hardware_id)
        await self._bell.ring(hardware_id)

    async def _told(self, chore: Callable[[], Awaitable[None]]) -> None:
        """Run a chore; the next round tries again what a database that is away did not let it do."""
        turn, began_s = self.rounds[chore.__name__], time.perf_counter()
        try:
            await chore()
            turn.succeeded_at = self._now()
        except Trouble as trouble:
            turn.failures += 1
            log.error("chore.failed", chore=chore.__name__, code=trouble.code, detail=trouble.detail)
        finally:
            turn.took_s = time.perf_counter() - began_s
