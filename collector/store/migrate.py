"""Making and upgrading a database: repeatable, and safe when two start at once."""

import asyncio
from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, make_url, text

from collector.store.engine import open_database
from collector.store.tables import metadata
from shared.codes import Code, Trouble

LOCK = 0x7261636B
"""The advisory lock under which a PostgreSQL database is upgraded ("rack")."""
BUSY_S = 120.0
"""An upgrade of a large SQLite file may keep another one waiting this long."""


def migrate(url: str) -> tuple[str | None, str]:
    """
    Bring a database to this program's schema; in one transaction, so that a failure leaves it as it was.

    Returns:
        The revision before (None for an empty database) and after.

    Raises:
        Trouble: `database_newer`, `database_unreachable`, `database_locked`, `store_unavailable`.
    """

    async def run() -> tuple[str | None, str]:
        database = open_database(url, busy_s=BUSY_S)
        try:
            async with database.write() as conn:
                return await conn.run_sync(_upgrade)
        finally:
            await database.close()

    return asyncio.run(run())


def check(url: str) -> None:
    """
    See that a database has exactly this program's schema.

    Raises:
        Trouble: `database_missing`, `database_older`, `database_newer` or `database_unreachable`.
    """

    async def run() -> str | None:
        if (path := sqlite_path(url)) is not None and not path.exists():
            raise Trouble(Code.DATABASE_MISSING, f"{path} does not exist", _remedy(url))
        database = open_database(url)
        try:
            async with database.read() as conn:
                return await conn.run_sync(revision)
        finally:
            await database.close()

    found, scripts = asyncio.run(run()), _scripts()
    if found is None:
        raise Trouble(Code.DATABASE_MISSING, "the database is empty", _remedy(url))
    _refuse_newer(found, scripts)
    if found != scripts.get_current_head():
        raise Trouble(Code.DATABASE_OLDER, f"the database is at {found}", _remedy(url))


def revision(connection: Connection) -> str | None:
    """Return a database's revision, None when it has none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return MigrationContext.configure(connection).get_current_revision()


def sqlite_path(url: str) -> Path | None:
    """Return the file behind an SQLite URL, None for anything else."""
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def _upgrade(connection: Connection) -> tuple[str | None, str]:
    if connection.dialect.name == "postgresql":
        # Held to the end of the transaction: a second upgrade waits, then finds nothing to do.
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    before, scripts = revision(connection), _scripts()
    head = str(scripts.get_current_head())
    if before == head:
        return before, head
    if before is not None:
        _refuse_newer(before, scripts)
    environment = EnvironmentContext(
        Config(),
        scripts,
        fn=lambda rev, _context: scripts._upgrade_revs(head, rev),  # noqa: SLF001 - alembic's own commands do the same
    )
    with environment:
        environment.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
        environment.run_migrations()
    return before, head


def _refuse_newer(found: str, scripts: ScriptDirectory) -> None:
    known = {script.revision for script in scripts.walk_revisions()}
    if found not in known:
        words = f"the database is at {found}, which this version does not know"
        raise Trouble(Code.DATABASE_NEWER, words, "use the newer version of rackproof, or a backup from before")


def _scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return ScriptDirectory.from_config(config)


def _remedy(url: str) -> str:
    # Without the password: this line ends up in logs.
    return f"run: rackproof migrate --database {make_url(url).render_as_string(hide_password=True)}"
