"""Opening a database, and transactions in which every failure is one of ours."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any

from sqlalchemy import event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from collector.durations import Durations
from shared.codes import Code, Trouble

Connection = AsyncConnection
"""What statements are given to; only this package knows more of it than its name."""

BUSY_S = 5.0
"""How long a write waits for another process's lock on an SQLite file."""
CONNECT_S = 5.0
POOL = 8
"""Connections of one collector process."""

_together: ContextVar[AsyncConnection | None] = ContextVar("together", default=None)
"""The transaction that writes of the running task join."""

AWAY = frozenset({Code.STORE_UNAVAILABLE, Code.DATABASE_LOCKED, Code.DATABASE_UNREACHABLE})
"""Codes of trouble that passes: what was asked may be asked again."""

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}


class Database:
    """
    A database in which records are kept.

    Args:
        engine: Made by `open_database`.

    Attributes:
        took: How long reads and writes were, waiting for a connection or the one writer included.
        failures: How often it was away, by code.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.dialect = engine.dialect.name
        # SQLite has one writer at a time; waiting here is cheaper and fairer than polling its lock.
        self._writer = asyncio.Lock() if self.dialect == "sqlite" else None
        self.took = {"read": Durations(), "write": Durations()}
        # Each from 0: a count that appears with its first failure has not grown, for whoever looks at growth.
        self.failures: Counter[str] = Counter(dict.fromkeys(AWAY, 0))

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """
        Open a connection for reading; a consistent view on SQLite, committed rows on PostgreSQL.

        Raises:
            Trouble: `database_unreachable`, `database_locked` or `store_unavailable`.
        """
        with self._counted("read"), explained():
            async with self.engine.connect() as conn:
                yield conn

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """
        Open a transaction that is committed, and on the disk, when the block ends; inside `together`, join that one.

        Raises:
            Trouble: as `read`; `reference_missing`, `conflict` or `invalid` where the database's rules refuse a row.
                Nothing of the transaction is kept then.
        """
        joined = _together.get()
        if joined is not None:
            yield joined
            return
        with self._counted("write"), explained():
            async with self._writer or contextlib.nullcontext(), self.engine.connect() as plain:
                conn = await plain.execution_options(rackproof_write=True)
                async with conn.begin():
                    yield conn

    @contextlib.contextmanager
    def _counted(self, kind: str) -> Iterator[None]:
        """Count a transaction's length, and its failure where the database is to blame."""
        began_s = time.perf_counter()
        try:
            yield
        except Trouble as trouble:
            if trouble.code in AWAY:
                self.failures[trouble.code] += 1
            raise
        finally:
            self.took[kind].observe(time.perf_counter() - began_s)

    @contextlib.asynccontextmanager
    async def together(self) -> AsyncIterator[AsyncConnection]:
        """
        Make every `write` of this task one transaction, committed when the block ends: all of it is kept or none.

        Raises:
            Trouble: as `write`.
        """
        async with self.write() as conn:
            mark = _together.set(conn)
            try:
                yield conn
            finally:
                _together.reset(mark)

    async def ping(self) -> None:
        """Ask for an answer; raises `Trouble` when there is none."""
        async with self.read() as conn:
            await conn.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()


def open_database(url: str, *, busy_s: float = BUSY_S) -> Database:
    """
    Return a database; nothing is connected yet.

    Args:
        url: "sqlite:///relative", "sqlite:////absolute" or "postgresql://user:password@host:port/name".
        busy_s: How long to wait for a lock on an SQLite file.

    Raises:
        Trouble: `bad_configuration`.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise Trouble(Code.BAD_CONFIGURATION, "the database URL cannot be read", _SHAPES) from error
    if parsed.drivername not in DRIVERS:
        raise Trouble(Code.BAD_CONFIGURATION, f"no database {parsed.drivername!r}", _SHAPES)
    arguments: dict[str, Any] = {"pool_size": POOL, "max_overflow": 0, "pool_timeout": CONNECT_S * 2}
    if parsed.drivername == "sqlite":
        # The driver must not begin transactions of its own: `_begin_sqlite` does.
        arguments["connect_args"] = {"timeout": busy_s, "isolation_level": None}
    else:
        arguments |= {"pool_pre_ping": True, "connect_args": {"timeout": CONNECT_S}}
    engine = create_async_engine(parsed.set(drivername=DRIVERS[parsed.drivername]), **arguments)
    if parsed.drivername == "sqlite":
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return Database(engine)


QUOTES = ' ":'
_SHAPES = "sqlite:///PATH or postgresql://USER:PASSWORD@HOST:PORT/NAME"


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    # A write takes the lock at once: a read that turns into a write cannot wait for it and would fail instead.
    immediate = connection.get_execution_options().get("rackproof_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """
    Turn what a database or its driver raises into trouble with a code.

    Raises:
        Trouble: `database_unreachable`, `database_locked`, `store_unavailable`, `reference_missing`, `conflict` or
            `invalid`.
    """
    try:
        yield
    except SQLAlchemyError as error:
        raise trouble_of(error) from error
    except (OSError, TimeoutError) as error:
        raise Trouble(Code.DATABASE_UNREACHABLE, f"{type(error).__name__}: {error}"[:200]) from error


def trouble_of(error: SQLAlchemyError) -> Trouble:
    """Return the trouble behind a database error, in one line without SQL."""
    if isinstance(error, IntegrityError):
        return _rule_broken(" ".join(str(error.orig).split()))
    if isinstance(error, StatementError) and not isinstance(error, DBAPIError):
        return Trouble(Code.INVALID, str(error.orig)[:200])
    words = " ".join(str(getattr(error, "orig", error)).split())[:200]
    # A value PostgreSQL cannot hold. Source: PostgreSQL, Appendix A, class 22, data exception.
    if str(getattr(getattr(error, "orig", None), "sqlstate", "")).startswith("22"):
        return Trouble(Code.INVALID, words)
    if "locked" in words or "busy" in words:
        return Trouble(Code.DATABASE_LOCKED, words)
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return Trouble(Code.DATABASE_UNREACHABLE, words)
    if "unable to open database file" in words or "does not exist" in words or "Connect" in words:
        return Trouble(Code.DATABASE_UNREACHABLE, words)
    return Trouble(Code.STORE_UNAVAILABLE, words)


def _rule_broken(words: str) -> Trouble:
    lower = words.lower()
    if "foreign key" in lower:
        still = "still referenced" in lower
        detail = "other rows still refer to it" if still else "a row it refers to does not exist"
        return Trouble(Code.CONFLICT if still else Code.REFERENCE_MISSING, f"{detail}{_constraint(words)}")
    if "unique" in lower:
        return Trouble(Code.CONFLICT, f"another row has this value already{_constraint(words)}")
    return Trouble(Code.INVALID, f"a value is not allowed{_constraint(words)}")


def _constraint(words: str) -> str:
    """Name the rule where the database does: PostgreSQL quotes it, SQLite puts it behind the colon."""
    if '"' in words:
        named = words.rsplit("constraint", 1)[-1].split("DETAIL", maxsplit=1)[0]
        return f" ({named.strip(QUOTES)[:80]})"
    return f" ({words.rpartition(':')[2].strip()[:80]})" if ":" in words else ""
