"""Presence, uptime and the fleet over REST, over both databases."""

from datetime import timedelta

import pytest

from collector.api.routing import OF_A_MACHINE, Role
from collector.compose import utc_now
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


async def test_a_provider_sees_his_own_machines_and_nobody_elses(fleet, served, parts):
    """In the fleet, in the ledger and their health; the rest of the API is not for him."""
    his, other = served("usr_1"), served("usr_buyer")
    assert (await his.get("/v1/fleet"))[1]["summary"]["machines"] == 7
    assert (await other.get("/v1/fleet"))[1]["summary"]["machines"] == 0
    assert (await other.get("/v1/fleet?customer_id=usr_1"))[0] == 404
    open_to_him = {one.path for one in parts.routes if one.roles is not None and Role.PROVIDER in one.roles}
    of_a_machine = [path.format(key="hw_1") for path in sorted(open_to_him) if path.startswith(OF_A_MACHINE)]
    assert {"/v1/machines/hw_1/health/verdict", "/v1/machines/hw_1/presence"} < set(of_a_machine)
    for path in of_a_machine:
        assert (await his.get(path))[0] == 200, path
        assert (await other.get(path))[0] == 404, path
    assert (await other.get("/v1/health/reasons"))[0] == 200
    for path in ("/v1/machines", "/v1/machines/hw_1", "/v1/users", "/v1/payments"):
        assert (await his.get(path))[1]["code"] == "forbidden"
