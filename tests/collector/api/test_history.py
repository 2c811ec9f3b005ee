"""Health over time by REST: ranges, resolutions, series, gaps, and what is asked wrongly."""

import itertools
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from msgspec import structs
from sqlalchemy import text

from collector.history.gaps import Gap, GapCause
from tests.collector.recorded import EVERY, a_report, closed, commit, joined, reports

HW = "/v1/machines/hw_1/health"


def of(at: datetime) -> str:
    return quote(at.isoformat())


@pytest.fixture
async def recorded(served, database):
    """Three hours of reports up to now, the first two or so closed; gives a client, and the time of the first."""
    now = datetime.now(UTC)
    start = (now - timedelta(hours=3)).replace(minute=0, second=0, microsecond=0)
    await joined(database)
    await commit(database, reports(start, now - start))
    await closed(database, now)
    return served(), start


async def asked(client, path: str):
    status, body = await client.get(f"{HW}{path}")
    assert status == 200, body
    return body


async def test_a_day_comes_by_the_minute_in_columns(recorded):
    """Least, mean and greatest value of every minute, from chunks and log without a seam."""
    client, start = recorded
    body = await asked(client, "/history")
    assert (body["resolution"], body["step_s"], body["unreadable"], body["gaps"]) == ("1m", 60, [], [])
    times = [datetime.fromisoformat(one) for one in body["times"]]
    assert times[0] == start
    assert {later - earlier for earlier, later in itertools.pairwise(times)} == {timedelta(minutes=1)}
    assert set(body["series"]) == {"cpu.use_percent", "disks.used_percent[/]", "disks.used_percent[/data]"}
    use = body["series"]["cpu.use_percent"]
    assert {len(use[part]) for part in ("min", "mean", "max")} == {len(times)}
    outlier = 25
    assert (use["min"][outlier], use["mean"][outlier], use["max"][outlier]) == (1.0, 25.75, 100.0)


async def test_every_report_comes_raw(recorded):
    """Its own time and value, and no least or greatest beside it."""
    client, start = recorded
    body = await asked(client, f"/history?resolution=raw&from={of(start)}&to={of(start + timedelta(minutes=5))}")
    assert [datetime.fromisoformat(one) for one in body["times"]] == [start + number * EVERY for number in range(20)]
    data = body["series"]["disks.used_percent[/data]"]
    assert (data["min"], data["max"]) == (None, None)
    assert data["mean"] == [float(number) for number in range(1, 21)]


@pytest.mark.parametrize(("resolution", "moments"), [("15m", 8), ("1h", 2)])
async def test_coarser_resolutions_hold_the_outlier(recorded, resolution, moments):
    """Two whole hours, each with its one report at the limit."""
    client, start = recorded
    path = f"/history?resolution={resolution}&from={of(start)}&to={of(start + timedelta(hours=2))}"
    use = (await asked(client, path))["series"]["cpu.use_percent"]
    assert (len(use["max"]), use["max"].count(100.0), min(use["min"])) == (moments, 2, 1.0)


async def test_a_bucket_that_has_begun_before_the_range_is_part_of_it(recorded):
    """From the middle of a minute: the minute."""
    client, start = recorded
    path = f"/history?resolution=1m&from={of(start + timedelta(seconds=100))}&to={of(start + timedelta(seconds=121))}"
    times = (await asked(client, path))["times"]
    assert [datetime.fromisoformat(one) for one in times] == [start + timedelta(seconds=60 * one) for one in (1, 2)]


async def test_the_resolution_follows_the_length_of_the_range(recorded):
    """Fine for hours, coarse for years."""
    client, start = recorded
    found = []
    for length in (timedelta(hours=1), timedelta(days=1), timedelta(days=10), timedelta(days=700)):
        to = start + timedelta(hours=2)
        found.append((await asked(client, f"/history?from={of(to - length)}&to={of(to)}"))["resolution"])
    assert found == ["raw", "1m", "15m", "1h"]


async def test_series_are_chosen_by_name_and_star(recorded):
    """Items in brackets, several at once, and what nothing fits is told."""
    client, _ = recorded
    body = await asked(client, "/history?series=disks.used_percent[*],cpu.none&series=gpu.*")
    assert list(body["series"]) == ["disks.used_percent[/]", "disks.used_percent[/data]"]
    assert body["unmatched"] == ["cpu.none", "gpu.*"]
    assert list((await asked(client, "/history?series=*[/]"))["series"]) == ["disks.used_percent[/]"]


async def test_the_series_of_a_range_are_listed(recorded):
    """With their parts."""
    client, start = recorded
    items = (await asked(client, "/series"))["items"]
    assert [one["name"] for one in items] == ["cpu.use_percent", "disks.used_percent[/]", "disks.used_percent[/data]"]
    assert items[1] == {
        "name": "disks.used_percent[/]",
        "indicator": "disks",
        "reading": "used_percent",
        "item": "/",
    }
    before = of(start - timedelta(days=1))
    assert (await asked(client, f"/series?to={before}"))["items"] == []


async def test_the_newest_report_is_told_with_its_age(recorded):
    """By the collector's clock."""
    client, _ = recorded
    body = await asked(client, "/latest")
    assert body["indicators"]["cpu"]["values"]["use_percent"] == 1.0
    assert 0 <= body["age_s"] < 60
    assert body["boot_id"] == "b"


async def test_a_machine_that_never_reported_has_an_empty_history(served):
    """It is on record, so it is no error."""
    client = served()
    assert (await asked(client, "/latest"))["indicators"] is None
    body = await asked(client, "/history")
    assert (body["times"], body["series"], body["gaps"]) == ([], {}, [])
    assert (await asked(client, "/gaps"))["items"] == []
    assert (await asked(client, ""))["items"] == []


@pytest.mark.parametrize("path", ["", "/latest", "/history", "/series", "/gaps"])
async def test_the_health_of_an_unknown_machine_is_not_found(served, path):
    """Never an empty answer that looks like a silent machine."""
    status, body = await served().get(f"/v1/machines/hw_none/health{path}")
    assert (status, body["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        ("/history?from=yesterday", "invalid", "from is not a time"),
        ("/history?from=2026-05-01T12:00:00", "invalid", "no time zone"),
        ("/history?to=0001-01-01T00:00:00Z", "invalid", "to is not a time"),
        ("/history?to=9999-12-31T23:59:59-12:00", "invalid", "to is not a time"),
        ("/history?from=2026-05-02T00:00:00Z&to=2026-05-01T00:00:00Z", "invalid", "before"),
        ("/history?from=2026-05-01T00:00:00Z&to=2026-05-01T00:00:00Z", "invalid", "before"),
        ("/history?resolution=5m", "invalid", "auto, raw, 1m, 15m, 1h"),
        ("/history?resolution=1m&from=2020-01-01T00:00:00Z&to=2021-01-01T00:00:00Z", "range_too_large", "moments"),
        ("/history?from=1970-01-02T00:00:00Z", "range_too_large", "moments"),
        ("/history?series=", "invalid", "series"),
        ("/history?series=" + "a" * 501, "invalid", "series"),
        ("/history?series=" + ",".join(f"a.b{number}" for number in range(101)), "invalid", "series"),
        ("/history?step=60", "invalid", "step"),
        ("/history?hours=1", "invalid", "hours"),
        ("/gaps?filled=perhaps", "invalid", "filled"),
        ("/gaps?limit=0", "invalid", "limit"),
        ("/gaps?cursor=WyIyMDI2LTA1LTAxIiwib2JfMSIsMV0=", "invalid", "cursor"),
        ("/gaps?cursor=WyIyMDI2LTA1LTAxVDAwOjAwOjAwWiIsIlx1MDAwMCIsMV0=", "invalid", "cursor"),
        ("/series?resolution=1m", "invalid", "resolution"),
        ("?hours=49", "invalid", "hours"),
        ("?from=2026-05-01T00:00:00Z", "invalid", "from"),
        ("/latest?x=1", "invalid", "x"),
    ],
)
async def test_what_is_asked_wrongly_is_told(served, path, code, words):
    """Which parameter, in words, with a stable code."""
    status, body = await served().get(HW + path)
    assert (status, body["code"]) == (400, code), body
    assert words in body["detail"]


async def test_an_answer_that_would_be_too_large_is_refused(served, database, monkeypatch):
    """By its number of values, before they are all read."""
    now = datetime.now(UTC)
    wide = b'{"a":{"outcome":"measured","took_ms":1,"values":{"b":{%s}}}}' % b",".join(
        b'"%d":1' % n for n in range(3000)
    )
    start = now - timedelta(hours=5)
    await commit(database, [a_report(seq, start + seq * EVERY, indicators=wide) for seq in range(1_000)])
    await closed(database, now)
    status, body = await served().get(f"{HW}/history")
    assert (status, body["code"]) == (400, "range_too_large")
    assert "fewer series" in body["remedy"]
    assert len((await asked(served(), "/history?series=a.b[1*]"))["series"]) == 1111


async def test_a_chunk_that_cannot_be_read_is_told_and_costs_only_itself(recorded, database):
    """The other hours are there, and the answer says which one is not."""
    client, start = recorded
    async with database.write() as conn:
        statement = "UPDATE health_chunk SET content = :bad WHERE tier = 'raw' AND start_at = (SELECT min(start_at) FROM health_chunk WHERE tier = 'raw')"
        await conn.execute(text(statement), {"bad": b"RPH1 broken"})
    body = await asked(client, "/history?resolution=raw")
    (lost,) = body["unreadable"]
    assert (lost["code"], datetime.fromisoformat(lost["start_at"])) == ("history_unreadable", start)
    assert datetime.fromisoformat(body["times"][0]) == start + timedelta(hours=1)
    assert (await asked(client, "/series"))["items"]


async def test_what_is_missing_stands_in_the_history_and_by_itself(served, database):
    """A gap of some reports, and the silence since."""
    now = datetime.now(UTC)
    start = now - timedelta(hours=1)
    gap = Gap(
        hardware_id="hw_1",
        outbox_id="ob_1",
        first_seq=2,
        last_seq=9,
        cause=GapCause.DISK_FULL,
        started_at=start,
        ended_at=start + 9 * EVERY,
    )
    await joined(database)
    later = structs.replace(a_report(10, start + 9 * EVERY), missing=(gap,))
    await commit(database, [a_report(1, start), later])
    for path in ("/gaps", "/history"):
        body = await asked(served(), path)
        silent, lost = body["gaps"] if path == "/history" else body["items"]
        assert (silent["cause"], silent["ended_at"], silent["missing"], silent["first_seq"]) == (
            "silent",
            None,
            0,
            None,
        )
        assert (lost["cause"], lost["first_seq"], lost["last_seq"], lost["missing"]) == ("disk_full", 2, 9, 8)
        assert "disk was full" in lost["words"]
    early = f"?from={of(start - timedelta(hours=2))}&to={of(start - timedelta(hours=1))}"
    assert (await asked(served(), f"/gaps{early}"))["items"] == []


async def test_gaps_come_in_pages(served, database):
    """Each once, the newest first, and the silence that goes on before all."""
    start = datetime.now(UTC) - timedelta(hours=2)
    lost = [
        Gap(
            hardware_id="hw_1",
            outbox_id=outbox_id,
            first_seq=seq,
            last_seq=seq + 1,
            cause=GapCause.OUTBOX_FULL,
            started_at=start,
            ended_at=start + seq // 20 * EVERY,
        )
        for seq in range(20, 90, 10)
        for outbox_id in ("ob_1", "ob_2")
    ]
    await joined(database)
    await commit(database, [structs.replace(a_report(1, start), missing=tuple(lost))])
    seen, query = [], "?limit=4"
    while True:
        body = await asked(served(), f"/gaps{query}")
        seen += [(one["outbox_id"], one["first_seq"]) for one in body["items"]]
        if body["next"] is None:
            break
        query = f"?limit=4&cursor={body['next']}"
    ordered = sorted(lost, key=lambda one: (one.ended_at, one.outbox_id, one.first_seq), reverse=True)
    assert seen == [("ob_1", None), *((one.outbox_id, one.first_seq) for one in ordered)]


async def test_whole_reports_of_the_running_hour_are_there_with_their_words(served, database):
    """Newest first."""
    now = datetime.now(UTC)
    await commit(database, [a_report(seq, now - timedelta(seconds=60 - seq)) for seq in range(5)])
    items = (await asked(served(), "?limit=2"))["items"]
    assert [one["seq"] for one in items] == [4, 3]
    assert items[0]["indicators"]["cpu"]["values"]["model"] == "EPYC"


async def test_a_machine_with_other_series_each_hour_is_refused_before_it_fills_the_memory(served, database):
    """Its parts are small; together they would be a table of a hundred thousand series over a hundred moments."""
    now = datetime.now(UTC)
    start = now - timedelta(hours=110)
    for hour in range(100):
        names = b",".join(b'"%d-%d":1' % (hour, n) for n in range(1_000))
        wide = b'{"a":{"outcome":"measured","took_ms":1,"values":{"b":{%s}}}}' % names
        await commit(database, [a_report(hour + 1, start + timedelta(hours=hour), indicators=wide)])
    await closed(database, now)
    client = served()
    status, body = await client.get(f"{HW}/history?resolution=1m&from={of(start)}")
    assert (status, body["code"]) == (400, "range_too_large")
    status, body = await client.get(f"{HW}/history?resolution=1m&from={of(start)}&series={quote('a.b[7-7]')}")
    assert (status, body["series"]["a.b[7-7]"]["mean"].count(1.0)) == (200, 1)
