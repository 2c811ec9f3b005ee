"""Which health reports are missing: a row for each interruption, closed when they come in after all."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby

from msgspec import Struct, structs
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.history.following import Followed
from collector.history.gaps import Gap, without
from collector.store.records import insert_or
from collector.store.tables import health_gap


class GapRow(Struct, frozen=True, kw_only=True):
    """A gap as it is kept. `filled_at`: when the last of it came in after all; null while reports are missing."""

    hardware_id: str
    outbox_id: str
    first_seq: int
    last_seq: int
    cause: str
    started_at: datetime
    ended_at: datetime
    filled_at: datetime | None = None


async def add(conn: AsyncConnection, found: Sequence[Gap]) -> None:
    """Keep gaps; one that is known already stays as it is."""
    rows = [structs.asdict(one) for one in found]
    await conn.execute(insert_or(conn, health_gap).on_conflict_do_nothing(), rows)


async def fill(conn: AsyncConnection, late: Sequence[tuple[str, Followed]]) -> None:
    """Take reports that came in late, of any machines, out of the gaps in which they were missing."""

    def whose(one: tuple[str, Followed]) -> tuple[str, str]:
        return one[0], one[1].outbox_id

    ordered = sorted(late, key=lambda one: (*whose(one), one[1].seq))
    for (hardware_id, outbox_id), group in groupby(ordered, key=whose):
        reports = {report.seq: report for _, report in group}
        await _fill(conn, hardware_id, outbox_id, list(reports.values()))


async def _fill(conn: AsyncConnection, hardware_id: str, outbox_id: str, reports: Sequence[Followed]) -> None:
    seqs, times = [one.seq for one in reports], [one.at for one in reports]
    mine = health_gap.c.hardware_id == hardware_id, health_gap.c.outbox_id == outbox_id
    query = select(health_gap).where(
        *mine,
        health_gap.c.filled_at.is_(None),
        health_gap.c.first_seq <= seqs[-1],
        health_gap.c.last_seq >= seqs[0],
    )
    for row in (await conn.execute(query)).mappings().all():
        gap = Gap(**{name: row[name] for name in Gap.__struct_fields__})
        left = without(gap, seqs, times)
        this = (*mine, health_gap.c.first_seq == gap.first_seq)
        if not left and gap.missing > 0:
            await conn.execute(update(health_gap).where(*this).values(filled_at=max(times)))
        elif left and left != (gap,):
            await conn.execute(delete(health_gap).where(*this))
            await add(conn, left)


async def of(
    conn: AsyncConnection, hardware_id: str, since: datetime, until: datetime, limit: int, *, filled: bool
) -> list[GapRow]:
    """Return a machine's gaps that touch a range of time, newest first; with or without those filled since."""
    query = (
        select(health_gap)
        .where(
            health_gap.c.hardware_id == hardware_id,
            health_gap.c.ended_at > since,
            health_gap.c.started_at < until,
        )
        .order_by(health_gap.c.ended_at.desc(), health_gap.c.first_seq.desc())
        .limit(limit)
    )
    if not filled:
        query = query.where(health_gap.c.filled_at.is_(None))
    return [GapRow(**row) for row in (await conn.execute(query)).mappings()]


async def drop_before(conn: AsyncConnection, cutoff: datetime) -> int:
    """Drop gaps that ended before a time; return how many."""
    return (await conn.execute(delete(health_gap).where(health_gap.c.ended_at < cutoff))).rowcount
