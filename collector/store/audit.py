"""The audit trail: who changed what; the database itself refuses to change or drop an entry."""

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.store.tables import audit_entry


async def append(
    conn: AsyncConnection,
    *,
    at: datetime,
    actor: str,
    role: str,
    address: str,
    action: str,
    object: str,  # noqa: A002 - the column's name
    before: Any = None,
    after: Any = None,
) -> None:
    """Add an entry in the transaction of the change it tells of, so that neither stands without the other."""
    await conn.execute(
        audit_entry.insert().values(
            at=at,
            actor=actor,
            role=role,
            address=address,
            action=action,
            object=object,
            before=before,
            after=after,
        )
    )


async def page(conn: AsyncConnection, after: int, limit: int) -> list[dict[str, Any]]:
    """Return entries after a number, oldest first."""
    query = select(audit_entry).where(audit_entry.c.entry_id > after).order_by(audit_entry.c.entry_id).limit(limit)
    return [dict(row) for row in (await conn.execute(query)).mappings()]
