"""Answers to POST requests that carried an Idempotency-Key."""

from datetime import datetime

from msgspec import Struct
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.store.records import insert_or
from collector.store.tables import idempotency


class First(Struct, frozen=True, kw_only=True):
    """The first request under a key, and its answer; without one it is the running transaction's own."""

    request_sha256: str
    status: int | None = None
    body: str | None = None


async def claim(conn: AsyncConnection, *, actor: str, key: str, request_sha256: str, now: datetime) -> First:
    """
    Return the first request that this actor made under this key: this one, or an earlier one with its answer.

    Waits while another transaction is answering under the same key.
    """
    statement = insert_or(conn, idempotency).values(actor=actor, key=key, request_sha256=request_sha256, created_at=now)
    await conn.execute(statement.on_conflict_do_nothing())
    query = select(idempotency.c.request_sha256, idempotency.c.status, idempotency.c.body)
    row = (await conn.execute(query.where(idempotency.c.actor == actor, idempotency.c.key == key))).mappings().one()
    return First(**row)


async def answer(conn: AsyncConnection, *, actor: str, key: str, status: int, body: str) -> None:
    """Keep the answer to a claimed request."""
    mine = (idempotency.c.actor == actor, idempotency.c.key == key)
    await conn.execute(update(idempotency).where(*mine).values(status=status, body=body))


async def forget(conn: AsyncConnection, before: datetime) -> int:
    """Remove what was claimed before a moment; return how many."""
    return (await conn.execute(delete(idempotency).where(idempotency.c.created_at < before))).rowcount
