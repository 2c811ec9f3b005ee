"""Health reports: appended in groups, with the newest on the machine's own row. The hot path."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import bindparam, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.history.following import Followed
from collector.history.gaps import Gap, GapCause
from collector.store import gaps
from collector.store.records import insert_or
from collector.store.tables import health_sample, live, machine


class Report(Struct, frozen=True, kw_only=True):
    """
    One health report as received; `indicators` is JSON, encoded once.

    `at`: when the collector takes it to have been made; its own clock, unlike `collected_at`. `missing`: what its
    coming shows to be missing before it. `late`: a newer one of its outbox came before it. `follows_at`: when the
    report before it was made.
    """

    hardware_id: str
    outbox_id: str
    seq: int
    boot_id: str
    collected_at: datetime
    received_at: datetime
    at: datetime
    indicators: msgspec.Raw | bytes
    missing: tuple[Gap, ...] = ()
    late: bool = False
    follows_at: datetime | None = None


_COLUMNS = tuple(column.name for column in health_sample.columns)


async def commit(conn: AsyncConnection, reports: Sequence[Report]) -> None:
    """
    Store reports in the caller's transaction; a repeated one changes nothing.

    The row of a machine gets the newest report of its present outbox: a backlog that comes in after a break never
    replaces what is known since.
    """
    if not reports:
        return
    rows = [{name: getattr(one, name) for name in _COLUMNS} for one in reports]
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
            "made": row["at"],
            "boot": row["boot_id"],
            "found": row["indicators"],
        }
        for row in newest.values()
    ]
    # The machine's row first: its guard is the number that the second statement moves forward.
    await conn.execute(_LATEST, latest)
    await conn.execute(_FORWARD, latest)
    if missing := [gap for one in reports for gap in one.missing]:
        await gaps.add(conn, missing)
    if late := [one for one in reports if one.late]:
        await gaps.fill(conn, [_followed(one) for one in late])


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
    .values(
        last_seq=bindparam("number"),
        last_received_at=bindparam("received"),
        sample_at=bindparam("made"),
        sample_boot_id=bindparam("boot"),
    )
)


async def history(
    conn: AsyncConnection, hardware_id: str, since: datetime, until: datetime, limit: int
) -> list[dict[str, Any]]:
    """Return a machine's whole reports made between two times, newest first; those of hours that are not closed."""
    query = (
        select(health_sample)
        .where(
            health_sample.c.hardware_id == hardware_id,
            health_sample.c.at >= since,
            health_sample.c.at < until,
        )
        .order_by(health_sample.c.at.desc(), health_sample.c.seq.desc())
        .limit(limit)
    )
    return [dict(row) for row in (await conn.execute(query)).mappings()]


async def drop_before(conn: AsyncConnection, cutoff: datetime) -> int:
    """Drop reports made before a time, whose hours could not be closed; return how many."""
    return (await conn.execute(delete(health_sample).where(health_sample.c.at < cutoff))).rowcount


class Newest(Struct, frozen=True, kw_only=True):
    """
    A machine's newest report.

    Attributes:
        hardware_id: Whose.
        outbox_id: Whose numbers `seq` is one of.
        seq: Its number.
        boot_id: The boot in which it was made.
        at: When, by the collector's clock.
        received_at: When it came in.
        indicators: What it says.
    """

    hardware_id: str
    outbox_id: str | None
    seq: int
    boot_id: str | None
    at: datetime | None
    received_at: datetime | None
    indicators: Any


async def refuse(conn: AsyncConnection, report: Report) -> None:
    """Keep that a report is missing because the database does not take it, with whatever was missing before it."""
    refused = Gap(
        hardware_id=report.hardware_id,
        outbox_id=report.outbox_id,
        first_seq=report.seq,
        last_seq=report.seq,
        cause=GapCause.REFUSED,
        started_at=report.follows_at or report.at,
        ended_at=report.at,
    )
    await gaps.add(conn, (*report.missing, refused))


async def newest(conn: AsyncConnection, hardware_id: str) -> Newest | None:
    """Return a machine's newest report, empty where it has sent none; None for a machine that is not on record."""
    query = (
        select(
            live.c.hardware_id,
            live.c.outbox_id,
            live.c.last_seq.label("seq"),
            live.c.sample_boot_id.label("boot_id"),
            live.c.sample_at.label("at"),
            live.c.last_received_at.label("received_at"),
            machine.c.health_indicators.label("indicators"),
        )
        .join(machine, machine.c.hardware_id == live.c.hardware_id)
        .where(live.c.hardware_id == hardware_id)
    )
    row = (await conn.execute(query)).mappings().first()
    return Newest(**row) if row is not None else None


async def newest_followed(conn: AsyncConnection, hardware_id: str) -> Followed | None:
    """Return a machine's newest report as what the next one is held against; None before the first."""
    query = select(live.c.outbox_id, live.c.last_seq, live.c.sample_boot_id, live.c.sample_at)
    row = (await conn.execute(query.where(live.c.hardware_id == hardware_id))).first()
    return _newest(*row) if row is not None else None


def followed(row: Newest) -> Followed | None:
    """Return a newest report as what the next one is held against; None before the first."""
    return _newest(row.outbox_id, row.seq, row.boot_id, row.at)


def _newest(outbox_id: str | None, seq: int, boot_id: str | None, at: datetime | None) -> Followed | None:
    if at is None or boot_id is None:
        return None
    return Followed(outbox_id=outbox_id or "", seq=seq, boot_id=boot_id, at=at)


def _followed(report: Report) -> tuple[str, Followed]:
    at = Followed(outbox_id=report.outbox_id, seq=report.seq, boot_id=report.boot_id, at=report.at)
    return report.hardware_id, at
