"""Closing hours: what leaves the log stands in the chunks, once, whatever is cut off, repeated or late."""

from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest
from sqlalchemy import text

from collector.closing import REPORTS, Closing
from collector.history import chunk
from collector.history.series import MOST_SERIES
from collector.history.tiers import Resolution
from collector.store import history
from collector.store.health import Report
from shared.messages import Measured
from tests.collector.known import add_machine
from tests.collector.recorded import EVERY, KEPT, a_report, closed, commit, logged, reports

START = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LATER = START + 2 * HOUR + timedelta(minutes=10)
AGES = timedelta(days=5_000)


async def chunks_of(database, tier: Resolution, hardware_id: str = "hw_1"):
    async with database.read() as conn:
        found = await history.chunks(conn, hardware_id, tier, START - AGES, START + AGES)
    return {start: chunk.decode(raw) for start, raw in found}


async def counted(database, tier: Resolution) -> int:
    """How many reports stand behind a tier's figures."""
    return sum(int(one.frame.count[0].sum()) for one in (await chunks_of(database, tier)).values())


async def test_hours_that_are_over_are_moved_and_the_running_one_stays(with_machine):
    """Two hours and a half: two in the chunks of every tier, the half in the log."""
    await commit(with_machine, reports(START, timedelta(minutes=150)))
    assert await closed(with_machine, LATER) == 480
    assert len(await logged(with_machine)) == 120
    for tier in KEPT:
        assert await counted(with_machine, tier.resolution) == 480
    raw, minutes = [await chunks_of(with_machine, one) for one in (Resolution.RAW, Resolution.MINUTE)]
    assert list(raw) == [START, START + HOUR]
    assert sum(len(one.frame.times) for one in minutes.values()) == 120
    assert list(await chunks_of(with_machine, Resolution.QUARTER)) == [START.replace(hour=0)]


async def test_an_outlier_stands_in_every_tier(with_machine):
    """One report in 240 at its limit is the hour's greatest value, and its mean is the reports'."""
    await commit(with_machine, reports(START, HOUR))
    await closed(with_machine, LATER)
    for tier in (Resolution.MINUTE, Resolution.QUARTER, Resolution.HOUR):
        (found,) = (await chunks_of(with_machine, tier)).values()
        use = found.frame.names.index("cpu.use_percent")
        assert (found.frame.low[use].min(), found.frame.high[use].max()) == (1.0, 100.0)
    assert found.frame.mean[use, 0] == pytest.approx((239 + 100) / 240, abs=0.05)


async def test_closing_again_changes_nothing(with_machine):
    """There is nothing left to move."""
    await commit(with_machine, reports(START, HOUR))
    assert await closed(with_machine, LATER) == 240
    assert await closed(with_machine, LATER) == 0
    assert await counted(with_machine, Resolution.HOUR) == 240


async def test_what_is_cut_off_in_the_middle_leaves_log_and_chunks_as_they_were(with_machine):
    """The database breaks after some of the chunks: neither lost nor doubled, and done the next time."""
    await commit(with_machine, reports(START, HOUR))
    good = KEPT[-1]
    broken = Closing(with_machine, lambda: LATER, (*KEPT[:-1], _Broken()))  # type: ignore[arg-type]
    assert await broken.close() == 0
    assert len(await logged(with_machine)) == 240
    assert await chunks_of(with_machine, Resolution.RAW) == {}
    assert await closed(with_machine, LATER) == 240
    assert await counted(with_machine, good.resolution) == 240


class _Broken:
    """A tier in whose turn something breaks."""

    covers = False

    @property
    def step_ms(self) -> int:
        raise RuntimeError("cut off")


async def test_a_machine_that_cannot_be_closed_holds_up_no_other(database):
    """A row that no version of ours wrote: told, kept, and the other machines' hours are closed."""
    async with database.write() as conn:
        for hardware_id in ("hw_1", "hw_2"):
            await add_machine(conn, hardware_id)
    await commit(database, reports(START, HOUR, hardware_id="hw_2"))
    await commit(database, [a_report(1, START, indicators=b'{"cpu":[1]}')])
    assert await closed(database, LATER) == 240
    assert await logged(database) == [1]


async def test_late_reports_are_merged_into_hours_closed_before(with_machine):
    """A backlog for the same and for another hour: as if all had come in time."""
    every = reports(START, 2 * HOUR)
    late = [one for one in every if one.seq % 3 == 0 or one.at >= START + timedelta(minutes=50)]
    await commit(with_machine, [one for one in every if one not in late])
    await closed(with_machine, LATER)
    await commit(with_machine, late)
    assert await closed(with_machine, LATER) == len(late)
    for tier in KEPT:
        assert await counted(with_machine, tier.resolution) == 480
    raw = await chunks_of(with_machine, Resolution.RAW)
    assert all(np.all(np.diff(one.frame.times) == 15_000) for one in raw.values())
    (day,) = (await chunks_of(with_machine, Resolution.QUARTER)).values()
    assert day.covered == {"ob_1": [(1, 480)]}


async def test_a_repeat_of_what_was_closed_counts_once(with_machine):
    """The acknowledgement was lost, and the hour was closed meanwhile."""
    every = reports(START, HOUR)
    await commit(with_machine, every)
    await closed(with_machine, LATER)
    await commit(with_machine, every[-20:])
    assert await closed(with_machine, LATER) == 20
    assert await logged(with_machine) == []
    for tier in KEPT:
        assert await counted(with_machine, tier.resolution) == 240


async def test_a_backlog_of_days_goes_where_it_is_still_kept(with_machine):
    """Eight days old: too late for reports and minutes, in time for quarters and hours."""
    old = START - timedelta(days=8)
    await commit(with_machine, reports(old, HOUR))
    await closed(with_machine, LATER)
    assert await chunks_of(with_machine, Resolution.RAW) == {}
    assert await chunks_of(with_machine, Resolution.MINUTE) == {}
    assert await counted(with_machine, Resolution.QUARTER) == 240
    assert await counted(with_machine, Resolution.HOUR) == 240


async def test_a_chunk_that_cannot_be_read_costs_only_itself(with_machine):
    """The next late report begins it anew; the other tiers keep what they have."""
    await commit(with_machine, reports(START, HOUR))
    await closed(with_machine, LATER)
    async with with_machine.write() as conn:
        await conn.execute(text("UPDATE health_chunk SET content = :bad WHERE tier = '1m'"), {"bad": b"RPH1 broken"})
    await commit(with_machine, [a_report(500, START + timedelta(minutes=30, seconds=7))])
    assert await closed(with_machine, LATER) == 1
    assert await counted(with_machine, Resolution.MINUTE) == 1
    assert await counted(with_machine, Resolution.HOUR) == 241


async def test_chunks_are_dropped_past_their_time(with_machine):
    """Each tier by its own."""
    await commit(with_machine, reports(START, HOUR))
    await closed(with_machine, LATER)
    async with with_machine.write() as conn:
        assert await history.drop_before(conn, Resolution.RAW, START) == 0
        assert await history.drop_before(conn, Resolution.RAW, START + EVERY) == 1
    assert await counted(with_machine, Resolution.MINUTE) == 240


def changing(seq: int, at: datetime, items: int) -> Report:
    """A report of many things under names that no other report has, beside the one that all have."""
    values = {
        "cpu": Measured(values={"use_percent": 1.0}, took_ms=1.0),
        "disks": Measured(values={"used_percent": {f"/{seq}/{n}": n for n in range(items)}}, took_ms=1.0),
    }
    return a_report(seq, at, indicators=msgspec.json.encode(values))


async def test_names_that_are_others_in_each_report_fill_no_chunk_beyond_its_measure(with_machine):
    """Day after day: the series that the machine has had throughout stays, whole; the rest is bounded."""
    times = [START + hour * HOUR + minutes * timedelta(minutes=1) for hour in range(30) for minutes in (1, 2)]
    await commit(with_machine, [changing(seq, at, 1_500) for seq, at in enumerate(times, 1)])
    assert await closed(with_machine, times[-1] + 2 * HOUR) == len(times)
    for tier in KEPT[1:]:
        for found in (await chunks_of(with_machine, tier.resolution)).values():
            assert len(found.frame.names) <= MOST_SERIES
            use = found.frame.names.index("cpu.use_percent")
            assert found.frame.low[use].tolist() == [1.0] * len(found.frame.times)
    hours = await chunks_of(with_machine, Resolution.HOUR)
    use = [one.frame.count[one.frame.names.index("cpu.use_percent")].sum() for one in hours.values()]
    assert sum(use) == len(times)


async def test_a_backlog_is_moved_in_pieces(with_machine):
    """A thousand reports of one hour never stand in memory together; none is lost or doubled."""
    every = timedelta(seconds=3)
    await commit(with_machine, [a_report(seq, START + seq * every) for seq in range(1, 1_101)])
    async with with_machine.write() as conn:
        taken = await history.take(conn, "hw_1", LATER, REPORTS)
    assert [one.seq for one in taken] == list(range(1, REPORTS + 1))
    await commit(with_machine, [a_report(seq, START + seq * every) for seq in range(1, REPORTS + 1)])
    assert await closed(with_machine, LATER) == 1_100
    for tier in KEPT:
        assert await counted(with_machine, tier.resolution) == 1_100
