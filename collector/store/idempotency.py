"""Answers to POST requests that carried an Idempotency-Key."""

from datetime import datetime

from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.store.records import insert_or
from collector.store.tables import idempotency


class Earlier(Struct, frozen=True, kw_only=True):
    """The first answer: to which request, with which status and body."""

    request_sha256: str
    status: int
    body: str


async def get(conn: AsyncConnection, actor: str, key: str) -> Earlier | None:
    """Return the answer that this actor got under this key."""
    query = select(idempotency.c.request_sha256, idempotency.c.status, idempotency.c.body)
    row = (await conn.execute(query.where(idempotency.c.actor == actor, idempotency.c.key == key))).mappings().first()
    return Earlier(**row) if row is not None else None


async def put(
    conn: AsyncConnection, *, actor: str, key: str, request_sha256: str, status: int, body: str, now: datetime
) -> None:
    """Keep an answer; the first one stays."""
    statement = insert_or(conn, idempotency).values(
        actor=actor, key=key, request_sha256=request_sha256, status=status, body=body, created_at=now
    )
    await conn.execute(statement.on_conflict_do_nothing())
