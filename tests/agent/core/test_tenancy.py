"""Who is on the machine, by the agent's journal; and one measurement at a time."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from agent.exclusive import alone
from agent.journal import Entry, State
from agent.tenancy import make_way, tenants
from shared.codes import Code, Trouble
from shared.documents import (
    Attempt,
    Document,
    GrantOutcome,
    MethodResult,
    RevokeOutcome,
    Target,
    WipeEvidence,
    WorkFailure,
    sign,
)
from shared.messages import Result
from shared.records import WipeMethod, WipeStatus

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
KEY = Ed25519PrivateKey.from_private_bytes(b"w" * 32)
ANN, BOB = Target(username="ann", uid=1001, generation="g1"), Target(username="bob", uid=1002, generation="g2")
ABOUT = {"hardware_id": "hw_1", "command_id": "cmd_1", "order_sha256": "d" * 64}
GRANT = GrantOutcome(**ABOUT, booking_id=None, target=ANN, granted_at=NOW)
WIPE = WipeEvidence(
    **ABOUT,
    booking_id=None,
    requested_by="shop",
    target=ANN,
    simulated=False,
    agent_version="1",
    kernel="Linux",
    os="Debian",
    policy_sha256="",
    methods=(MethodResult(method=WipeMethod.HOME_DIRECTORY_PURGE, status=WipeStatus.PARTIAL),),
    places=(),
    attempts=(Attempt(boot_id="b", started_at=NOW, ended_at=NOW),),
    journal_sha256="f" * 64,
    started_at=NOW,
    ended_at=NOW + timedelta(seconds=5),
    limits=(),
)
FAILED = replace(WIPE, methods=(MethodResult(method=WipeMethod.USER_DELETION, status=WipeStatus.FAILED),))
REVOKED = RevokeOutcome(
    **ABOUT,
    booking_id=None,
    requested_by="shop",
    target=ANN,
    simulated=False,
    policy_sha256="",
    status="success",
    places=(),
    attempts=(),
    journal_sha256="f" * 64,
    started_at=NOW,
    ended_at=NOW,
)


def entry(kind: str, outcome: Document | None) -> Entry:
    envelope = sign(outcome or GRANT, KEY)
    answer = Result(command_id="cmd_1", envelope=envelope) if outcome else None
    state = State.ANSWERED if outcome else State.ACCEPTED
    return Entry(
        command_id="cmd_1",
        order_sha256="0" * 64,
        seq=1,
        kind=kind,
        envelope=envelope,
        state=state,
        attempts=1,
        answer=answer,
    )


GRANTED = entry("access_grant", GRANT)


@pytest.mark.parametrize(
    ("after", "there"),
    [
        ([], {"ann"}),
        ([entry("wipe", WIPE)], set()),
        ([entry("wipe", FAILED)], {"ann"}),
        ([entry("wipe", replace(WIPE, target=replace(ANN, generation="g0")))], {"ann"}),
        ([entry("access_revoke", REVOKED)], {"ann"}),
        ([entry("wipe", WorkFailure(**ABOUT, code="internal", detail="", failed_at=NOW))], {"ann"}),
        ([entry("access_grant", replace(GRANT, target=BOB)), entry("wipe", WIPE)], {"bob"}),
        ([entry("wipe", WIPE), GRANTED], {"ann"}),
    ],
)
def test_a_tenant_stays_from_the_grant_to_the_wipe(after, there):
    """A failed wipe, one of an earlier holder, or a cut access end no stay; a partial wipe does."""
    assert tenants([GRANTED, *after]) == there


@pytest.mark.parametrize("waiting", ["access_grant", "wipe", "access_revoke"])
def test_an_order_about_a_tenant_comes_before_any_measurement(waiting):
    """Also when nobody has access yet."""
    with pytest.raises(Trouble, match=waiting) as told:
        make_way([entry(waiting, None)])
    assert told.value.code is Code.BOOKED


def test_nothing_is_measured_while_a_tenant_has_access():
    """And it is when he is gone."""
    with pytest.raises(Trouble, match="ann has access") as told:
        make_way([GRANTED])
    assert told.value.code is Code.BOOKED
    make_way([GRANTED, entry("wipe", WIPE)])


async def test_two_measurements_never_run_at_once():
    """The second is told so, or waits; another machine's agent, here by its directory, is none of its business."""
    async with alone("/state/one"):
        with pytest.raises(Trouble) as told:
            async with alone("/state/one"):
                pass
        assert told.value.code is Code.BUSY
        async with alone("/state/two"):
            pass
        waits = asyncio.ensure_future(_enter("/state/one"))
        await asyncio.sleep(0.2)
        assert not waits.done()
    await asyncio.wait_for(waits, 5)


async def _enter(state_dir: str) -> None:
    async with alone(state_dir, wait_s=5):
        return
