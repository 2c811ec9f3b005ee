"""`rackproof benchmarks`: what waits for a decision, and the decision, as an operator types it."""

import asyncio
import json

import pytest
from click.testing import CliRunner
from msgspec import structs

from collector.benchmarks.challenges import Mode
from collector.cli import commands
from collector.store import audit, records
from collector.store.engine import open_database
from tests.collector.measuring import Site, cpu, disk


@pytest.fixture
def measured(database_url, tmp_path):
    """Gives a command's runner, and the ids of an unflagged and a flagged benchmark."""

    async def fill():
        database = open_database(database_url)
        site = Site(database, tmp_path, Mode.OFF)
        await site.add("hw_c")
        made = [await site.run(cpu(), hardware_id="hw_c"), await site.run(disk(packed=0.01), hardware_id="hw_c")]
        async with database.write() as conn:
            bad = structs.replace(made[1], details={"cpu": {"reason": "\x1b[2Jnone", "marks": []}})
            await records.upsert(conn, bad)
        await database.close()
        return [one.benchmark_id for one in made]

    good, odd = asyncio.run(fill())

    def run(*arguments: str):
        return CliRunner().invoke(commands, ["benchmarks", arguments[0], "--database", database_url, *arguments[1:]])

    return run, good, odd


def test_the_list_is_what_is_pending_with_its_flags(measured):
    """One line each, the newest first; JSON lines on demand."""
    run, good, odd = measured
    lines = run("list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [odd, good]
    assert "disk_read_mb_s 3,512.4" in lines[0]
    assert lines[0].endswith("compressible")
    assert [line.split()[0] for line in run("list", "--unflagged").stdout.splitlines()] == [good]
    assert json.loads(run("list", "--flagged", "--json").stdout)["benchmark_id"] == odd


def test_one_is_shown_in_words(measured):
    """Figures, what is missing, and flags with their numbers."""
    run, _, odd = measured
    shown = run("show", odd).stdout
    assert "disk_write_mb_s          2,801.12 MB/s" in shown
    assert "cpu_score                -" in shown
    assert "FLAG compressible disk_read_mb_s: samples of what was written shrink to 0.01 of their size" in shown
    assert "cpu: ?[2Jnone" in shown
    assert run("show", "bmk_0").exit_code == 1


def test_flags_stand_in_the_way_of_all_that_is_approved_with_them(measured, database_url):
    """Either all of them or none; with the option, or with a reason to reject, they are decided."""
    run, good, odd = measured
    refused = run("approve", good, odd)
    assert (refused.exit_code, "conflict" in refused.stderr) == (1, True)
    assert len(run("list").stdout.splitlines()) == 2
    assert run("approve", "--despite-flags", good, odd).exit_code == 0
    assert run("list").stdout == ""
    assert run("reject", odd).exit_code == 2
    assert run("reject", odd, "--reason", "packed data").exit_code == 0
    assert "rejected by command line: packed data" in run("show", odd).stdout

    async def trail():
        database = open_database(database_url)
        async with database.read() as conn:
            found = await audit.page(conn, 0, 100)
        await database.close()
        return [(one["actor"], one["action"]) for one in found if one["object"] == odd]

    assert asyncio.run(trail()) == [("command line", "approved benchmark"), ("command line", "rejected benchmark")]
