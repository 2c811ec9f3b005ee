"""Periodic work: commands that expire, reports that are old enough to go."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from collector.links.dispatch import FROM, State
from collector.store import commands, health, idempotency
from collector.store.engine import Database
from shared.codes import Trouble

EXPIRE_EVERY_S = 5
TIDY_EVERY_S = 900
ANSWERS_KEPT = timedelta(days=7)
"""How long a repeated request gets its first answer; as long as an order lives unless its caller says otherwise."""

log = structlog.get_logger()


class Chores:
    """
    The collector's periodic work.

    Args:
        database: What is tidied.
        now: The clock.
        health_kept: How long single reports are kept.
    """

    def __init__(self, database: Database, now: Callable[[], datetime], health_kept: timedelta) -> None:
        self._database = database
        self._now = now
        self._health_kept = health_kept

    def schedule(self) -> AsyncIOScheduler:
        """Return a scheduler with every chore on it, not yet started."""
        scheduler = AsyncIOScheduler(timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1})
        scheduler.add_job(_told, "interval", args=[self.expire], seconds=EXPIRE_EVERY_S)
        scheduler.add_job(_told, "interval", args=[self.tidy], seconds=TIDY_EVERY_S, jitter=60)
        return scheduler

    async def expire(self) -> None:
        """End the commands that waited too long for their machine."""
        async with self._database.write() as conn:
            ended = await commands.expire(conn, self._now(), FROM[State.EXPIRED])
        for row in ended:
            log.warning("command.expired", command_id=row.command_id, hardware_id=row.hardware_id, kind=row.kind)

    async def tidy(self) -> None:
        """Drop health reports and kept answers past their time."""
        now = self._now()
        async with self._database.write() as conn:
            reports = await health.drop_before(conn, now - self._health_kept)
            answers = await idempotency.forget(conn, now - ANSWERS_KEPT)
        log.info("store.tidied", health_reports=reports, kept_answers=answers)


async def _told(chore: Callable[[], Awaitable[None]]) -> None:
    """Run a chore; the next round tries again what a database that is away did not let it do."""
    try:
        await chore()
    except Trouble as trouble:
        log.error("chore.failed", chore=chore.__name__, code=trouble.code, detail=trouble.detail)
