"""What comes of a signed wipe: evidence first, then rows, then the receipt; over both databases."""

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace

from collector.benchmarks.judging import Judging
from collector.certificates import Trust, examine, parse
from collector.evidence import EvidenceStore
from collector.results import Results
from collector.store import audit, commands, records
from shared.codes import Code, Trouble
from shared.envelope import key_id
from shared.records import DataWipe
from tests.collector.known import NOW
from tests.collector.wiping import (
    AGENT,
    COLLECTOR,
    STRANGER,
    WIPER,
    add_wiping_machine,
    digest,
    public,
    result,
    wiped,
)

FIRST = wiped(1)
SECOND = wiped(2, digest(FIRST))
THIRD = wiped(3, digest(SECOND))


@pytest.fixture
async def machine(database):
    """A database in which hw_1 is at work on three wipes."""
    async with database.write() as conn:
        await add_wiping_machine(conn, 1, 2, 3)
    return database


@pytest.fixture
def store(tmp_path):
    return EvidenceStore((tmp_path / "evidence").as_uri())


@pytest.fixture
def results(machine, store):
    return Results(machine, store, COLLECTOR, lambda: NOW, Judging())


async def rows(database) -> dict[str, DataWipe]:
    async with database.read() as conn:
        return {row.command_id: row for row in await records.page(conn, DataWipe, {}, None, 100)}


async def gaps(database) -> list[str]:
    return [number for number, row in sorted((await rows(database)).items()) if row.chain_gap]


async def test_a_wipe_makes_rows_that_lead_to_a_countersigned_certificate(results, machine, store):
    """The row names the evidence's digest and its signer; the certificate holds with the collector's key alone."""
    await results.take("hw_1", result(replace(FIRST, reimage_recommended=True)))
    row = (await rows(machine))["cmd_1"]
    assert row.signed_by == key_id(public(WIPER))
    assert (row.previous_sha256, row.chain_gap, row.reimage_recommended) == (None, False, True)
    assert row.wipe_evidence_uri == f"{store.url}/hw_1/{row.evidence_sha256}.json"
    kept = parse(await store.fetch("hw_1", row.evidence_sha256))
    assert kept.evidence == result(replace(FIRST, reimage_recommended=True)).envelope
    found = examine(kept, collector_keys=[public(COLLECTOR)])
    assert (found.trust, found.receipt.received_at) == (Trust.COLLECTOR, NOW)


async def test_a_repeat_changes_nothing(machine, store):
    """Not even the time of receipt."""
    await Results(machine, store, COLLECTOR, lambda: NOW, Judging()).take("hw_1", result(FIRST))
    before = await store.fetch("hw_1", digest(FIRST))
    await Results(machine, store, COLLECTOR, lambda: NOW + timedelta(days=1), Judging()).take("hw_1", result(FIRST))
    assert await store.fetch("hw_1", digest(FIRST)) == before
    assert len(await rows(machine)) == 1


async def test_certificates_in_order_have_no_gap(results, machine):
    """Each follows the one before."""
    for one in (FIRST, SECOND, THIRD):
        await results.take("hw_1", result(one))
    assert (await gaps(machine), results.chain_gaps) == ([], 0)


async def test_a_missing_certificate_is_a_gap_on_the_record(results, machine, store):
    """What came is stored all the same; row, audit trail and figure tell of the gap."""
    await results.take("hw_1", result(FIRST))
    await results.take("hw_1", result(THIRD))
    assert (await gaps(machine), results.chain_gaps) == (["cmd_3"], 1)
    assert await store.fetch("hw_1", digest(THIRD))
    async with machine.read() as conn:
        (entry,) = [one for one in await audit.page(conn, 0, 100) if one["action"] == "chain gap"]
    assert (entry["actor"], entry["object"]) == (key_id(public(WIPER)), "cmd_3")
    assert digest(SECOND) in entry["after"]["reason"]


async def test_a_certificate_that_comes_late_closes_the_gap(results, machine):
    """The row is mended; the audit trail keeps that it was missing."""
    for one in (FIRST, THIRD, SECOND):
        await results.take("hw_1", result(one))
    assert (await gaps(machine), results.chain_gaps) == ([], 1)


async def test_a_journal_that_was_set_back_is_a_gap(results, machine):
    """Two certificates that follow the same one: the second to come is in doubt."""
    await results.take("hw_1", result(FIRST))
    await results.take("hw_1", result(SECOND))
    await results.take("hw_1", result(wiped(3, digest(FIRST))))
    assert await gaps(machine) == ["cmd_3"]
    assert results.chain_gaps == 1


async def test_a_second_beginning_is_a_gap(results, machine):
    """The wiper has its key still, but not its journal."""
    await results.take("hw_1", result(FIRST))
    await results.take("hw_1", result(wiped(2)))
    assert await gaps(machine) == ["cmd_2"]


@pytest.mark.parametrize("key", [AGENT, STRANGER])
async def test_only_the_wiper_can_say_what_a_wipe_did(results, machine, store, key):
    """Neither the part that talks to the network nor anybody else; nothing is stored."""
    with pytest.raises(Trouble) as caught:
        await results.take("hw_1", result(FIRST, key))
    assert caught.value.code is Code.BAD_SIGNATURE
    assert await rows(machine) == {}
    with pytest.raises(Trouble):
        await store.fetch("hw_1", digest(FIRST))


async def test_without_the_evidence_store_nothing_is_confirmed(results, machine, tmp_path):
    """The machine keeps its answer; once the store is back the same answer is taken."""
    blocked = tmp_path / "evidence" / "hw_1"
    blocked.write_bytes(b"")
    with pytest.raises(Trouble) as caught:
        await results.take("hw_1", result(FIRST))
    assert caught.value.code is Code.STORE_UNAVAILABLE
    assert await rows(machine) == {}
    async with machine.read() as conn:
        assert (await commands.get(conn, "cmd_1")).state == "accepted"
    blocked.unlink()
    await results.take("hw_1", result(FIRST))
    assert list(await rows(machine)) == ["cmd_1"]


async def test_the_same_answer_twice_at_once_makes_one_set_of_rows(results, machine):
    """As when a link breaks in the middle and the machine comes again at once."""
    await asyncio.gather(*(results.take("hw_1", result(FIRST)) for _ in range(4)))
    assert list(await rows(machine)) == ["cmd_1"]
    assert results.chain_gaps == 0
