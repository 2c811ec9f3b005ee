"""Making and upgrading a database."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from collector.store.engine import open_database
from collector.store.migrate import check, migrate
from shared.codes import Code, Trouble


def refused(call, *arguments) -> Code:
    with pytest.raises(Trouble) as caught:
        call(*arguments)
    return caught.value.code


def test_migrating_twice_changes_nothing(empty_url):
    """The second run finds nothing to do."""
    assert migrate(empty_url) == (None, "0001")
    assert migrate(empty_url) == ("0001", "0001")
    check(empty_url)


def test_two_that_start_at_once_make_one_schema(empty_url):
    """Of two upgrades at the same moment one works and the other waits."""
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(migrate, [empty_url] * 4))
    assert sorted(answers, key=str) == [("0001", "0001")] * 3 + [(None, "0001")]
    check(empty_url)


def test_a_database_that_is_missing_says_so(empty_url):
    """No file, or no schema: the remedy is the command to run."""
    assert refused(check, empty_url) is Code.DATABASE_MISSING


async def test_a_database_of_a_newer_version_is_not_touched(tmp_path):
    """A revision that this program does not know is refused by check and migrate alike."""
    url = f"sqlite:///{tmp_path}/newer.db"
    database = open_database(url)
    async with database.write() as conn:
        await conn.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        await conn.execute(text("INSERT INTO alembic_version VALUES ('9999')"))
    await database.close()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(refused, check, url).result() is Code.DATABASE_NEWER
        assert pool.submit(refused, migrate, url).result() is Code.DATABASE_NEWER


def test_a_server_that_is_not_there_is_unreachable():
    """Nothing listens on port 1."""
    assert refused(check, "postgresql://x@127.0.0.1:1/x") is Code.DATABASE_UNREACHABLE


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://x/y", "sqlite+pysqlite:///x"])
def test_a_url_that_cannot_be_used_is_a_configuration_error(url):
    """The message says which forms there are."""
    assert refused(open_database, url) is Code.BAD_CONFIGURATION
