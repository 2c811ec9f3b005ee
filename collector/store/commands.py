"""Commands: durable orders and how far they are. Which state may follow which is decided by the caller."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct, structs
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.store.tables import command, live
from shared.codes import Code, Trouble


class CommandRow(Struct, frozen=True, kw_only=True):
    """
    One command.

    `envelope` and `result` are JSON of the signed order and outcome; `progress` is {step, done, of}.
    """

    command_id: str
    hardware_id: str
    kind: str
    state: str
    seq: int
    booking_id: str | None = None
    requested_by: str
    envelope: str
    order_sha256: str
    created_at: datetime
    expires_at: datetime
    sent_at: datetime | None = None
    accepted_at: datetime | None = None
    finished_at: datetime | None = None
    code: str | None = None
    detail: str | None = None
    result: str | None = None
    progress: Any = None


_STAMP = {"sent": "sent_at", "accepted": "accepted_at", "running": None, "unknown": None}
"""The time that a state sets; every other state is an end."""


async def next_seq(conn: AsyncConnection, hardware_id: str) -> int:
    """
    Return the next order number of a machine; it is used up by the caller's transaction.

    Raises:
        Trouble: `not_found`.
    """
    statement = (
        update(live)
        .where(live.c.hardware_id == hardware_id)
        .values(order_seq=live.c.order_seq + 1)
        .returning(live.c.order_seq)
    )
    number = (await conn.execute(statement)).scalar()
    if number is None:
        raise Trouble(Code.NOT_FOUND, f"no machine {hardware_id}")
    return int(number)


async def insert(conn: AsyncConnection, row: CommandRow) -> None:
    """Queue a command."""
    await conn.execute(command.insert().values(**structs.asdict(row)))


async def get(conn: AsyncConnection, command_id: str) -> CommandRow | None:
    """Return a command by its id."""
    row = (await conn.execute(select(command).where(command.c.command_id == command_id))).mappings().first()
    return CommandRow(**row) if row is not None else None


async def page(
    conn: AsyncConnection, hardware_id: str | None, state: str | None, after: str | None, limit: int
) -> list[CommandRow]:
    """Return commands in the order of their ids, which is that of their making."""
    query = select(command).order_by(command.c.command_id).limit(limit)
    if hardware_id is not None:
        query = query.where(command.c.hardware_id == hardware_id)
    if state is not None:
        query = query.where(command.c.state == state)
    if after is not None:
        query = query.where(command.c.command_id > after)
    return [CommandRow(**row) for row in (await conn.execute(query)).mappings()]


async def open_for(conn: AsyncConnection, hardware_id: str, states: Iterable[str]) -> list[CommandRow]:
    """Return a machine's commands in these states, in the order of their numbers."""
    query = (
        select(command)
        .where(command.c.hardware_id == hardware_id, command.c.state.in_(list(states)))
        .order_by(command.c.seq)
    )
    return [CommandRow(**row) for row in (await conn.execute(query)).mappings()]


async def advance(
    conn: AsyncConnection,
    command_id: str,
    to_state: str,
    *,
    now: datetime,
    allowed_from: Iterable[str],
    code: str | None = None,
    detail: str | None = None,
    result: str | None = None,
    progress: Mapping[str, Any] | None = None,
) -> bool:
    """Move a command on if it is in one of these states, in one guarded statement; return whether it moved."""
    stamp = _STAMP.get(to_state, "finished_at")
    values: dict[str, Any] = {"state": to_state, **({stamp: now} if stamp else {})}
    given = {"code": code, "detail": detail, "result": result, "progress": progress}
    values |= {name: value for name, value in given.items() if value is not None}
    statement = update(command).where(command.c.command_id == command_id, command.c.state.in_(list(allowed_from)))
    return (await conn.execute(statement.values(**values))).rowcount == 1


async def expire(conn: AsyncConnection, now: datetime, from_states: Iterable[str]) -> list[CommandRow]:
    """End the commands in these states whose time is over; return them as they were."""
    late = command.c.state.in_(list(from_states)), command.c.expires_at <= now
    rows = [CommandRow(**row) for row in (await conn.execute(select(command).where(*late))).mappings()]
    if rows:
        await conn.execute(update(command).where(*late).values(state="expired", finished_at=now))
    return rows


async def cancel_waiting(
    conn: AsyncConnection, hardware_id: str, kind: str, from_states: Iterable[str], **why: Any
) -> int:
    """
    Take a machine's commands of one kind back that are in these states; return how many.

    Args:
        conn: Where.
        hardware_id: Whose.
        kind: Which.
        from_states: In which states.
        why: `finished_at`, `code` and `detail`.
    """
    waiting = command.c.hardware_id == hardware_id, command.c.kind == kind, command.c.state.in_(list(from_states))
    return (await conn.execute(update(command).where(*waiting).values(state="canceled", **why))).rowcount


async def silence(conn: AsyncConnection, hardware_id: str, from_states: Iterable[str]) -> int:
    """Mark a silent machine's commands in these states unknown; return how many."""
    at_work = command.c.hardware_id == hardware_id, command.c.state.in_(list(from_states))
    return (await conn.execute(update(command).where(*at_work).values(state="unknown"))).rowcount
