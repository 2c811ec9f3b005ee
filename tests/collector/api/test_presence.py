"""Presence, uptime, the fleet and live changes over REST, over both databases."""

import asyncio
import json
from datetime import timedelta

import pytest

from collector.api.stream import MOST_OF_ONE
from collector.compose import utc_now
from collector.feed import Change, ChangeKind
from collector.store import presence, runs
from collector.store.presence import Transition
from tests.collector.known import add_machine

ONLINE, OFFLINE = "online", "offline"


def told(hardware_id: str, at, state: str, cause: str = "silence", before: str = ONLINE) -> Transition:
    return Transition(
        hardware_id=hardware_id,
        at=at,
        told_at=at + timedelta(seconds=90),
        from_state=before,
        to_state=state,
        status="online" if state == ONLINE else "offline",
        cause=cause,
        words=cause,
    )


@pytest.fixture
async def midnight(database, served):
    """Midnight two days ago: hw_1 came then; it was offline from 6 to 9, the collector was away from 12 to 13."""
    start = utc_now().replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=2)
    hour = timedelta(hours=1)
    async with database.write() as conn:
        first = await runs.begin(conn, start - hour)
        await runs.end(conn, first, start + 12 * hour)
        await runs.begin(conn, start + 13 * hour)
        await runs.alive(conn, first + 1, utc_now())
        changes = [
            told("hw_1", start, ONLINE, "first_report", "never"),
            told("hw_1", start + 6 * hour, OFFLINE),
            told("hw_1", start + 6.5 * hour, "overdue", before=OFFLINE),
            told("hw_1", start + 9 * hour, ONLINE, "rebooted", "overdue"),
        ]
        await presence.record(conn, changes)
    return start


def moment(at) -> str:
    return at.isoformat().replace("+00:00", "Z")


async def test_the_ledger_is_shown_with_exact_times_and_causes(served, midnight):
    """Newest first, with what was true when and when it was told; with the collector's own absence beside it."""
    _, body = await served().get("/v1/machines/hw_1/presence")
    assert body["now"]["presence"] == ONLINE
    assert body["now"]["presence_since"] == moment(midnight + timedelta(hours=9))
    assert [(one["to_state"], one["cause"]) for one in body["items"]] == [
        (ONLINE, "rebooted"),
        ("overdue", "silence"),
        (OFFLINE, "silence"),
        (ONLINE, "first_report"),
    ]
    assert body["items"][2]["at"] == moment(midnight + timedelta(hours=6))
    assert body["items"][2]["told_at"] == moment(midnight + timedelta(hours=6, seconds=90))
    assert body["away"] == [
        {"start_at": moment(midnight + timedelta(hours=12)), "end_at": moment(midnight + timedelta(hours=13))}
    ]


async def test_the_ledger_is_paged_and_cut_by_time(served, midnight):
    """Every entry once, and from is inclusive, to exclusive."""
    seen, query = [], "?limit=3"
    while query:
        _, body = await served().get(f"/v1/machines/hw_1/presence{query}")
        seen += [one["event_id"] for one in body["items"]]
        query = f"?limit=3&cursor={body['next']}" if body["next"] else ""
    assert seen == sorted(set(seen), reverse=True)
    assert len(seen) == 4
    hours = [moment(midnight + timedelta(hours=hour)) for hour in (6, 9)]
    _, body = await served().get(f"/v1/machines/hw_1/presence?from={hours[0]}&to={hours[1]}")
    assert [one["to_state"] for one in body["items"]] == ["overdue", OFFLINE]


async def test_uptime_counts_what_is_known(served, midnight):
    """Three hours offline, one in which nobody listened; the next day is whole."""
    day = midnight.date().isoformat()
    status, body = await served().get(f"/v1/machines/hw_1/uptime?from={day}&by=day")
    assert status == 200, body
    first, second, *_ = body["items"]
    assert (first["online_s"], first["offline_s"], first["unknown_s"]) == (20 * 3600, 3 * 3600, 3600)
    assert first["online_percent"] == round(2000 / 23, 4)
    assert (second["online_s"], second["online_percent"]) == (86_400, 100)
    assert body["total"]["offline_s"] == 3 * 3600
    _, months = await served().get("/v1/machines/hw_1/uptime?by=month")
    assert sum(row["offline_s"] for row in months["items"]) == 3 * 3600


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/machines/hw_9/presence", 404, "not_found"),
        ("/v1/machines/hw_9/uptime", 404, "not_found"),
        ("/v1/machines/hw_1/presence?from=yesterday", 400, "invalid"),
        ("/v1/machines/hw_1/presence?from=0001-01-01", 400, "invalid"),
        ("/v1/machines/hw_1/presence?from=2026-05-01T12:00:00", 400, "invalid"),
        ("/v1/machines/hw_1/presence?form=2026-05-01", 400, "invalid"),
        ("/v1/machines/hw_1/presence?cursor=eA==", 400, "invalid"),
        ("/v1/machines/hw_1/presence?limit=0", 400, "invalid"),
        ("/v1/machines/hw_1/uptime?by=hour", 400, "invalid"),
        ("/v1/machines/hw_1/uptime?from=2020-01-01", 400, "invalid"),
        ("/v1/machines/hw_1/uptime?from=1980-01-01&by=month", 400, "invalid"),
        ("/v1/machines/hw_1/uptime?from=2026-05-02&to=2026-05-01", 400, "invalid"),
        ("/v1/machines/hw_1/uptime?from=9000-01-01", 400, "invalid"),
        ("/v1/fleet?presence=asleep", 400, "invalid"),
        ("/v1/fleet?health_state=fine", 400, "invalid"),
        ("/v1/fleet?sort=colour", 400, "invalid"),
        ("/v1/fleet?reverse=yes", 400, "invalid"),
        ("/v1/fleet?cursor=e30=", 400, "invalid"),
        ("/v1/fleet?sort=presence&cursor=WyJwcmVzZW5jZSIsOTk5OTk5OTk5OTk5OTk5OTk5OTksImgiXQ==", 400, "invalid"),
        ("/v1/fleet?state=online", 400, "invalid"),
        ("/v1/fleet?q=%00", 400, "invalid"),
        ("/v1/stream?kind=weather", 400, "invalid"),
    ],
)
async def test_what_is_wrong_is_explained(served, path, status, code):
    """With a stable code, and never a traceback."""
    answered, body = await served().get(path)
    assert (answered, body["code"]) == (status, code), body


@pytest.fixture
async def fleet(database, served):
    """hw_1 and six more: two offline, one of a model of its own."""
    now = utc_now()
    async with database.write() as conn:
        for number in range(2, 8):
            await add_machine(conn, f"hw_{number}")
        changes = [told(f"hw_{number}", now - timedelta(minutes=number), ONLINE) for number in range(1, 8)]
        changes += [told(f"hw_{number}", now, OFFLINE) for number in (3, 5)]
        await presence.record(conn, changes)
    return served()


async def test_the_fleet_is_counted_and_listed(fleet):
    """Counts stand beside the list, and do not shrink with the state that is chosen."""
    _, body = await fleet.get("/v1/fleet?presence=offline,overdue")
    assert body["summary"]["machines"] == 7
    assert body["summary"]["presence"] == {"never": 0, "online": 5, "stale": 0, "offline": 2, "overdue": 0}
    assert body["summary"]["health_state"]["unknown"] == 7
    assert [row["hardware_id"] for row in body["items"]] == ["hw_3", "hw_5"]
    assert body["next"] is None


@pytest.mark.parametrize("reverse", ["false", "true"])
@pytest.mark.parametrize(
    "sort",
    [
        "hardware_id",
        "customer_id",
        "gpu_model",
        "presence",
        "presence_since",
        "last_received_at",
        "health_state",
        "health_since",
    ],
)
async def test_every_sort_pages_through_everybody_once(fleet, sort, reverse):
    """Also where many have the same value, or none."""
    seen, cursor = [], ""
    while cursor is not None:
        _, body = await fleet.get(f"/v1/fleet?sort={sort}&reverse={reverse}&limit=2{cursor}")
        seen += [row["hardware_id"] for row in body["items"]]
        cursor = f"&cursor={body['next']}" if body["next"] else None
    assert sorted(seen) == [f"hw_{number}" for number in range(1, 8)]
    _, whole = await fleet.get(f"/v1/fleet?sort={sort}&reverse={reverse}")
    assert seen == [row["hardware_id"] for row in whole["items"]]


async def test_the_worst_is_first_by_presence(fleet):
    """By what needs a look, not by the alphabet."""
    _, body = await fleet.get("/v1/fleet?sort=presence&limit=2")
    assert [row["presence"] for row in body["items"]] == [OFFLINE, OFFLINE]


async def test_the_fleet_is_searched_in_ids_and_models(fleet, database):
    """In any case; signs that a pattern would use are taken as they are. Counts follow the search."""
    _, body = await fleet.get("/v1/fleet?q=HW_7")
    assert ([row["hardware_id"] for row in body["items"]], body["summary"]["machines"]) == (["hw_7"], 1)
    _, body = await fleet.get("/v1/fleet?q=%25")
    assert (body["items"], body["summary"]["machines"]) == ([], 0)
    _, body = await fleet.get("/v1/fleet?customer_id=usr_2")
    assert body["summary"]["machines"] == 0


class Listener:
    """Reads server-sent events."""

    def __init__(self, response) -> None:
        self.response = response

    async def event(self, limit_s: float = 30) -> dict[str, str]:
        fields: dict[str, str] = {}
        async with asyncio.timeout(limit_s):
            while line := (await self.response.content.readline()).decode():
                if line == "\n" and "event" in fields:
                    return fields
                name, _, value = line.rstrip("\n").partition(": ")
                fields |= {name: value} if name else {}
        return fields


@pytest.fixture
async def listen(served, feed):
    """Open a stream; gives its reader."""
    opened = []

    async def begin(query: str = "", of: str = "auditor", **headers) -> Listener:
        response = await served(of).open(f"/v1/stream{query}", **headers)
        opened.append(response)
        if response.status == 200:
            await response.content.readline()
        return Listener(response)

    yield begin
    feed.end()
    for response in opened:
        response.close()


def change(number: int, kind: ChangeKind = ChangeKind.PRESENCE) -> Change:
    return Change(kind=kind, at=utc_now(), hardware_id=f"hw_{number}", body={"number": number})


async def test_a_change_comes_as_an_event(listen, feed):
    """With its kind as the event's name, an id, and what is new."""
    listener = await listen()
    assert listener.response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    feed.publish(change(1))
    event = await listener.event()
    assert event["event"] == "presence"
    assert event["id"].endswith("-1")
    assert json.loads(event["data"])["body"] == {"number": 1}


async def test_a_stream_tells_only_what_is_asked_for(listen, feed):
    """By kind and by machine."""
    listener = await listen("?kind=presence&hardware_id=hw_2")
    for one in (change(1), change(2, ChangeKind.HEALTH), change(2)):
        feed.publish(one)
    assert (await listener.event())["id"].endswith("-3")


async def test_who_comes_back_learns_whether_something_was_missed(listen, feed):
    """With the newest id nothing was; with another, or one of another process, everything is to be read anew."""
    feed.publish(change(1))
    first = await listen()
    feed.publish(change(2))
    last = (await first.event())["id"]
    again = await listen(**{"Last-Event-ID": last})
    feed.publish(change(3))
    assert (await again.event())["event"] == "presence"
    late = await listen(**{"Last-Event-ID": last})
    assert (await late.event())["event"] == "resync"


async def test_who_cannot_keep_up_is_told_to_read_anew(listen, feed):
    """The queue is bounded: all that waits becomes one resync."""
    listener = await listen()
    for number in range(1_500):
        feed.publish(change(number))
    while (event := await listener.event())["event"] != "resync":
        pass
    assert event["event"] == "resync"


async def test_a_provider_sees_his_own_machines_and_nobody_elses(fleet, served, listen, feed):
    """In the fleet, in the ledger and on the stream; the rest of the API is not for him."""
    his, other = served("usr_1"), served("usr_buyer")
    assert (await his.get("/v1/fleet"))[1]["summary"]["machines"] == 7
    assert (await other.get("/v1/fleet"))[1]["summary"]["machines"] == 0
    assert (await other.get("/v1/fleet?customer_id=usr_1"))[0] == 404
    for path in ("presence", "uptime"):
        assert (await his.get(f"/v1/machines/hw_1/{path}"))[0] == 200
        assert (await other.get(f"/v1/machines/hw_1/{path}"))[0] == 404
    for path in ("/v1/machines", "/v1/machines/hw_1", "/v1/users", "/v1/payments"):
        assert (await his.get(path))[1]["code"] == "forbidden"
    theirs, others = await listen(of="usr_1"), await listen(of="usr_buyer")
    feed.publish(change(1))
    assert (await theirs.event())["event"] == "presence"
    with pytest.raises(TimeoutError):
        await others.event(limit_s=0.5)


async def test_streams_end_when_the_collector_stops(listen, feed):
    """At once, so that they do not hold it up."""
    listener = await listen()
    feed.end()
    assert await listener.event() in ({}, {"": ""}) or listener.response.content.at_eof()


async def test_a_stream_needs_a_token(served):
    """Like everything else."""
    response = await served("auditor").open("/v1/stream", Authorization="Bearer rps_x.y")
    assert response.status == 401


async def test_the_number_of_streams_is_bounded(listen, feed):
    """The next one is told to come later; nobody takes the places of others, and a closed one is free again."""
    for of in ("usr_1", "auditor"):
        opened = [await listen(of=of) for _ in range(MOST_OF_ONE)]
        assert {one.response.status for one in opened} == {200}
        refused = (await listen(of=of)).response
        assert (refused.status, (await refused.json())["code"]) == (429, "slow_down")
        assert refused.headers["Retry-After"] == "5"
        assert (await listen(of="usr_buyer")).response.status == 200
    opened[0].response.close()
    await asyncio.sleep(0.2)
    feed.publish(change(1))
    await asyncio.sleep(0.2)
    assert (await listen()).response.status == 200
