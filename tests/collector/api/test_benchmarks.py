"""Benchmarks over REST: an admin's decisions, and figures beside others; over both databases."""

from datetime import timedelta

import pytest
from msgspec import structs

from collector.challenges import Mode
from collector.store import audit
from tests.collector.measuring import Site, cpu, disk


@pytest.fixture
async def site(database, served, tmp_path):
    """A collector in which hw_c and hw_d were measured, hw_d by a cheater; `served` asks it."""
    made = Site(database, tmp_path, Mode.OFF)
    await made.add("hw_c", "hw_d")
    made.honest = await made.run(cpu(), hardware_id="hw_c")
    made.odd = await made.run(disk(packed=0.01), hardware_id="hw_d")
    return made


async def decide(served, row, role: str = "admin", **body):
    return await served(role).ask("POST", f"/v1/benchmarks/{row.benchmark_id}/verification", body)


async def test_an_admin_approves_and_says_so_again(site, served, database):
    """Who and when stand in the record, what was before in the audit trail."""
    status, row = await decide(served, site.honest, decision="approved")
    assert (status, row["admin_verification_status"], row["verified_by"]) == (200, "approved", "admin")
    assert row["verified_at"] is not None
    status, row = await decide(served, site.honest, decision="rejected", reason="measured in a cold room")
    assert (status, row["admin_verification_status"]) == (200, "rejected")
    assert row["rejection_reason"] == "measured in a cold room"
    status, row = await decide(served, site.honest, decision="approved")
    assert row["rejection_reason"] is None
    async with database.read() as conn:
        entries = [one for one in await audit.page(conn, 0, 100) if one["object"] == site.honest.benchmark_id]
    assert [one["action"] for one in entries] == ["approved benchmark", "rejected benchmark", "approved benchmark"]
    assert entries[1]["before"]["admin_verification_status"] == "approved"
    assert entries[1]["after"]["reason"] == "measured in a cold room"


async def test_a_rejection_needs_a_reason(site, served):
    """The provider sees it."""
    for reason in ({}, {"reason": "  "}):
        status, problem = await decide(served, site.honest, decision="rejected", **reason)
        assert (status, problem["code"]) == (400, "invalid")


async def test_flags_are_passed_over_only_by_saying_so(site, served):
    """The problem names them."""
    status, problem = await decide(served, site.odd, decision="approved")
    assert (status, problem["code"]) == (409, "conflict")
    assert "compressible" in problem["detail"]
    status, row = await decide(served, site.odd, decision="approved", despite_flags=True)
    assert (status, row["admin_verification_status"], row["flagged"]) == (200, "approved", True)
    assert {one["code"] for one in row["flags"]} == {"compressible"}


@pytest.mark.parametrize("role", ["platform", "auditor"])
async def test_only_an_admin_decides(site, served, role):
    """Others read."""
    assert (await decide(served, site.honest, role, decision="approved"))[0] == 403
    body = {"benchmark_ids": [site.honest.benchmark_id], "decision": "approved"}
    assert (await served(role).ask("POST", "/v1/benchmarks/verifications", body))[0] == 403
    assert (await served(role).get(f"/v1/benchmarks/{site.honest.benchmark_id}/standing"))[0] == 200


async def test_several_are_decided_at_once_each_with_its_result(site, served):
    """One that cannot be does not keep the others from it."""
    ids = [site.honest.benchmark_id, site.odd.benchmark_id, "bmk_0", site.honest.benchmark_id]
    body = {"benchmark_ids": ids, "decision": "approved"}
    status, answer = await served("admin").ask("POST", "/v1/benchmarks/verifications", body)
    assert status == 200
    found = [(one["benchmark_id"], one["admin_verification_status"], one["code"]) for one in answer["items"]]
    assert found == [(ids[0], "approved", None), (ids[1], None, "conflict"), ("bmk_0", None, "not_found")]
    assert (await served().get(f"/v1/benchmarks/{ids[0]}"))[1]["admin_verification_status"] == "approved"
    status, _ = await served("admin").ask(
        "POST", "/v1/benchmarks/verifications", body | {"benchmark_ids": ["bmk_0"] * 201}
    )
    assert status == 400


async def test_the_queue_is_what_is_pending(site, served):
    """With flags or without, the newest first when asked; a filter that is neither true nor false is refused."""
    path = "/v1/benchmarks?admin_verification_status=pending"

    async def ids(more: str = "") -> list[str]:
        return [one["benchmark_id"] for one in (await served().get(path + more))[1]["items"]]

    assert await ids() == [site.honest.benchmark_id, site.odd.benchmark_id]
    assert await ids("&flagged=true") == [site.odd.benchmark_id]
    assert await ids("&flagged=false") == [site.honest.benchmark_id]
    assert await ids("&reverse=true") == [site.odd.benchmark_id, site.honest.benchmark_id]
    _, page = await served().get(f"{path}&reverse=true&limit=1")
    assert await ids(f"&reverse=true&cursor={page['next']}") == [site.honest.benchmark_id]
    await decide(served, site.honest, decision="approved")
    assert await ids() == [site.odd.benchmark_id]
    for wrong in ("&flagged=yes", "&reverse=1"):
        assert (await served().get(path + wrong))[1]["code"] == "invalid"


async def test_a_benchmark_stands_among_its_model_s(site, served):
    """Percentile with n, flags, and what changed since the machine's run before."""
    await site.fleet(3, lambda n: cpu(8000.111 + 20 * n, 1000.222 + n))
    later = await site.run(cpu(8935.795, 1015.9, threads=16), hardware_id="hw_c")
    status, stand = await served().get(f"/v1/benchmarks/{later.benchmark_id}/standing")
    assert status == 200
    (score,) = [one for one in stand["figures"] if one["figure"] == "cpu_score"]
    assert (score["n"], score["percentile"], score["median"]) == (4, 87.5, 8020.111)
    assert (score["model"], score["method_version"]) == ("AMD EPYC 9354", "cpu/1")
    assert stand["previous"] == site.honest.benchmark_id
    changes = {one["figure"]: one["percent"] for one in stand["since_previous"]}
    assert changes == {"cpu_score": 10.0, "cpu_score_single": 0.01}


async def test_what_is_rejected_is_no_longer_compared_with(site, served):
    """And what is approved despite its flags is."""
    await site.fleet(2, lambda n: disk(3000.111 + n, 2000.333 + n))
    (peer,) = (await served().get("/v1/benchmarks?hardware_id=hw_f0"))[1]["items"]
    path = f"/v1/benchmarks/{site.odd.benchmark_id}/standing"

    async def n() -> int:
        return (await served().get(path))[1]["figures"][0]["n"]

    assert await n() == 3
    await served("admin").ask(
        "POST", f"/v1/benchmarks/{peer['benchmark_id']}/verification", {"decision": "rejected", "reason": "x"}
    )
    assert await n() == 2
    other = f"/v1/benchmarks/{(await served().get('/v1/benchmarks?hardware_id=hw_f1'))[1]['items'][0]['benchmark_id']}"
    assert (await served().get(other + "/standing"))[1]["figures"][0]["n"] == 1
    await decide(served, site.odd, decision="approved", despite_flags=True)
    assert (await served().get(other + "/standing"))[1]["figures"][0]["n"] == 2


async def test_two_runs_are_compared(site, served):
    """Only within a method version, and with a run that exists."""
    part = structs.replace(cpu(8935.795), method_version="cpu/2")
    later = await site.run(part, hardware_id="hw_c")
    path = f"/v1/benchmarks/{later.benchmark_id}/comparison"
    status, found = await served().get(f"{path}?with={site.honest.benchmark_id}")
    assert (status, found["before"], found["after"]) == (200, site.honest.benchmark_id, later.benchmark_id)
    assert found["figures"][0]["percent"] is None
    assert found["figures"][0]["reason"] == "cpu/1 and cpu/2 are not compared"
    assert (await served().get(f"{path}?with=bmk_0"))[0] == 404
    assert (await served().get(path))[0] == 404


async def test_a_machine_has_a_history(site, served):
    """Every point with its version and status, newest first; months with their change since the first."""
    site.now += timedelta(days=31)
    later = await site.run(cpu(8935.795, 1015.9), hardware_id="hw_c")
    await decide(served, later, decision="approved")
    status, found = await served().get("/v1/machines/hw_c/benchmark_history?figure=cpu_score")
    assert status == 200
    points = [(one["value"], one["admin_verification_status"], one["flagged"]) for one in found["points"]]
    assert points == [(8935.795, "approved", False), (8123.45, "pending", False)]
    assert [(one["month"], one["n"], one["percent"]) for one in found["trend"]] == [
        ("2026-05", 1, 0.0),
        ("2026-06", 1, 10.0),
    ]
    assert (await served().get("/v1/machines/hw_c/benchmark_history?figure=joy"))[1]["code"] == "invalid"
    assert (await served().get("/v1/machines/hw_0/benchmark_history?figure=cpu_score"))[0] == 404


async def test_a_short_look_has_no_place_beside_others(site, served):
    """It is in the record, and nowhere in a history or a comparison."""
    order, envelope = await site.order("hw_c", names="cpu", quick=True)
    quick = await site.take(site.outcome(order, envelope, cpu(100.5)))
    stand = (await served().get(f"/v1/benchmarks/{quick.benchmark_id}/standing"))[1]
    assert (stand["figures"], stand["previous"], stand["since_previous"]) == ([], None, [])
    history = (await served().get("/v1/machines/hw_c/benchmark_history?figure=cpu_score"))[1]
    assert [one["value"] for one in history["points"]] == [8123.45]


async def test_a_booked_machine_is_not_measured(served):
    """409 with its code, and nothing queued."""
    listing = {
        "listing_id": "lst_1",
        "hardware_id": "hw_1",
        "price_hour": 1.0,
        "price_day": 1.0,
        "price_week": 1.0,
        "currency": "EUR",
        "created_at": "2026-05-01T12:00:00Z",
        "updated_at": "2026-05-01T12:00:00Z",
    }
    booking = {
        "booking_id": "bkg_1",
        "listing_id": "lst_1",
        "hardware_id": "hw_1",
        "buyer_id": "usr_buyer",
        "start_timestamp": "2026-05-01T12:00:00Z",
        "end_timestamp": "2026-05-02T12:00:00Z",
        "created_at": "2026-05-01T12:00:00Z",
        "booking_status": "active",
    }
    await served().put("/v1/listings/lst_1", listing)
    await served().put("/v1/bookings/bkg_1", booking)
    body = {"kind": "benchmark", "hardware_id": "hw_1", "components": ["cpu"]}
    status, problem = await served().ask("POST", "/v1/commands", body)
    assert (status, problem["code"]) == (409, "booked")
    assert (await served().get("/v1/commands"))[1]["items"] == []
