"""Which health reports are missing: a row for each interruption, closed when they come in after all."""

from collections.abc import Iterable
from datetime import datetime
from itertools import groupby

from msgspec import Struct, structs
from sqlalchemy import and_, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.history.following import Followed
from collector.history.gaps import Gap, without
from collector.store.records import insert_or
from collector.store.tables import health_gap
from shared.messages import Name, Sequence
from shared.records import Moment


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


async def add(conn: AsyncConnection, found: Iterable[Gap]) -> None:
    """Keep gaps; one that is known already stays as it is."""
    rows = [structs.asdict(one) for one in found]
    await conn.execute(insert_or(conn, health_gap).on_conflict_do_nothing(), rows)


async def fill(conn: AsyncConnection, late: Iterable[tuple[str, Followed]]) -> None:
    """Take reports that came in late, of any machines, out of the gaps in which they were missing."""

    def whose(one: tuple[str, Followed]) -> tuple[str, str]:
        return one[0], one[1].outbox_id

    ordered = sorted(late, key=lambda one: (*whose(one), one[1].seq))
    for (hardware_id, outbox_id), group in groupby(ordered, key=whose):
        reports = {report.seq: report for _, report in group}
        await _fill(conn, hardware_id, outbox_id, list(reports.values()))


async def _fill(conn: AsyncConnection, hardware_id: str, outbox_id: str, reports: list[Followed]) -> None:
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


class Place(Struct, frozen=True, array_like=True):
    """Where a gap stands in its machine's list."""

    ended_at: Moment
    outbox_id: Name
    first_seq: Sequence


async def of(
    conn: AsyncConnection,
    hardware_id: str,
    since: datetime,
    until: datetime,
    limit: int,
    *,
    filled: bool,
    after: Place | None = None,
) -> list[GapRow]:
    """
    Return a machine's gaps that touch a range of time, newest first.

    Args:
        conn: Where.
        hardware_id: Whose.
        since: None that ended before this.
        until: None that began at or after this.
        limit: The most gaps.
        filled: Whether those are among them that were filled since.
        after: The last one of the page before.
    """
    column = health_gap.c
    query = (
        select(health_gap)
        .where(column.hardware_id == hardware_id, column.ended_at > since, column.started_at < until)
        .order_by(column.ended_at.desc(), column.outbox_id.desc(), column.first_seq.desc())
        .limit(limit)
    )
    if not filled:
        query = query.where(column.filled_at.is_(None))
    if after is not None:
        earlier = and_(column.outbox_id == after.outbox_id, column.first_seq < after.first_seq)
        same = and_(column.ended_at == after.ended_at, or_(column.outbox_id < after.outbox_id, earlier))
        query = query.where(or_(column.ended_at < after.ended_at, same))
    return [GapRow(**row) for row in (await conn.execute(query)).mappings()]


async def drop_before(conn: AsyncConnection, cutoff: datetime) -> int:
    """Drop gaps that ended before a time; return how many."""
    return (await conn.execute(delete(health_gap).where(health_gap.c.ended_at < cutoff))).rowcount
