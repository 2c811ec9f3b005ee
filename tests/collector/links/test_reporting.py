"""A link's reports: what is missing is kept with its cause in the transaction of the report that shows it."""

from datetime import timedelta

import pytest
from msgspec import structs
from sqlalchemy import text

from collector.assessing import Assessing
from collector.feed import Feed
from collector.links.pace import GAPS, Paces
from collector.links.reporting import Reporting
from collector.reports import ReportWriter
from collector.store import gaps, health
from shared.messages import Facts, Health, Hello, Lost, Measured
from tests.collector.known import NOW
from tests.collector.recorded import joined

EVERY = timedelta(seconds=15)
HELLO = Hello(
    hardware_id="hw_1",
    key_id="k",
    nonce=b"n" * 32,
    origin="http://collector.test",
    join_counter=0,
    boot_id="b1",
    outbox_id="ob_1",
    agent_version="1",
    policy_hash="",
    time=NOW,
    facts=Facts(),
    signature=b"s" * 64,
)


def message(seq: int, boot_id: str = "b1", **changes) -> Health:
    usual = Health(
        seq=seq,
        boot_id=boot_id,
        collected_at=NOW,
        indicators={"cpu": Measured(values={"use_percent": 1.0}, took_ms=1.0)},
        age_s=0.0,
    )
    return structs.replace(usual, **changes)


class Site:
    """A collector's way from a link to the database, and a clock."""

    def __init__(self, database) -> None:
        self.database = database
        self.now = NOW
        self.acknowledged: list[int] = []
        self.writer = ReportWriter(self._commit, self._refuse, 0.0)

    async def _commit(self, batch) -> None:
        async with self.database.write() as conn:
            await health.commit(conn, batch)

    async def _refuse(self, report) -> None:
        async with self.database.write() as conn:
            await health.refuse(conn, report)

    async def link(self, outbox_id: str = "ob_1", boot_id: str = "b1", allowed=lambda: True) -> Reporting:
        """A link opens: it knows what the database knows."""
        async with self.database.read() as conn:
            newest = await health.newest_followed(conn, "hw_1")
        if newest is None or newest.outbox_id != outbox_id:
            await joined(self.database, outbox_id)
        hello = structs.replace(HELLO, outbox_id=outbox_id, boot_id=boot_id)
        assessing = Assessing(self.database, Feed(), lambda: self.now, lambda _: False, lambda _: 0.0)
        acknowledged = self.acknowledged
        return Reporting(
            self.writer,
            assessing,
            hello,
            newest,
            timedelta(0),
            EVERY,
            lambda one: acknowledged.append(one.seq),
            allowed,
        )

    async def send(self, link: Reporting, *messages: Health) -> None:
        for one in messages:
            await link.take(one, self.now)
        await self.writer.flush()

    async def missing(self, *, filled: bool = False):
        async with self.database.read() as conn:
            rows = await gaps.of(conn, "hw_1", NOW - timedelta(days=9), NOW + timedelta(days=9), 100, filled=filled)
        return [(one.first_seq, one.last_seq, one.cause) for one in reversed(rows)]


@pytest.fixture
def site(with_machine):
    return Site(with_machine)


async def test_an_hour_in_the_outbox_leaves_no_gap_and_stands_at_its_own_time(site):
    """240 reports at once, each as old as it says, though the agent's clock is years off."""
    link = await site.link()
    await site.send(link, message(1))
    site.now = NOW + timedelta(hours=1)
    link = await site.link()
    for seq in range(2, 242):
        age_s = (241 - seq) * 15.0
        await site.send(link, message(seq, age_s=age_s, collected_at=NOW - timedelta(days=2_000)))
    assert await site.missing() == []
    async with site.database.read() as conn:
        rows = await health.history(conn, "hw_1", NOW - EVERY, site.now + EVERY, 1_000)
    assert [row["at"] for row in reversed(rows)] == [NOW, *(site.now - (241 - seq) * EVERY for seq in range(2, 242))]


async def test_numbers_lost_by_a_full_disk_are_told_with_their_cause(site):
    """Exactly those, from the report before to the report after."""
    link = await site.link()
    await site.send(link, message(1), message(2))
    site.now += timedelta(minutes=2)
    await site.send(link, message(8, lost=(Lost(first=3, last=7, reason="disk_full"),)))
    assert await site.missing() == [(3, 7, "disk_full")]
    async with site.database.read() as conn:
        (row,) = await gaps.of(conn, "hw_1", NOW - EVERY, site.now, 10, filled=False)
    assert (row.started_at, row.ended_at) == (NOW, site.now)


async def test_a_gap_is_closed_when_its_reports_come_in_after_all(site):
    """Half of it, then the rest; what was filled is told only to who asks for it."""
    link = await site.link()
    await site.send(link, message(1), message(6))
    assert await site.missing() == [(2, 5, "unknown")]
    await site.send(link, message(3), message(4))
    assert await site.missing() == [(2, 2, "unknown"), (5, 5, "unknown")]
    await site.send(link, message(2), message(5))
    assert await site.missing() == []
    assert len(await site.missing(filled=True)) == 2


async def test_a_report_sent_again_makes_no_second_gap(site):
    """By a link that opened before the first one's reports were committed."""
    link = await site.link()
    await site.send(link, message(1))
    older, newer = await site.link(), await site.link()
    for one in (older, newer):
        await one.take(message(4, lost=(Lost(first=2, last=3, reason="outbox_full"),)), site.now)
    await site.writer.flush()
    assert await site.missing() == [(2, 3, "outbox_full")]
    assert site.acknowledged == [1, 4, 4]


@pytest.mark.parametrize(("boot_id", "cause"), [("b1", "agent_stopped"), ("b2", "machine_down")])
async def test_a_pause_is_told_also_over_links(site, boot_id, cause):
    """The collector began anew meanwhile: it knows the newest report from the database."""
    await site.send(await site.link(), message(1))
    site.now += timedelta(minutes=10)
    await site.send(await site.link(boot_id=boot_id), message(2, boot_id))
    assert await site.missing() == [(2, 1, cause)]


async def test_a_lost_outbox_is_told(site):
    """Its numbers begin anew; how many reports went with it nobody knows."""
    await site.send(await site.link(), message(41))
    await site.link("ob_2")
    site.now += timedelta(minutes=10)
    await site.send(await site.link("ob_2"), message(1))
    assert (await site.missing())[-1] == (1, 0, "outbox_lost")


async def test_a_report_that_the_database_refuses_leaves_a_gap(site):
    """It is acknowledged, as it can never be stored, and its number is missing for ever."""
    link = await site.link()
    await site.send(link, message(1), message(2))
    async with site.database.write() as conn:
        await conn.execute(text(_NO_THREES[site.database.dialect]))
    site.now += EVERY
    await site.send(link, message(3))
    await site.send(link, message(4))
    assert await site.missing() == [(3, 3, "refused")]
    assert (site.acknowledged, site.writer.refused) == ([1, 2, 3, 4], 1)


@pytest.mark.parametrize("seq", [2**40, 2**63 - 1])
async def test_a_first_report_with_any_number_is_taken(site, seq):
    """So many reports before it would reach back before the calendar begins."""
    await site.send(await site.link(), message(seq))
    assert (site.acknowledged, await site.missing()) == ([seq], [(1, seq - 1, "unknown")])


async def test_gaps_that_an_agent_invents_fill_no_database(site):
    """Reports are taken, late ones too; what is missing is kept for as many interruptions as there can be."""
    pace = Paces(15.0).of("hw_1")
    link = await site.link(allowed=lambda: pace.gaps.allows(0.0))
    lost = [
        tuple(Lost(first=top + 2 * n, last=top + 2 * n, reason="disk_full") for n in range(64))
        for top in range(1, 50_001, 1_000)
    ]
    await site.send(link, *(message(told[0].first + 999, lost=told) for told in lost))
    for first in (10_002, 10_202):
        await site.send(link, *(message(seq) for seq in range(first, first + 200, 2)))
    assert len(site.acknowledged) == 250
    async with site.database.read() as conn:
        rows = (await conn.execute(text("SELECT count(*) FROM health_gap"))).scalar()
    assert rows == GAPS


_NO_THREES = {
    "sqlite": """
CREATE TRIGGER no_threes BEFORE INSERT ON health_sample WHEN NEW.seq = 3
BEGIN SELECT RAISE(ABORT, 'no threes'); END
""",
    "postgresql": "ALTER TABLE health_sample ADD CONSTRAINT no_threes CHECK (seq != 3)",
}
"""What makes a database refuse one report."""
