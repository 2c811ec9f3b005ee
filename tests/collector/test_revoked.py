"""What comes of an order to cut access: the verified outcome on the command's row, and nothing else; over both databases."""

import pytest
from msgspec.structs import replace

from collector.api.commands import view
from collector.benchmarks.judging import Judging
from collector.evidence import EvidenceStore
from collector.links.dispatch import State
from collector.results import Results
from collector.store import accounts, commands, records
from shared.codes import Code, Trouble
from shared.messages import Refused
from shared.records import DataWipe
from tests.collector.known import NOW
from tests.collector.wiping import AGENT, COLLECTOR, REVOKED, STRANGER, add_wiping_machine, result, wiped


@pytest.fixture
async def machine(database):
    """A database in which hw_1 is at work on cutting alice's access."""
    async with database.write() as conn:
        await add_wiping_machine(conn, 9, kind="access_revoke")
        account = {"hardware_id": "hw_1", "generation": "g1", "username": "alice", "uid": 1001, "booking_id": None}
        await accounts.record_grant(conn, **account, command_id="cmd_9", granted_at=NOW)
    return database


@pytest.fixture
def results(machine, tmp_path):
    return Results(machine, EvidenceStore((tmp_path / "evidence").as_uri()), COLLECTOR, lambda: NOW, Judging())


async def command(database):
    async with database.read() as conn:
        row = await commands.get(conn, "cmd_9")
    assert row is not None
    return view(row)


@pytest.mark.parametrize(("status", "state"), [("success", State.SUCCEEDED), ("failed", State.FAILED)])
async def test_the_outcome_stands_on_the_command(results, machine, status, state):
    """Its state by the outcome's status, and the document to be read."""
    await results.take("hw_1", result(replace(REVOKED, status=status, reasons=("keys: 1 left",))))
    row = await command(machine)
    assert row.state is state
    assert (row.outcome["status"], row.outcome["reasons"]) == (status, ["keys: 1 left"])


async def test_the_account_can_still_be_wiped(results, machine):
    """His data is kept, so it is no wipe: no record of one, and the account is the current one."""
    await results.take("hw_1", result(REVOKED))
    async with machine.read() as conn:
        assert await records.page(conn, DataWipe, {}, None, 100) == []
        assert (await accounts.current(conn, "hw_1", "alice")) is not None


@pytest.mark.parametrize("key", [AGENT, STRANGER])
async def test_only_the_wiper_can_say_that_access_is_cut(results, machine, key):
    """Neither the part that talks to the network nor anybody else."""
    with pytest.raises(Trouble) as caught:
        await results.take("hw_1", result(REVOKED, key))
    assert caught.value.code is Code.BAD_SIGNATURE
    assert (await command(machine)).state is State.ACCEPTED


async def test_evidence_of_a_wipe_does_not_end_it(results, machine):
    """Nor any outcome of another kind."""
    with pytest.raises(Trouble) as caught:
        await results.take("hw_1", result(wiped(9)))
    assert caught.value.code is Code.WRONG_DOCUMENT


async def test_an_outcome_for_another_order_is_not_taken(results, machine):
    """The digest of the order is part of what was signed."""
    with pytest.raises(Trouble) as caught:
        await results.take("hw_1", result(replace(REVOKED, order_sha256="0" * 64)))
    assert caught.value.code is Code.WRONG_DOCUMENT


async def test_a_refusal_is_no_failed_wipe(results, machine):
    """It stands on the command alone."""
    await results.refused("hw_1", Refused(command_id="cmd_9", code="stale_account", detail="gone"))
    row = await command(machine)
    assert (row.state, row.code) == (State.REFUSED, "stale_account")
    async with machine.read() as conn:
        assert await records.page(conn, DataWipe, {}, None, 100) == []
