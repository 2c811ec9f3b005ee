"""Presence: each machine's state now, and the ledger of its changes."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.store.tables import live, machine, presence_event


class LiveRow(Struct, frozen=True, kw_only=True):
    """What is known of a machine's link now."""

    hardware_id: str
    presence: str
    presence_since: datetime
    last_received_at: datetime | None
    boot_id: str | None
    agent_version: str | None
    clock_skew_ms: int | None


class Transition(Struct, frozen=True, kw_only=True):
    """A change of presence; `status` is the machine record's word for the new state."""

    hardware_id: str
    at: datetime
    from_state: str
    to_state: str
    status: str
    cause: str


_COLUMNS = [live.c[name] for name in LiveRow.__struct_fields__]


async def all_live(conn: AsyncConnection) -> list[LiveRow]:
    """Return every machine's state."""
    return [LiveRow(**row) for row in (await conn.execute(select(*_COLUMNS))).mappings()]


async def find(conn: AsyncConnection, hardware_id: str) -> LiveRow | None:
    """Return one machine's state."""
    row = (await conn.execute(select(*_COLUMNS).where(live.c.hardware_id == hardware_id))).mappings().first()
    return LiveRow(**row) if row is not None else None


async def record(conn: AsyncConnection, transitions: Sequence[Transition]) -> None:
    """Write changes to the ledger, the live rows and the machine records."""
    if not transitions:
        return
    rows = [
        {
            "of": one.hardware_id,
            "moment": one.at,
            "before": one.from_state,
            "now": one.to_state,
            "word": one.status,
            "why": one.cause,
        }
        for one in transitions
    ]
    await conn.execute(_EVENT, rows)
    await conn.execute(_LIVE, rows)
    await conn.execute(_MACHINE, rows)


_EVENT = presence_event.insert().values(
    hardware_id=bindparam("of"),
    at=bindparam("moment"),
    from_state=bindparam("before"),
    to_state=bindparam("now"),
    cause=bindparam("why"),
)
_LIVE = (
    update(live)
    .where(live.c.hardware_id == bindparam("of"))
    .values(presence=bindparam("now"), presence_since=bindparam("moment"))
)
_MACHINE = (
    update(machine).where(machine.c.hardware_id == bindparam("of")).values(provider_agent_status=bindparam("word"))
)


async def events(conn: AsyncConnection, hardware_id: str, limit: int) -> list[dict[str, object]]:
    """Return a machine's changes of presence, newest first."""
    query = (
        select(presence_event)
        .where(presence_event.c.hardware_id == hardware_id)
        .order_by(presence_event.c.event_id.desc())
        .limit(limit)
    )
    return [dict(row) for row in (await conn.execute(query)).mappings()]
