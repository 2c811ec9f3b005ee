"""REST over both databases: what is put is got, what is wrong is explained, and the document describes it."""

import asyncio
import json

import msgspec
import pytest
from openapi_spec_validator import validate

from collector.cli.describing import openapi_text
from collector.store import accounts, audit, commands
from shared.documents import Order, RevokeWork, Target, read
from shared.envelope import Envelope
from tests.collector.known import NOW

LISTING = {
    "listing_id": "lst_1",
    "hardware_id": "hw_1",
    "price_hour": 1.5,
    "price_day": 30.0,
    "price_week": 180.25,
    "currency": "EUR",
    "status": "active",
    "created_at": "2026-05-01T12:00:00Z",
    "updated_at": "2026-05-01T12:00:00Z",
}
BOOKING = {
    "booking_id": "bkg_1",
    "listing_id": "lst_1",
    "hardware_id": "hw_1",
    "buyer_id": "usr_buyer",
    "start_timestamp": "2026-05-01T12:00:00Z",
    "end_timestamp": "2026-05-02T12:00:00Z",
    "created_at": "2026-05-01T12:00:00Z",
    "booking_status": "pending",
    "tenant_username": "tenant",
    "tenant_ssh_keys": ["ssh-ed25519 AAAA x"],
}
PAYMENT = {
    "payment_id": "pay_1",
    "booking_id": "bkg_1",
    "hardware_id": "hw_1",
    "payer_id": "usr_buyer",
    "provider_id": "usr_1",
    "amount_total": "36.10",
    "currency": "EUR",
    "payment_status": "paid",
    "timestamp": "2026-05-01T12:00:00Z",
    "invoice_number": None,
}
USER = {
    "customer_id": "usr_2",
    "email": "two@example.com",
    "organization_name": "Zwei GmbH <script>",
    "is_billing_account": True,
    "signup_date": "2026-05-01T12:00:00Z",
}


async def test_what_is_put_is_got_and_listed(served):
    """201 for a new record, 200 for a replaced one, the same JSON back, and a list with filters."""
    platform = served()
    for path, body in (
        ("/v1/users/usr_2", USER),
        ("/v1/listings/lst_1", LISTING),
        ("/v1/bookings/bkg_1", BOOKING),
        ("/v1/payments/pay_1", PAYMENT),
    ):
        assert await platform.put(path, body) == (201, body)
        assert await platform.put(path, body) == (200, body)
        assert await platform.get(path) == (200, body)
    assert await platform.get("/v1/bookings?booking_status=pending&hardware_id=hw_1") == (
        200,
        {"items": [BOOKING], "next": None},
    )
    assert (await platform.get("/v1/bookings?booking_status=active"))[1]["items"] == []
    status, machine = await platform.get("/v1/machines/hw_1")
    assert (status, machine["customer_id"], machine["provider_agent_status"]) == (200, "usr_1", "offline")
    for path in ("/v1/machines", "/v1/benchmarks", "/v1/data_wipes"):
        assert (await platform.get(path))[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "words"),
    [
        ("/v1/users/usr_2", USER | {"email": "nobody"}, 400, "invalid", "$.email"),
        ("/v1/users/usr_2", USER | {"organisation_name": "x"}, 400, "invalid", "organisation_name"),
        ("/v1/users/usr_3", USER, 400, "invalid", "$.customer_id"),
        ("/v1/users/usr_2", USER | {"signup_date": "2026-05-01T12:00:00"}, 400, "invalid", "signup_date"),
        ("/v1/users/usr_2", USER | {"organization_name": "a\u0000b"}, 400, "invalid", "organization_name"),
        ("/v1/users/usr_2", USER | {"email": "one@example.com"}, 409, "conflict", "email"),
        ("/v1/users/..%2fetc", USER, 404, "not_found", "key"),
        ("/v1/listings/lst_1", LISTING | {"hardware_id": "hw_0"}, 409, "reference_missing", "refers to"),
        ("/v1/listings/lst_1", LISTING | {"currency": "euro"}, 400, "invalid", "$.currency"),
        ("/v1/listings/lst_1", LISTING | {"status": "gone"}, 400, "invalid", "$.status"),
        ("/v1/listings/lst_1", LISTING | {"price_hour": -1}, 400, "invalid", "$.price_hour"),
        ("/v1/bookings/bkg_1", BOOKING, 409, "reference_missing", "refers to"),
        ("/v1/bookings/bkg_1", BOOKING | {"tenant_username": "../x"}, 400, "invalid", "$.tenant_username"),
    ],
)
async def test_a_bad_record_is_explained_and_not_stored(served, path, body, status, code, words):
    """The stable code, and words that name the place of the fault."""
    platform = served()
    found, problem = await platform.put(path, body)
    assert (found, problem["code"]) == (status, code)
    assert words in problem["detail"]
    assert "SELECT" not in str(problem)
    assert "INSERT" not in str(problem)
    assert (await platform.get("/v1/users/usr_2"))[0] == 404


async def test_keys_kept_twice_must_agree(served):
    """A booking's machine is its listing's, a payment's its booking's; the words name all three."""
    platform = served("admin")
    await platform.put("/v1/listings/lst_1", LISTING)
    status, problem = await platform.put("/v1/bookings/bkg_1", BOOKING | {"hardware_id": "hw_2"})
    assert (status, problem["code"]) == (409, "conflict")
    assert problem["detail"] == "listing lst_1 belongs to machine hw_1, not hw_2"
    await platform.put("/v1/bookings/bkg_1", BOOKING)
    status, problem = await platform.put("/v1/payments/pay_1", PAYMENT | {"hardware_id": "hw_2"})
    assert (status, problem["detail"]) == (409, "booking bkg_1 is for machine hw_1, not hw_2")


@pytest.mark.parametrize("amount", [True, "36.1000001", "1e30", "NaN", "", "x"])
async def test_money_that_is_not_exact_is_refused(served, amount):
    """Too many places, too large, not a number."""
    platform = served()
    await platform.put("/v1/listings/lst_1", LISTING)
    await platform.put("/v1/bookings/bkg_1", BOOKING)
    status, problem = await platform.put("/v1/payments/pay_1", PAYMENT | {"amount_total": amount})
    assert (status, problem["code"]) == (400, "invalid")


async def test_lists_are_paged_by_cursor(served):
    """Every row once, the last page without a next."""
    platform = served()
    for number in range(5):
        await platform.put(
            f"/v1/users/usr_p{number}", USER | {"customer_id": f"usr_p{number}", "email": f"{number}@x.y"}
        )
    seen, path = [], "/v1/users?limit=2"
    while path:
        _, page = await platform.get(path)
        seen += [one["customer_id"] for one in page["items"]]
        path = f"/v1/users?limit=2&cursor={page['next']}" if page["next"] else ""
    assert seen == sorted(seen)
    assert len(seen) == len(set(seen)) == 7


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "limit=501", "limit=%D9%A3", "cursor=%25", "cursor=abc", "colour=red"]
)
async def test_a_bad_query_is_explained(served, query):
    """An unknown filter is an error, not a longer list."""
    status, problem = await served().get(f"/v1/users?{query}")
    assert (status, problem["code"]) == (400, "invalid")


async def test_roles_are_kept(served):
    """An auditor reads, a platform writes what it owns, an admin revokes."""
    assert (await served("auditor").put("/v1/users/usr_2", USER))[1]["code"] == "forbidden"
    assert (await served("platform").ask("POST", "/v1/machines/hw_1/revoke"))[1]["code"] == "forbidden"
    assert (await served("admin").ask("POST", "/v1/machines/hw_1/revoke"))[0] == 200
    assert (await served("auditor").ask("DELETE", "/v1/users/usr_1"))[1]["code"] == "method_not_allowed"
    assert (await served("auditor").get("/v1/nothing"))[1]["code"] == "not_found"


@pytest.mark.parametrize("token", ["", "x", "rps_", "rps__", "rps_a_b", "\u00e9", "rps_\u00e9_\u00ff", "a" * 8000])
async def test_a_token_that_is_none_is_refused(served, token):
    """Whatever bytes a stranger sends as one."""
    status, problem = await served().ask("GET", "/v1/users", Authorization=f"Bearer {token}")
    assert (status, problem["code"]) == (401, "unauthenticated")


async def test_every_answer_has_a_request_id(served):
    """A problem names the id under which the log has more."""
    _, problem = await served().get("/v1/users/usr_0")
    assert problem["request_id"].startswith("req_")


async def test_a_key_makes_one_command_of_many_requests(served):
    """At once or later, each gets the same answer; another request under the same key is refused."""
    platform = served()
    body = {"kind": "benchmark", "hardware_id": "hw_1", "components": ["disk"]}
    key = {"Idempotency-Key": "order-7"}
    answers = await asyncio.gather(*(platform.ask("POST", "/v1/commands", body, **key) for _ in range(5)))
    assert {status for status, _ in answers} == {202}
    assert all(answer == answers[0] for answer in answers)
    assert len((await platform.get("/v1/commands"))[1]["items"]) == 1
    status, problem = await platform.ask("POST", "/v1/commands", body | {"quick": True}, **key)
    assert (status, problem["code"]) == (409, "idempotency_mismatch")


async def test_an_answer_with_a_secret_is_not_kept(served):
    """The store knows digests of tokens only: a kept answer would hold one in the clear."""
    body, key = {"customer_id": "usr_1"}, {"Idempotency-Key": "token-1"}
    status, problem = await served().ask("POST", "/v1/enrollment_tokens", body, **key)
    assert (status, problem["code"]) == (400, "invalid")
    assert (await served().ask("POST", "/v1/enrollment_tokens", body))[0] == 201


async def test_a_failed_request_does_not_use_its_key_up(served):
    """What was wrong can be put right under the same key."""
    platform = served()
    body = {"kind": "wipe", "hardware_id": "hw_1", "username": "nobody", "methods": ["home_directory_purge"]}
    key = {"Idempotency-Key": "order-8"}
    status, problem = await platform.ask("POST", "/v1/commands", body, **key)
    assert (status, problem["code"]) == (409, "unknown_account")
    right = {"kind": "benchmark", "hardware_id": "hw_1", "components": ["disk"]}
    assert (await platform.ask("POST", "/v1/commands", right, **key))[0] == 202


async def test_access_is_revoked_by_the_account_s_name(served, database):
    """The signed order means the account granted last under it; without one it is 409 with its code."""
    platform = served()
    body = {"kind": "access_revoke", "hardware_id": "hw_1", "username": "alice"}
    status, problem = await platform.ask("POST", "/v1/commands", body)
    assert (status, problem["code"]) == (409, "unknown_account")
    granted = (await platform.ask("POST", "/v1/commands", body | {"kind": "access_grant"}))[1]
    async with database.write() as conn:
        account = {"hardware_id": "hw_1", "generation": "g7", "username": "alice", "uid": 1001, "booking_id": None}
        await accounts.record_grant(conn, **account, command_id=granted["command_id"], granted_at=NOW)
    status, queued = await platform.ask("POST", "/v1/commands", body)
    assert (status, queued["kind"], queued["state"]) == (202, "access_revoke", "queued")
    async with database.read() as conn:
        row = await commands.get(conn, queued["command_id"])
    order = read(msgspec.json.decode(row.envelope, type=Envelope).payload, Order)
    assert order.work == RevokeWork(target=Target(username="alice", uid=1001, generation="g7"))
    assert (await platform.ask("POST", "/v1/commands", body | {"methods": ["user_deletion"]}))[0] in {400, 422}
    assert (await served("auditor").ask("POST", "/v1/commands", body))[0] == 403


async def test_writes_are_in_the_audit_trail(served, database):
    """Who, as what, and what it was before and after."""
    await served().put("/v1/users/usr_2", USER)
    await served().put("/v1/users/usr_2", USER | {"is_billing_account": False})
    async with database.read() as conn:
        entries = [one for one in await audit.page(conn, 0, 100) if one["action"] == "put User"]
    assert [(one["role"], one["object"]) for one in entries] == [("platform", "usr_2")] * 2
    assert (entries[1]["before"]["is_billing_account"], entries[1]["after"]["is_billing_account"]) == (True, False)


async def test_the_evidence_of_a_wipe_that_left_none_is_not_found(served):
    """No address is ever followed for it."""
    assert (await served().get("/v1/data_wipes/wip_0/evidence"))[1]["code"] == "not_found"


async def test_metrics_are_prometheus_text(served):
    """Every sample has a help line, and counters end in _total."""
    status, text = await served().get("/metrics")
    assert status == 200
    assert 'rackproof_machines{presence="never"}' in text
    assert "# TYPE rackproof_reports_committed_total counter" in text


def test_the_openapi_document_is_valid_and_whole():
    """It validates as OpenAPI 3.1 and has every route of the seven records."""
    described = json.loads(openapi_text())
    validate(described)
    for name in ("users", "machines", "listings", "bookings", "benchmarks", "payments", "data_wipes"):
        assert "get" in described["paths"][f"/v1/{name}"]
        assert "get" in described["paths"][f"/v1/{name}/{{key}}"]
    assert "put" in described["paths"]["/v1/bookings/{key}"]
    assert "put" not in described["paths"]["/v1/machines/{key}"]
    assert set(described["components"]["schemas"]["Booking"]["properties"]) >= set(BOOKING)
