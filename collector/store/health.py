"""Health reports: appended in groups, with the newest on the machine's own row. The hot path."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import bindparam, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.store.records import insert_or
from collector.store.tables import health_sample, live, machine


class Report(Struct, frozen=True, kw_only=True):
    """
    One health report as received; `indicators` is JSON, encoded once.

    `at`: when the collector takes it to have been made; its own clock, unlike `collected_at`.
    """

    hardware_id: str
    outbox_id: str
    seq: int
    boot_id: str
    collected_at: datetime
    received_at: datetime
    at: datetime
    indicators: msgspec.Raw | bytes


async def commit(conn: AsyncConnection, reports: Sequence[Report]) -> None:
    """
    Store reports in the caller's transaction; a repeated one changes nothing.

    The row of a machine gets the newest report of its present outbox: a backlog that comes in after a break never
    replaces what is known since.
    """
    if not reports:
        return
    rows = [{name: getattr(one, name) for name in Report.__struct_fields__} for one in reports]
    await conn.execute(insert_or(conn, health_sample).on_conflict_do_nothing(), rows)
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        key = (row["hardware_id"], row["outbox_id"])
        if key not in newest or row["seq"] > newest[key]["seq"]:
            newest[key] = row
    latest = [
        {
            "of": row["hardware_id"],
            "outbox": row["outbox_id"],
            "number": row["seq"],
            "received": row["received_at"],
            "found": row["indicators"],
        }
        for row in newest.values()
    ]
    # The machine's row first: its guard is the number that the second statement moves forward.
    await conn.execute(_LATEST, latest)
    await conn.execute(_FORWARD, latest)


_newer = (
    select(live.c.hardware_id)
    .where(
        live.c.hardware_id == bindparam("of"),
        live.c.last_seq < bindparam("number"),
        or_(live.c.outbox_id == bindparam("outbox"), live.c.outbox_id.is_(None)),
    )
    .exists()
)
_LATEST = (
    update(machine).where(machine.c.hardware_id == bindparam("of"), _newer).values(health_indicators=bindparam("found"))
)
_FORWARD = (
    update(live)
    .where(
        live.c.hardware_id == bindparam("of"),
        live.c.last_seq < bindparam("number"),
        or_(live.c.outbox_id == bindparam("outbox"), live.c.outbox_id.is_(None)),
    )
    .values(last_seq=bindparam("number"), last_received_at=bindparam("received"))
)


async def history(
    conn: AsyncConnection, hardware_id: str, since: datetime, until: datetime, limit: int
) -> list[dict[str, Any]]:
    """Return a machine's reports received between two times, newest first."""
    query = (
        select(health_sample)
        .where(
            health_sample.c.hardware_id == hardware_id,
            health_sample.c.received_at >= since,
            health_sample.c.received_at < until,
        )
        .order_by(health_sample.c.received_at.desc(), health_sample.c.seq.desc())
        .limit(limit)
    )
    return [dict(row) for row in (await conn.execute(query)).mappings()]


async def drop_before(conn: AsyncConnection, cutoff: datetime) -> int:
    """Drop reports received before a time; return how many."""
    return (await conn.execute(delete(health_sample).where(health_sample.c.received_at < cutoff))).rowcount
