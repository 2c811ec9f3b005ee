"""Presence kept: in memory at once, in the ledger at the next look, told to whoever watches after the commit."""

from datetime import timedelta

import pytest

from collector.feed import Feed
from collector.links.presence import Cause
from collector.links.skew import greeted
from collector.links.uptime import Period, away
from collector.links.watching import Watching
from collector.store import presence, runs
from collector.store.engine import open_database
from tests.collector.known import NOW

START = NOW + timedelta(hours=1)
S = timedelta(seconds=1)


class Site:
    """A collector's presence over a database, with a clock that is set by hand."""

    def __init__(self, database) -> None:
        self.database, self.now, self.feed = database, START, Feed()
        self.watching = self.again()

    def again(self) -> Watching:
        return Watching(self.database, self.feed, lambda: self.now, frozenset())

    async def look(self, after_s: float = 0) -> None:
        self.now += after_s * S
        await self.watching.look()

    async def pass_by(self, seconds: int, *, heard: bool) -> None:
        """Let time go by, with a look every two seconds and a report every fourteen."""
        for second in range(0, seconds, 2):
            if heard and second % 14 == 0:
                self.watching.heard("hw_1", self.now, 0.0)
            await self.look(2)

    async def ledger(self) -> list[tuple[str, str, float]]:
        async with self.database.read() as conn:
            found = await presence.events(conn, "hw_1", 100)
        return [(row.to_state, row.cause, (row.at - START).total_seconds()) for row in reversed(found)]

    async def absences(self) -> list[Period]:
        async with self.database.read() as conn:
            return away(await runs.between(conn, START, self.now), START, self.now, self.now)


@pytest.fixture
async def site(with_machine):
    made = Site(with_machine)
    await made.watching.load()
    return made


async def test_a_collector_that_slept_blames_itself(site):
    """Its machine was asleep for an hour: nobody is called offline for it, and the absence is on record."""
    await site.pass_by(60, heard=True)
    slept_at, site.now = site.now, site.now + 3600 * S
    site.watching.heard("hw_1", site.now, 0.0)
    await site.pass_by(60, heard=True)
    assert await site.ledger() == [("online", "first_report", 0)]
    assert await site.absences() == [Period(start_at=slept_at, end_at=slept_at + 3602 * S)]


async def test_what_cannot_be_written_is_written_later_with_its_own_time(with_machine, tmp_path):
    """Another process holds the database's lock; nobody is told before the commit."""
    if with_machine.dialect != "sqlite":
        pytest.skip("a lock on the whole file is SQLite's")
    impatient = open_database(str(with_machine.engine.url).replace("+aiosqlite", ""), busy_s=0.1)
    site = Site(impatient)
    await site.watching.load()
    with site.feed.subscribed() as told:
        async with with_machine.write():
            site.watching.heard("hw_1", site.now, 0.0)
            await site.look(2)
            await site.pass_by(120, heard=False)
            assert site.feed.number == 0
        assert await site.ledger() == []
        await site.look(2)
        assert await site.ledger() == [("online", "first_report", 0), ("offline", "silence", 0)]
        assert [(await told.next()).body.to_state for _ in range(3)] == ["online", "stale", "offline"]
    await impatient.close()


async def test_the_cause_of_an_outage_outlives_the_collector(site):
    """Overdue is told by the next process, with the goodbye that the last one heard."""
    site.watching.heard("hw_1", site.now, 0.0)
    await site.look(10)
    site.watching.ended("hw_1", Cause.STOPPED, "the agent stops")
    await site.pass_by(120, heard=False)
    await site.watching.end()
    site.now += 60 * S
    site.watching = site.again()
    await site.watching.load()
    await site.pass_by(1800, heard=False)
    assert (await site.ledger())[1:] == [("offline", "stopped", 10), ("overdue", "stopped", 1810)]


async def test_a_restart_is_told_by_boot_and_process_also_over_the_collectors_own(site):
    """What the last process knew of a machine is what the next one holds its hello against."""
    clock = greeted(site.now, site.now, site.now)
    for boot_id, run_id in (("b1", "r1"), ("b1", "r2"), ("b2", "r3")):
        site.watching.joined("hw_1", boot_id, run_id, clock)
        await site.pass_by(14, heard=True)
    assert [cause for _, cause, _ in await site.ledger()] == ["first_report", "agent_restarted", "rebooted"]


async def test_a_clock_that_jumps_is_on_record_within_minutes(site):
    """Measured by the reports themselves: the link stays open for weeks."""
    site.watching.joined("hw_1", "b", "r", greeted(site.now, site.now, site.now))
    for _ in range(5):
        site.watching.heard("hw_1", site.now + 3600 * S, 0.0)
        await site.look(15)
    async with site.database.read() as conn:
        live = await presence.find(conn, "hw_1")
    assert live is not None
    assert live.clock_skew_ms == 3_600_000
