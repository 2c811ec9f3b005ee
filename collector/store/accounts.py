"""Tenants' accounts as the machines' wipers made them: which one an order under a name means."""

from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.store.records import insert_or
from collector.store.tables import tenant_account


class TenantAccount(Struct, frozen=True, kw_only=True):
    """One account of one tenant; `generation` tells it from an earlier one of the same name."""

    hardware_id: str
    generation: str
    username: str
    uid: int
    booking_id: str | None
    command_id: str
    granted_at: datetime
    wiped_at: datetime | None


async def record_grant(conn: AsyncConnection, **row: Any) -> None:
    """Keep an account that was made; a repeat changes nothing."""
    await conn.execute(insert_or(conn, tenant_account).values(**row).on_conflict_do_nothing())


async def current(conn: AsyncConnection, hardware_id: str, username: str) -> TenantAccount | None:
    """Return the account granted last under this name, if it has not been wiped since."""
    query = (
        select(tenant_account)
        .where(tenant_account.c.hardware_id == hardware_id, tenant_account.c.username == username)
        .order_by(tenant_account.c.granted_at.desc())
        .limit(1)
    )
    row = (await conn.execute(query)).mappings().first()
    return TenantAccount(**row) if row is not None and row["wiped_at"] is None else None


async def mark_wiped(conn: AsyncConnection, hardware_id: str, generation: str, now: datetime) -> None:
    """Note that an account's wipe ended in success."""
    one = tenant_account.c.hardware_id == hardware_id, tenant_account.c.generation == generation
    await conn.execute(update(tenant_account).where(*one).values(wiped_at=now))
