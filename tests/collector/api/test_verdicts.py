"""Verdicts, events and reasons over REST, on both databases."""

from datetime import timedelta
from urllib.parse import quote

import pytest

from collector.store import audit, verdicts
from collector.verdict import HealthState, HealthVerdict, Reason
from collector.verdict.thresholds import THRESHOLDS
from tests.collector.known import NOW
from tests.collector.store.test_verdicts import an_event


async def test_a_verdict_is_shown_with_its_reasons(served, database):
    """Code, words and remedy of each; and before anything is known, unknown."""
    client = served("auditor")
    status, body = await client.get("/v1/machines/hw_1/health/verdict")
    assert (status, body["state"], body["reasons"], body["gpus_expected"]) == (200, "unknown", [], None)
    reason = Reason(code="disk_full", state=HealthState.DEGRADED, words="95 % used", item="/", remedy="free space")
    async with database.write() as conn:
        await verdicts.keep(
            conn, [HealthVerdict(hardware_id="hw_1", state=HealthState.DEGRADED, since=NOW, reasons=(reason,))], []
        )
    status, body = await client.get("/v1/machines/hw_1/health/verdict")
    assert (status, body["state"], body["since"]) == (200, "degraded", "2026-05-01T12:00:00Z")
    assert body["reasons"] == [
        {
            "code": "disk_full",
            "state": "degraded",
            "words": "95 % used",
            "item": "/",
            "remedy": "free space",
            "shadow": False,
            "since": None,
        }
    ]


async def test_events_come_in_pages_and_can_be_narrowed(served, database):
    """Every event once, the newest first."""
    client = served("auditor")
    async with database.write() as conn:
        await verdicts.keep(conn, [], [an_event(number) for number in range(7)])
        await verdicts.keep(conn, [], [an_event(9, code="health", item="")])
    seen, path = [], "/v1/machines/hw_1/events?limit=3"
    cursor = ""
    while cursor is not None:
        status, body = await client.get(path + (f"&cursor={cursor}" if cursor else ""))
        assert status == 200
        seen += [item["words"] for item in body["items"]]
        cursor = body["next"]
    assert seen == [f"seen for the {number}. time" for number in (9, 6, 5, 4, 3, 2, 1, 0)]
    body = (await client.get("/v1/machines/hw_1/events?code=health"))[1]
    assert [item["to_state"] for item in body["items"]] == ["degraded"]
    since = quote((NOW + timedelta(minutes=6)).isoformat())
    assert len((await client.get(f"/v1/machines/hw_1/events?since={since}"))[1]["items"]) == 2


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/machines/hw_0/health/verdict", 404, "not_found"),
        ("/v1/machines/hw_0/events", 404, "not_found"),
        ("/v1/machines/hw_1/events?limit=0", 400, "invalid"),
        ("/v1/machines/hw_1/events?cursor=x", 400, "invalid"),
        ("/v1/machines/hw_1/events?since=yesterday", 400, "invalid"),
        ("/v1/machines/hw_1/events?since=2026-05-01T12:00:00", 400, "invalid"),
        ("/v1/machines/hw_1/events?sort=code", 400, "invalid"),
        ("/v1/machines/hw_1/events?code=%00", 400, "invalid"),
    ],
)
async def test_what_cannot_be_asked_is_explained(served, path, status, code):
    """With a stable code."""
    found, problem = await served("auditor").get(path)
    assert (found, problem["code"]) == (status, code)


async def test_the_catalogue_has_every_reason(served):
    """With its limits, source and remedy, and whether it counts."""
    status, body = await served("auditor").get("/v1/health/reasons")
    assert status == 200
    assert [item["code"] for item in body["items"]] == [one.code for one in THRESHOLDS]
    (full,) = [item for item in body["items"] if item["code"] == "disk_full"]
    assert (full["degraded"], full["unhealthy"], full["hold_s"], full["shadow"]) == (95.0, 97.0, 600.0, False)
    assert full["source"]
    assert full["remedy"]


async def test_only_an_admin_says_how_many_gpus_there_are(served, database):
    """The change is on the audit trail; a number that cannot be is refused."""
    path, admin = "/v1/machines/hw_1/gpus_expected", served("admin")
    assert (await served("platform").put(path, {"gpus_expected": 7}))[0] == 403
    status, body = await admin.put(path, {"gpus_expected": 7})
    assert (status, body["gpus_expected"]) == (200, 7)
    assert (await admin.get("/v1/machines/hw_1/health/verdict"))[1]["gpus_expected"] == 7
    for wrong in ({"gpus_expected": 65}, {"gpus_expected": -1}, {"gpus": 7}, {}):
        assert (await admin.put(path, wrong))[0] == 400
    assert (await admin.put("/v1/machines/hw_0/gpus_expected", {"gpus_expected": 7}))[0] == 404
    async with database.read() as conn:
        (entry,) = await audit.page(conn, 0, 10)
    assert (entry["action"], entry["before"], entry["after"]) == (
        "expect GPUs",
        {"gpus_expected": None},
        {"gpus_expected": 7},
    )
