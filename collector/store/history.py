"""Health over time: the log of recent reports, and the chunks into which closed hours are moved."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from sqlalchemy import ColumnElement, Text, cast, delete, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.history.tiers import Resolution
from collector.store.records import insert_or
from collector.store.tables import health_chunk, health_sample, live


class Logged(Struct, frozen=True):
    """A report of the log: its outbox and number, when it was made, and its indicators as JSON."""

    outbox_id: str
    seq: int
    at: datetime
    indicators: str


_logged = (
    health_sample.c.outbox_id,
    health_sample.c.seq,
    health_sample.c.at,
    # As text: one driver would decode it, and slowly.
    cast(health_sample.c.indicators, Text).label("indicators"),
)


async def logged(conn: AsyncConnection, hardware_id: str, since: datetime, until: datetime) -> list[Logged]:
    """Return a machine's reports of a range that no chunk holds yet, oldest first."""
    query = (
        select(*_logged)
        .where(health_sample.c.hardware_id == hardware_id, health_sample.c.at >= since, health_sample.c.at < until)
        .order_by(health_sample.c.at)
    )
    return [Logged(*row) for row in await conn.execute(query)]


async def unclosed(conn: AsyncConnection, before: datetime, limit: int) -> list[tuple[str, datetime]]:
    """Return machines with reports in the log from before a time, and when the oldest of each was made."""
    query = (
        select(health_sample.c.hardware_id, func.min(health_sample.c.at))
        .where(health_sample.c.at < before)
        .group_by(health_sample.c.hardware_id)
        .limit(limit)
    )
    return [(row[0], row[1]) for row in await conn.execute(query)]


async def take(conn: AsyncConnection, hardware_id: str, before: datetime, limit: int) -> list[Logged]:
    """
    Take a machine's oldest reports from before a time out of the log, at most so many.

    Nobody else may work on this machine's chunks until the transaction ends: who takes first holds its live row.
    """
    await conn.execute(select(live.c.hardware_id).where(live.c.hardware_id == hardware_id).with_for_update())
    mine = health_sample.c.hardware_id == hardware_id
    keys = health_sample.c.outbox_id, health_sample.c.seq
    oldest = select(*keys).where(mine, health_sample.c.at < before).order_by(health_sample.c.at).limit(limit)
    statement = delete(health_sample).where(mine, tuple_(*keys).in_(oldest)).returning(*_logged)
    rows = [Logged(*row) for row in await conn.execute(statement)]
    return sorted(rows, key=lambda one: (one.at, one.seq))


async def weight(conn: AsyncConnection, hardware_id: str, tier: Resolution, since: datetime, until: datetime) -> int:
    """Return how many bytes the chunks have that `chunks` would return."""
    query = select(func.coalesce(func.sum(func.length(health_chunk.c.content)), 0)).where(
        *_of(hardware_id, tier, since, until)
    )
    return int((await conn.execute(query)).scalar_one())


def _of(hardware_id: str, tier: Resolution, since: datetime, until: datetime) -> tuple[ColumnElement[bool], ...]:
    start_at = health_chunk.c.start_at
    mine = health_chunk.c.hardware_id == hardware_id, health_chunk.c.tier == tier.value
    return (*mine, start_at >= since, start_at < until)


async def chunks(
    conn: AsyncConnection, hardware_id: str, tier: Resolution, since: datetime, until: datetime
) -> list[tuple[datetime, bytes]]:
    """Return a machine's chunks of a tier that start in a range, oldest first."""
    query = (
        select(health_chunk.c.start_at, health_chunk.c.content)
        .where(*_of(hardware_id, tier, since, until))
        .order_by(health_chunk.c.start_at)
    )
    return [(row[0], row[1]) for row in await conn.execute(query)]


async def put(
    conn: AsyncConnection, hardware_id: str, tier: Resolution, made: Sequence[tuple[datetime, bytes]]
) -> None:
    """Keep chunks, in the place of those with the same start."""
    if not made:
        return
    statement = insert_or(conn, health_chunk)
    statement = statement.on_conflict_do_update(
        index_elements=["hardware_id", "tier", "start_at"], set_={"content": statement.excluded.content}
    )
    rows = [
        {"hardware_id": hardware_id, "tier": tier.value, "start_at": start, "content": content}
        for start, content in made
    ]
    await conn.execute(statement, rows)


async def drop_before(conn: AsyncConnection, tier: Resolution, cutoff: datetime) -> int:
    """Drop a tier's chunks that start before a time; return how many."""
    statement = delete(health_chunk).where(health_chunk.c.tier == tier.value, health_chunk.c.start_at < cutoff)
    return (await conn.execute(statement)).rowcount
