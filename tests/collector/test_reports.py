"""The group commit: what is acknowledged is stored, what cannot be stored stands in nobody's way."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import select

from collector import reports
from collector.reports import ReportWriter
from collector.store import health
from collector.store.health import Report
from collector.store.tables import health_sample
from shared.codec import decode, encode
from shared.codes import Code, Trouble
from shared.messages import Health, Measured
from tests.collector.known import NOW


def report(seq: int, hardware_id: str = "hw_1", indicators: bytes = b"{}") -> Report:
    return Report(
        hardware_id=hardware_id,
        outbox_id="o",
        seq=seq,
        boot_id="b",
        collected_at=NOW,
        received_at=NOW + timedelta(seconds=seq),
        at=NOW + timedelta(seconds=seq),
        indicators=indicators,
    )


def committing(database):
    async def commit(batch):
        async with database.write() as conn:
            await health.commit(conn, batch)

    return commit


def refusing(database):
    async def refuse(report):
        async with database.write() as conn:
            await health.refuse(conn, report)

    return refuse


async def stored(database) -> list[int]:
    async with database.read() as conn:
        return list((await conn.execute(select(health_sample.c.seq).order_by(health_sample.c.seq))).scalars())


async def test_a_report_the_database_refuses_is_dropped_alone(with_machine):
    """One of a machine that is not on record, among nine good ones: nine are stored and acknowledged."""
    writer = ReportWriter(committing(with_machine), refusing(with_machine), 0.0)
    confirmed = []
    for seq in range(10):
        writer.submit(report(seq, "hw_gone" if seq == 4 else "hw_1"), lambda one: confirmed.append(one.seq))
    await writer.flush()
    good = [seq for seq in range(10) if seq != 4]
    assert await stored(with_machine) == good
    assert set(good) <= set(confirmed)
    assert (writer.committed, writer.refused, writer.depth) == (9, 1, 0)


async def test_reports_and_commits_are_counted(with_machine):
    """What came in, since when the oldest waits, and how long each commit was."""
    writer = ReportWriter(committing(with_machine), refusing(with_machine), 0.0)
    assert writer.waiting_since is None
    for seq in (3, 4):
        writer.submit(report(seq), lambda _: None)
    assert (writer.received, writer.committed, writer.depth) == (2, 0, 2)
    assert writer.waiting_since == NOW + timedelta(seconds=3)
    await writer.flush()
    assert (writer.received, writer.committed, writer.waiting_since) == (2, 2, None)
    assert writer.took.buckets()[-1] == ("+Inf", 1)
    assert writer.took.total_s > 0


async def test_while_the_database_is_away_nothing_is_acknowledged_or_lost(with_machine, monkeypatch):
    """Three failures, then everything at once, in order."""
    monkeypatch.setattr(reports, "RETRY_S", 0.0)
    commit, left = committing(with_machine), [3]

    async def sometimes(batch):
        if left[0]:
            left[0] -= 1
            raise Trouble(Code.DATABASE_UNREACHABLE)
        await commit(batch)

    writer = ReportWriter(sometimes, refusing(with_machine), 0.0)
    confirmed = []
    for seq in range(5):
        writer.submit(report(seq), lambda one: confirmed.append(one.seq))
    flushing = asyncio.create_task(writer.flush())
    while left[0]:
        assert confirmed == []
        await asyncio.sleep(0)
    await flushing
    assert confirmed == await stored(with_machine) == list(range(5))
    assert writer.failures == 3


@pytest.mark.parametrize("value", ["\x00", "\ud7ff\ue000\U0010ffff", '"\\\n', 1e308, -(2**63), 2**200, True, None])
async def test_whatever_the_codec_lets_in_can_be_stored(with_machine, value):
    """A value that one database cannot hold would hold up every machine's reports."""
    sent = Health(seq=1, boot_id="b", collected_at=NOW, indicators={"x": Measured(values={"v": value}, took_ms=0)})
    try:
        got = decode(encode(sent))
    except Trouble:
        return
    raw = encode(got)
    writer = ReportWriter(committing(with_machine), refusing(with_machine), 0.0)
    writer.submit(report(1, indicators=raw), lambda _: None)
    await writer.flush()
    assert (writer.committed, writer.refused) == (1, 0)
