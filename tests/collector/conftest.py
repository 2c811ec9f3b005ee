"""Databases for the collector's tests: the same tests on SQLite and on PostgreSQL."""

import uuid

import psycopg
import pytest

from collector.store.engine import open_database
from collector.store.migrate import migrate
from tests.collector.known import add_machine


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory):
    """A migrated SQLite file; copied for each test."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_server):
    """A migrated PostgreSQL database; the template of each test's own."""
    with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as admin:
        admin.execute("CREATE DATABASE template_rackproof")
    migrate(f"{postgres_server}/template_rackproof")
    return postgres_server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def empty_url(request, tmp_path):
    """The URL of a database without a schema, of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/empty.db"
    server = request.getfixturevalue("postgres_server")
    name = f"t_{uuid.uuid4().hex}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    return f"{server}/{name}"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request, tmp_path):
    """The URL of a migrated database of either kind."""
    if request.param == "sqlite":
        path = tmp_path / "test.db"
        path.write_bytes(request.getfixturevalue("sqlite_template").read_bytes())
        return f"sqlite:///{path}"
    server = request.getfixturevalue("postgres_template")
    name = f"t_{uuid.uuid4().hex}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template_rackproof")
    return f"{server}/{name}"


@pytest.fixture
async def database(database_url):
    """An open, migrated database of either kind."""
    opened = open_database(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def with_machine(database):
    """A database that knows the provider usr_1 and its machine hw_1."""
    async with database.write() as conn:
        await add_machine(conn, "hw_1")
    return database
