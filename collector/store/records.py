"""The seven records: attribute = column, so one file serves them all."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from sqlalchemy import Table, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.store import tables
from shared.records import Benchmark, Booking, DataWipe, Listing, Machine, Payment, User

R = TypeVar("R", bound=Struct)

TABLES: dict[type[Struct], Table] = {
    User: tables.user,
    Machine: tables.machine,
    Listing: tables.listing,
    Booking: tables.booking,
    Benchmark: tables.benchmark,
    Payment: tables.payment,
    DataWipe: tables.data_wipe,
}


def key_of(kind: type[Struct]) -> str:
    """Return the name of a record's key."""
    (column,) = TABLES[kind].primary_key.columns
    return column.name


async def get(conn: AsyncConnection, kind: type[R], key: str) -> R | None:
    """Return a record by its key."""
    table = TABLES[kind]
    row = (await conn.execute(select(table).where(table.c[key_of(kind)] == key))).mappings().first()
    return read(row, kind) if row is not None else None


async def page(
    conn: AsyncConnection,
    kind: type[R],
    filters: Mapping[str, object],
    after: str | None,
    limit: int,
    *,
    reverse: bool = False,
) -> list[R]:
    """
    Return records in the order of their keys.

    Args:
        conn: Where.
        kind: Which.
        filters: Columns and the value each must have.
        after: The key after which to start; None for the first page.
        limit: The most rows.
        reverse: The last key first.
    """
    table = TABLES[kind]
    key = table.c[key_of(kind)]
    query = select(table).order_by(key.desc() if reverse else key).limit(limit)
    for name, value in filters.items():
        query = query.where(table.c[name] == value)
    if after is not None:
        query = query.where(key < after if reverse else key > after)
    return [read(row, kind) for row in (await conn.execute(query)).mappings()]


async def insert(conn: AsyncConnection, record: Struct) -> None:
    """
    Add a record.

    Raises:
        Trouble: by `Database.write`: `conflict`, `reference_missing` or `invalid`.
    """
    await conn.execute(TABLES[type(record)].insert().values(**write(record)))


async def upsert(conn: AsyncConnection, record: Struct) -> bool:
    """Add a record, or replace the one with its key; return whether it is new."""
    table, field = TABLES[type(record)], key_of(type(record))
    values = write(record)
    new = await get(conn, type(record), values[field]) is None
    statement = insert_or(conn, table).values(**values)
    rest = {name: statement.excluded[name] for name in values if name != field}
    await conn.execute(statement.on_conflict_do_update(index_elements=[field], set_=rest))
    return new


def insert_or(conn: AsyncConnection, table: Table) -> Any:
    """Return this database's INSERT that can say what to do with a row that exists; both have the same clauses."""
    return (postgresql if conn.dialect.name == "postgresql" else sqlite).insert(table)


def read(row: Mapping[Any, Any], kind: type[R]) -> R:
    """Turn a row into its record."""
    # Times and money come as such; a value set's words become its members.
    return msgspec.convert({name: row[name] for name in kind.__struct_fields__}, kind, strict=False)


def write(record: Struct) -> dict[str, Any]:
    """Turn a record into a row."""
    return {name: getattr(record, name) for name in record.__struct_fields__}
