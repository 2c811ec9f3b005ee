"""The proof behind a wipe, over REST: the document, the page, the keys, and who may see them."""

import json

import obstore
import pytest
from msgspec.structs import replace

from collector import keyring
from collector.benchmarks.judging import Judging
from collector.certificates import Trust, examine, parse
from collector.config import Settings
from collector.evidence import EvidenceStore
from collector.results import Results
from shared.documents import Target
from shared.envelope import key_id
from shared.records import DataWipe
from tests.collector.known import NOW
from tests.collector.wiping import EVIDENCE, WIPER, add_wiping_machine, digest, public, result

HOSTILE = "<script>alert(1)</script>\"' onload=x &amp; \u202egnp.exe"
WIPED = replace(
    EVIDENCE,
    hardware_id="hw_w",
    os=HOSTILE,
    requested_by=HOSTILE,
    target=Target(username=HOSTILE, uid=1001, generation="g"),
    findings=(HOSTILE,),
    limits=(HOSTILE,),
)


@pytest.fixture
async def wipe_id(served, database, tmp_path):
    """A wipe whose certificate is in the collector's own store."""
    async with database.write() as conn:
        await add_wiping_machine(conn, 1, hardware_id="hw_w")
    store = EvidenceStore(Settings(data_dir=str(tmp_path)).evidence_url)
    keys = keyring.load_or_create(tmp_path / "keys")
    await Results(database, store, keys.link, lambda: NOW, Judging()).take("hw_w", result(WIPED))
    _, page = await served().get("/v1/data_wipes?hardware_id=hw_w")
    (row,) = page["items"]
    return row["wipe_id"]


@pytest.mark.parametrize("role", ["admin", "platform", "auditor"])
async def test_whoever_sees_a_wipe_sees_its_proof(served, wipe_id, role):
    """Every role that reads; the keys it gives are enough to check the document elsewhere."""
    client = served(role)
    status, document = await client.get(f"/v1/data_wipes/{wipe_id}/evidence")
    assert status == 200
    _, collector = await client.get("/v1/collector_key")
    _, machine = await client.get("/v1/machines/hw_w/keys")
    (wiper,) = [one for one in machine["items"] if one["role"] == "wiper"]
    assert (wiper["key_id"], wiper["revoked_at"]) == (key_id(public(WIPER)), None)
    certificate = parse(json.dumps(document).encode())
    found = examine(certificate, [bytes.fromhex(wiper["public_key"])], [bytes.fromhex(collector["public_key"])])
    assert (found.trust, found.countersigned, found.evidence) == (Trust.MACHINE, True, WIPED)


@pytest.mark.parametrize("path", ["/v1/data_wipes/{}/evidence", "/v1/data_wipes/{}/certificate"])
async def test_a_stranger_sees_neither(served, wipe_id, path):
    """A token is needed."""
    status, problem = await served().ask("GET", path.format(wipe_id), Authorization="Bearer rps_x_y")
    assert (status, problem["code"]) == (401, "unauthenticated")


async def test_the_page_shows_hostile_text_and_does_nothing_else(served, wipe_id):
    """No tag, attribute or direction of the writing comes from the document; the policy allows one style sheet only."""
    client = served("auditor")
    path = f"/v1/data_wipes/{wipe_id}/certificate"
    async with client._http.get(path, headers=client._headers) as response:
        text, headers = await response.text(), response.headers
    assert response.status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "<script" not in text
    assert "\u202e" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27; onload=x &amp;amp; \\u202egnp.exe") >= 5


async def test_what_was_changed_in_the_store_is_not_shown_as_proof(served, wipe_id, tmp_path):
    """Neither evidence with another's receipt, nor nothing."""
    store = EvidenceStore(Settings(data_dir=str(tmp_path)).evidence_url)
    path = f"hw_w/{digest(WIPED)}.json"
    raw = await store.fetch("hw_w", digest(WIPED))
    document = json.loads(raw)
    document["evidence"]["signatures"][0]["sig"] = document["receipt"]["signatures"][0]["sig"]
    await obstore.put_async(store._store, path, json.dumps(document).encode())
    status, problem = await served().get(f"/v1/data_wipes/{wipe_id}/certificate")
    assert (status, problem["code"]) == (503, "store_unavailable")
    assert "bad_signature" in problem["detail"]
    await obstore.put_async(store._store, path, b"")
    assert (await served().get(f"/v1/data_wipes/{wipe_id}/evidence"))[1]["code"] == "store_unavailable"


async def test_a_wipe_without_evidence_has_no_page(served, database):
    """As little as one that never was."""
    assert (await served().get("/v1/data_wipes/wip_0/certificate"))[1]["code"] == "not_found"
    assert (await served().get("/v1/machines/hw_0/keys"))[1]["code"] == "not_found"


async def test_gaps_are_a_figure(served):
    """A counter that starts at none."""
    _, text = await served().get("/metrics")
    assert "rackproof_evidence_chain_gaps_total 0.0" in text


def test_the_rows_say_what_an_operator_must_know_without_opening_the_evidence():
    """Who signed, what came before, whether that is here, and whether the machine should be installed anew."""
    assert {"signed_by", "previous_sha256", "chain_gap", "reimage_recommended"} <= set(DataWipe.__struct_fields__)
