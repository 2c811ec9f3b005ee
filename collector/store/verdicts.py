"""Verdicts: what each machine is, on its live row, and the ledger of what made it so."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct, structs
from sqlalchemy import ColumnElement, bindparam, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.store.tables import health_event, live, machine
from collector.verdict import Event, HealthState, HealthVerdict, Reason

ROWS_AT_ONCE = 500


class Kept(Struct, frozen=True, kw_only=True):
    """What is kept of a machine: its verdict, and its newest report with the boot it was made in."""

    verdict: HealthVerdict
    boot_id: str
    indicators: Any


class EventRow(Event, frozen=True, kw_only=True):
    """An event as it stands in the ledger, under its number."""

    event_id: int


_VERDICT = (live.c.hardware_id, live.c.health_state, live.c.health_since, live.c.health_reasons, live.c.gpus_expected)


def _verdict_of(row: Any) -> HealthVerdict:
    return HealthVerdict(
        hardware_id=row.hardware_id,
        state=HealthState(row.health_state),
        since=row.health_since,
        reasons=msgspec.convert(row.health_reasons, tuple[Reason, ...]),
        gpus_expected=row.gpus_expected,
    )


async def kept(conn: AsyncConnection) -> AsyncIterator[Kept]:
    """Yield every machine's verdict and newest report; a few at a time, for all together may be gigabytes."""
    boot = live.c.sample_boot_id, live.c.boot_id, machine.c.health_indicators
    query = select(*_VERDICT, *boot).join(machine, machine.c.hardware_id == live.c.hardware_id)
    rows = await conn.stream(query.execution_options(yield_per=ROWS_AT_ONCE))
    async for row in rows:
        boot_id = row.sample_boot_id or row.boot_id or ""
        yield Kept(verdict=_verdict_of(row), boot_id=boot_id, indicators=row.health_indicators)


async def find(conn: AsyncConnection, hardware_id: str) -> HealthVerdict | None:
    """Return one machine's verdict."""
    row = (await conn.execute(select(*_VERDICT).where(live.c.hardware_id == hardware_id))).first()
    return _verdict_of(row) if row is not None else None


async def keep(conn: AsyncConnection, verdicts: Sequence[HealthVerdict], events: Sequence[Event]) -> list[EventRow]:
    """Write verdicts and what changed by them; return the events with their numbers."""
    if verdicts:
        rows = [
            {
                "of": one.hardware_id,
                "state": one.state,
                "moment": one.since,
                "why": [msgspec.to_builtins(reason) for reason in one.reasons],
                "gpus": one.gpus_expected,
            }
            for one in verdicts
        ]
        await conn.execute(_KEEP, rows)
    if not events:
        return []
    columns = health_event.c.event_id
    statement = health_event.insert().returning(columns, sort_by_parameter_order=True)
    numbers = (await conn.execute(statement, [structs.asdict(one) for one in events])).scalars()
    return [EventRow(**structs.asdict(one), event_id=number) for one, number in zip(events, numbers, strict=True)]


_KEEP = (
    update(live)
    .where(live.c.hardware_id == bindparam("of"))
    .values(
        health_state=bindparam("state"),
        health_since=bindparam("moment"),
        health_reasons=bindparam("why"),
        gpus_expected=bindparam("gpus"),
    )
)


async def events(
    conn: AsyncConnection,
    hardware_id: str,
    *,
    since: datetime | None,
    code: str | None,
    before: int | None,
    limit: int,
) -> list[EventRow]:
    """Return a machine's events, the newest first; those of one code, and before a number, where asked."""
    column = health_event.c
    wanted: list[ColumnElement[bool]] = [column.hardware_id == hardware_id]
    if since is not None:
        wanted.append(column.at >= since)
    if code is not None:
        wanted.append(column.code == code)
    if before is not None:
        wanted.append(column.event_id < before)
    query = select(health_event).where(*wanted).order_by(column.event_id.desc()).limit(limit)
    return [
        EventRow(**{**row, "from_state": HealthState(row["from_state"]), "to_state": HealthState(row["to_state"])})
        for row in (await conn.execute(query)).mappings()
    ]


async def drop_before(conn: AsyncConnection, cutoff: datetime) -> int:
    """Drop events from before a time; return how many."""
    return (await conn.execute(delete(health_event).where(health_event.c.at < cutoff))).rowcount


async def expect_gpus(conn: AsyncConnection, hardware_id: str, count: int) -> bool:
    """Set how many GPUs a machine is to have; return whether there is such a machine."""
    statement = update(live).where(live.c.hardware_id == hardware_id).values(gpus_expected=count)
    return (await conn.execute(statement)).rowcount == 1
