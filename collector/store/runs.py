"""When a collector listened: its own downtime is not the machines'."""

from datetime import datetime

from sqlalchemy import case, func, insert, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.links.uptime import Run
from collector.store.tables import collector_run, live


async def begin(conn: AsyncConnection, now: datetime) -> int:
    """
    Write down that a collector begins to listen, and that those before it have ended; return the run's number.

    One that was killed ended when it wrote last, be it that it is alive or a machine's report.
    """
    newest = (await conn.execute(select(func.max(live.c.last_received_at)))).scalar()
    alive_at, ended = collector_run.c.alive_at, update(collector_run).where(collector_run.c.stopped_at.is_(None))
    if newest is not None and newest <= now:
        await conn.execute(
            ended.values(stopped_at=case((alive_at < newest, literal(newest, alive_at.type)), else_=alive_at))
        )
    else:
        await conn.execute(ended.values(stopped_at=alive_at))
    row = insert(collector_run).values(started_at=now, alive_at=now)
    return int((await conn.execute(row.returning(collector_run.c.run_id))).scalar_one())


async def alive(conn: AsyncConnection, run_id: int, now: datetime) -> None:
    """Write down that a run goes on."""
    await conn.execute(update(collector_run).where(collector_run.c.run_id == run_id).values(alive_at=now))


async def end(conn: AsyncConnection, run_id: int, now: datetime) -> None:
    """Write down that a run ended."""
    await conn.execute(
        update(collector_run).where(collector_run.c.run_id == run_id).values(alive_at=now, stopped_at=now)
    )


async def between(conn: AsyncConnection, since: datetime, until: datetime) -> list[Run]:
    """Return the runs of a time, oldest first."""
    columns = collector_run.c
    query = (
        select(columns.started_at, columns.alive_at, columns.stopped_at)
        .where(columns.started_at < until, or_(columns.stopped_at.is_(None), columns.stopped_at >= since))
        .order_by(columns.started_at)
    )
    return [Run(**row) for row in (await conn.execute(query)).mappings()]
