"""Judging as reports come in: what is written, told to watchers and read back, over both databases."""

import asyncio
import time
from datetime import timedelta

import msgspec
import pytest

from collector.assessing import JUDGE_EVERY, Assessing
from collector.feed import ChangeKind, Feed
from collector.store import health, links, verdicts
from collector.store.health import Report
from collector.verdict import HealthState
from shared.codes import Code, Trouble
from shared.messages import Facts
from tests.collector.known import NOW, add_machine
from tests.collector.verdict.watched import BUS, GPUS, WELL, as_indicators, with_changes

ILL = with_changes({"gpu.row_remap_failed": {GPUS[0]: True}})


class Bench:
    """A collector's judging with a clock that tests move."""

    def __init__(self, database) -> None:
        self.database = database
        self.now = NOW
        self.gone: set[str] = set()
        self.ahead_s = 0.0
        self.feed = Feed()
        self.seq = 0
        self.assessing = self.another()

    def another(self) -> Assessing:
        gone, ahead_s = self.gone.__contains__, lambda _: self.ahead_s
        return Assessing(self.database, self.feed, lambda: self.now, gone, ahead_s)

    def take(self, readings, after_s: float = 30, name: str = "hw_1", late_s: float = 0) -> Report:
        self.now += timedelta(seconds=after_s)
        self.seq += 1
        indicators = as_indicators(readings)
        report = Report(
            hardware_id=name, outbox_id="ob_1", seq=self.seq, boot_id="boot-1", collected_at=self.now,
            received_at=self.now, at=self.now - timedelta(seconds=late_s), indicators=msgspec.json.encode(indicators),
        )  # fmt: skip
        self.assessing.take(report, indicators)
        return report

    async def events(self, name: str = "hw_1") -> list[tuple[str, str]]:
        async with self.database.read() as conn:
            rows = await verdicts.events(conn, name, since=None, code=None, before=None, limit=500)
        return [(row.code, row.to_state) for row in reversed(rows)]

    async def kept(self, name: str = "hw_1"):
        async with self.database.read() as conn:
            return await verdicts.find(conn, name)


@pytest.fixture
async def bench(with_machine):
    return Bench(with_machine)


async def test_a_change_is_kept_with_its_event_and_told(bench):
    """The live row, the ledger and who watches agree; what does not change is not written."""
    with bench.feed.subscribed() as watching:
        bench.take(WELL)
        bench.take(ILL)
        await bench.assessing.flush()
        kept = await bench.kept()
        assert (kept.state, [one.code for one in kept.reasons]) == (HealthState.UNHEALTHY, ["gpu_row_remap_failed"])
        assert await bench.events() == [
            ("health", "healthy"), ("gpu_row_remap_failed", "unhealthy"), ("health", "unhealthy"),
        ]  # fmt: skip
        told = [await watching.next() for _ in range(4)]
        assert [one.kind for one in told] == [ChangeKind.HEALTH, *[ChangeKind.EVENT] * 3]
        assert told[0].body == kept
        bench.take(ILL)
        await bench.assessing.flush()
        assert len(await bench.events()) == 3


async def test_reports_in_quick_succession_are_judged_once(bench):
    """A flood costs what one report in 25 seconds costs; an older report than the last judged says nothing."""
    bench.take(WELL)
    for _ in range(20):
        bench.take(ILL, after_s=1)
    await bench.assessing.flush()
    assert await bench.events() == [("health", "healthy")]
    bench.take(ILL, after_s=20, late_s=3600)
    await bench.assessing.flush()
    assert await bench.events() == [("health", "healthy")]
    bench.take(ILL, after_s=JUDGE_EVERY.total_seconds())
    await bench.assessing.flush()
    assert (await bench.kept()).state is HealthState.UNHEALTHY


async def test_an_offline_machine_is_unknown_until_it_is_back(bench):
    """With the reasons that stood when it fell silent; back, it is what it was."""
    bench.take(ILL)
    bench.gone.add("hw_1")
    bench.assessing.look()
    await bench.assessing.flush()
    kept = await bench.kept()
    assert (kept.state, [one.code for one in kept.reasons]) == (
        HealthState.UNKNOWN, ["no_reports", "gpu_row_remap_failed"],
    )  # fmt: skip
    bench.take(ILL)
    assert bench.assessing.counts()["unknown"] == 1
    bench.gone.clear()
    bench.assessing.look()
    await bench.assessing.flush()
    assert (await bench.kept()).state is HealthState.UNHEALTHY
    assert [state for code, state in await bench.events() if code == "health"] == ["unhealthy", "unknown", "unhealthy"]


async def commit(bench, report) -> None:
    async with bench.database.write() as conn:
        await links.offer_join(
            conn, "hw_1", confirmed=0, offered=1, boot_id="boot-1", outbox_id="ob_1", agent_version="1",
            policy_hash="", clock_skew_ms=0, facts=Facts(),
        )  # fmt: skip
        await health.commit(conn, [report])


async def test_a_restart_tells_nothing_twice_and_misses_nothing(bench):
    """Reasons go on; what was counted before is known; what grew meanwhile is told."""
    await commit(bench, bench.take(ILL))
    await bench.assessing.flush()
    before = await bench.events()
    bench.assessing = bench.another()
    await bench.assessing.load()
    assert bench.assessing.counts() == {"healthy": 0, "degraded": 0, "unhealthy": 1, "unknown": 0}
    bench.take(ILL, after_s=120)
    await bench.assessing.flush()
    assert await bench.events() == before
    grown = with_changes({"gpu.row_remap_failed": {GPUS[0]: True}, "kernel_log.xid_reset": {BUS: 1}})
    bench.assessing = bench.another()
    await bench.assessing.load()
    bench.take(grown, after_s=120)
    await bench.assessing.flush()
    assert (await bench.events())[len(before) :] == [("gpu_xid_reset", "degraded")]


async def test_a_stored_report_of_another_form_does_not_hold_up_the_start(bench):
    """What an older version wrote is not understood, and the machine's verdict is there all the same."""
    report = bench.take(ILL)
    await commit(bench, msgspec.structs.replace(report, indicators=b'{"n":1}'))
    await bench.assessing.flush()
    bench.assessing = bench.another()
    await bench.assessing.load()
    assert bench.assessing.counts()["unhealthy"] == 1


async def test_other_hardware_is_told_each_time(bench):
    """A card less, and a card more again; the first facts and a lost link's return are no change."""
    eight, seven = (
        Facts(gpu_model="8 x NVIDIA H100 80GB HBM3", os="Debian 12"),
        Facts(gpu_model="7 x NVIDIA H100 80GB HBM3"),
    )
    bench.assessing.changed("hw_1", Facts(), eight)
    await bench.assessing.flush()
    assert await bench.events() == []
    bench.take(WELL)
    bench.assessing.changed("hw_1", eight, seven)
    bench.assessing.changed("hw_1", seven, eight)
    await bench.assessing.flush()
    assert await bench.events() == [
        ("health", "healthy"),
        ("hardware_changed", "degraded"),
        ("hardware_changed", "degraded"),
    ]
    kept = await bench.kept()
    assert kept.state is HealthState.HEALTHY
    assert kept.reasons[0].words == "changed: gpu_model from 7 x NVIDIA H100 80GB HBM3 to 8 x NVIDIA H100 80GB HBM3"


async def test_a_clock_that_is_off_is_judged(bench):
    """By as much as presence has measured."""
    bench.ahead_s = -20.0
    bench.take(WELL)
    await bench.assessing.flush()
    assert (await bench.kept()).reasons[
        0
    ].words == "the machine's clock is -20 s from the collector's; 10 s is the limit"


async def test_an_admin_s_number_of_gpus_counts_at_the_next_report(bench):
    """It is neither overwritten by what was learned, nor forgotten by a restart."""
    for _ in range(130):
        bench.take(WELL)
    assert (await bench.kept()).gpus_expected is None
    await bench.assessing.flush()
    assert (await bench.kept()).gpus_expected == 8
    fewer = with_changes({"gpu.on_pci_bus": 7, "gpu.seen_by_nvml": 7})
    for _ in range(6):
        bench.take(fewer)
    await bench.assessing.flush()
    assert (await bench.kept()).reasons[0].code == "gpu_missing"
    bench.assessing.expect_gpus("hw_1", 7)
    for _ in range(30):
        bench.take(fewer)
    await bench.assessing.flush()
    kept = await bench.kept()
    assert (kept.state, kept.gpus_expected) == (HealthState.HEALTHY, 7)


async def test_while_the_database_is_away_nothing_is_lost(bench):
    """What changed is written once it is back, in order."""
    kept = bench.assessing._keep

    async def away(*_):
        raise Trouble(Code.DATABASE_UNREACHABLE)

    bench.take(WELL)
    bench.assessing._keep = away
    with pytest.raises(Trouble):
        await bench.assessing.flush()
    bench.take(ILL)
    bench.assessing._keep = kept
    await bench.assessing.flush()
    assert [code for code, _ in await bench.events()] == ["health", "gpu_row_remap_failed", "health"]
    assert (await bench.kept()).state is HealthState.UNHEALTHY


async def test_a_machine_that_is_not_on_record_stands_in_nobody_s_way(bench):
    """Its events cannot be stored; those of the others are."""
    bench.take(ILL, name="hw_gone")
    bench.take(ILL)
    await bench.assessing.flush()
    assert [code for code, _ in await bench.events()] == ["gpu_row_remap_failed", "health"]
    assert await bench.events("hw_gone") == []


async def test_the_loop_writes_by_itself(bench):
    """Within seconds, and also that a machine is offline."""
    running = asyncio.create_task(bench.assessing.run(write_every_s=0.01, look_every_s=0.02))
    bench.take(ILL)
    bench.gone.add("hw_1")
    ends = time.monotonic() + 10
    while (await bench.kept()).state is not HealthState.UNKNOWN or len(await bench.events()) < 3:
        assert time.monotonic() < ends
        await asyncio.sleep(0.02)
    running.cancel()
    assert [state for _, state in await bench.events()] == ["unhealthy", "unhealthy", "unknown"]


async def test_many_machines_are_written_in_groups(bench):
    """1,200 at once are all there."""
    names = [f"hw_m{number}" for number in range(1200)]
    async with bench.database.write() as conn:
        for name in names[:5]:
            await add_machine(conn, name)
    for name in names[:5]:
        bench.take(ILL, after_s=0, name=name)
    await bench.assessing.flush()
    assert [(await bench.kept(name)).state for name in names[:5]] == [HealthState.UNHEALTHY] * 5
