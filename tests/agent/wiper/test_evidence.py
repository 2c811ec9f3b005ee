"""What goes on record about a wipe: nothing forgotten over attempts, chained, and never too large to be delivered."""

import hashlib
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.wiper.blocks.treated import Treated
from agent.wiper.evidence import MAX_BYTES, MAX_NOTES, Machine, evidence
from agent.wiper.history import Known, read
from agent.wiper.journal import (
    Answered,
    AttemptEnded,
    AttemptStarted,
    Entry,
    Fact,
    OrderTaken,
    StepDone,
    StepIntended,
    TenantRecorded,
    Verified,
)
from agent.wiper.plan import PROMISED, promised
from agent.wiper.status import had_root
from agent.wiper.steps.home import COMPROMISE
from agent.wiper.tenant.accounts import Tenant
from shared.codec import encode
from shared.documents import (
    Attempt,
    Medium,
    Order,
    PlaceReport,
    Skipped,
    Target,
    Verification,
    WipeEvidence,
    WipeWork,
    sign,
    write,
)
from shared.documents import read as read_document
from shared.messages import MAX_MESSAGE_BYTES, Result
from shared.records import WipeMethod, WipeStatus
from tests.agent.wiper.harness import ENVELOPE, Platform, SimulatedWiper

AT = datetime(2026, 5, 1, tzinfo=UTC)
METHODS = tuple(WipeMethod)
TARGET = Target(username="alice", uid=1001, generation="g1")
ORDER = Order(
    aud="hw_1",
    command_id="c1",
    seq=1,
    work=WipeWork(target=TARGET, methods=METHODS),
    issued_at=AT,
    expires_at=AT,
    requested_by="somebody",
)
TENANT = Tenant(
    name="alice", uid=1001, home="/home/alice", generation="g1", booking_id=None, command_id="c0", granted_at=AT
)
MACHINE = Machine(simulated=False, agent_version="1", kernel="k", os="o", boot_id="b")
CLEAN = tuple(PlaceReport(name=name, state="clean") for name in promised(METHODS))
SCOPE = Verification(file_systems=2, inodes=9, skipped=(Skipped(what="nfs", count=1, reason="another's"),))
MEDIUM = Medium(file_system="ext4", device="8:1")


def known(*facts: Fact, answered: Fact | None = None) -> Known:
    return history(*facts).commands["c1"]


def history(*facts: Fact):
    taken = OrderTaken(command_id="c1", sha256="a" * 64, envelope=ENVELOPE, seq=1, kind="wipe", generation="g1")
    started = AttemptStarted(command_id="c1", boot_id="b")
    entries = (taken, started, *facts)
    return read(Entry(number=number, at=AT, fact=fact, chain="") for number, fact in enumerate(entries, 1))


def made(about: Known, **changes) -> WipeEvidence:
    given = {
        "tenant": TENANT,
        "previous_sha256": None,
        "findings": (),
        "policy_sha256": "e" * 64,
        "journal_sha256": "f" * 64,
        "ended_at": AT,
    }
    return evidence(ORDER, about, MACHINE, **(given | changes))


def test_a_finding_of_an_attempt_that_was_cut_off_is_in_the_evidence() -> None:
    """The second attempt no longer saw it; it is said, it costs the success, and re-imaging is recommended."""
    past = history(
        StepIntended(command_id="c1", step="home", found=3, findings=(COMPROMISE,)),
        AttemptStarted(command_id="c1", boot_id="b2"),
        StepIntended(command_id="c1", step="home", found=2),
        StepDone(command_id="c1", step="home", removed=2),
        Verified(command_id="c1", places=CLEAN, scope=SCOPE, media=(MEDIUM,)),
        AttemptEnded(command_id="c1"),
    )
    document = made(past.commands["c1"], findings=past.findings["g1"])
    assert document.findings == (COMPROMISE,)
    assert document.reimage_recommended
    assert {one.status for one in document.methods} == {WipeStatus.PARTIAL}
    assert (document.verification, document.media) == (SCOPE, (MEDIUM,))


def test_what_a_cut_off_attempt_overwrote_is_in_the_evidence() -> None:
    """The medium tells what all attempts did to its blocks, though only the last one was surveyed."""
    past = history(
        StepDone(command_id="c1", step="home", treated=(Treated(device="8:1", overwritten_bytes=7),)),
        AttemptStarted(command_id="c1", boot_id="b2"),
        StepDone(command_id="c1", step="home", treated=(Treated(device="8:1", overwritten_bytes=5),)),
        StepDone(command_id="c1", step="trim", treated=(Treated(device="8:1", trimmed_bytes=4096),)),
        Verified(command_id="c1", places=CLEAN, scope=SCOPE, media=(MEDIUM,)),
        AttemptEnded(command_id="c1"),
    )
    technique = "overwritten, unlinked, trimmed"
    expected = replace(MEDIUM, technique=technique, overwritten_bytes=12, trimmed_bytes=4096)
    assert made(past.commands["c1"]).media == (expected,)


@pytest.mark.parametrize(
    ("finding", "expected"),
    [
        (COMPROMISE, True),
        ("the tenant was in docker: he could become root", True),
        ("the tenant could become root by a rule of sudo or doas", True),
        ("the tenant's files lay on a rootless engine's volume", False),
        ("a snapshot holds the home", False),
    ],
)
def test_only_root_makes_reimaging_advisable(finding: str, expected: bool) -> None:
    """The findings of the steps, and doubts of another kind."""
    assert had_root((finding,)) is expected
    assert had_root(("something else", finding)) is expected


def test_without_findings_nothing_is_recommended() -> None:
    """A clean wipe of an ordinary tenant."""
    document = made(known(Verified(command_id="c1", places=CLEAN)))
    assert not document.reimage_recommended
    assert {one.status for one in document.methods} == {WipeStatus.SUCCESS}


def test_the_record_of_the_tenant_is_named_by_its_digest() -> None:
    """Only if it is the record of this generation; its content stays on the machine."""
    about = known(Verified(command_id="c1", places=CLEAN))
    digest = hashlib.sha256(msgspec.json.encode(TENANT, order="deterministic")).hexdigest()
    assert made(about).tenant_sha256 == digest
    assert made(about, tenant=replace(TENANT, key_blobs=("AAAA",))).tenant_sha256 not in {digest, None}
    assert made(about, tenant=replace(TENANT, generation="g2")).tenant_sha256 is None
    assert made(about, tenant=None).tenant_sha256 is None


def test_the_newest_certificate_is_the_one_to_follow() -> None:
    """Refusals and grants between two wipes are no certificates."""
    past = history(
        TenantRecorded(tenant=TENANT),
        Answered(command_id="c1", sha256="a", message=b"", certificate="1" * 64),
        Answered(command_id="c2", sha256="b", message=b""),
    )
    assert past.certificate == "1" * 64
    assert history().certificate is None


HOSTILE = st.text(st.sampled_from('a"\\\n\x00\u202e\U0001f4a9ä'), min_size=0, max_size=400)


@settings(max_examples=40)
@given(HOSTILE, st.integers(1, 300), st.integers(0, 60))
def test_no_evidence_is_too_large_to_be_delivered(words: str, attempts: int, findings: int) -> None:
    """However long a wipe's history and whatever its steps say, its result fits one message and can be read back."""
    notes = tuple(f"{number}{words}" for number in range(MAX_NOTES + 3))
    facts: list[Fact] = []
    for name in PROMISED[WipeMethod.USER_DELETION]:
        facts += [
            StepIntended(command_id="c1", step=name, found=10**12),
            StepDone(command_id="c1", step=name, removed=10**12, took_ms=10**9, notes=notes),
        ]
    reason = "".join(one for one in words if one != "\0")[:300]
    places = tuple(
        PlaceReport(name=one.name, state="residue", left=10**12, reason=reason.ljust(300, "\U0001f4a9"))
        for one in CLEAN
    )
    media = (replace(MEDIUM, model="\u00e4" * 300, name="x" * 80),) * 16
    scope = replace(SCOPE, skipped=(Skipped(what="y" * 80, count=1, reason="\u00e4" * 100),) * 16)
    about = known(*facts, Verified(command_id="c1", places=places, scope=scope, media=media))
    about = about._replace(attempts=tuple(Attempt(boot_id="b" * 36, started_at=AT) for _ in range(attempts)))
    document = made(about, findings=tuple(f"root {number} {words}" for number in range(findings)))
    assert len(write(document)) <= MAX_BYTES
    envelope = sign(document, Platform().key)
    assert read_document(envelope.payload, WipeEvidence) == document
    assert len(encode(Result(command_id="c1", envelope=envelope))) < MAX_MESSAGE_BYTES
    assert document.reimage_recommended is (findings > 0)
    assert {one.status for one in document.methods} == {WipeStatus.FAILED}


def test_each_certificate_of_a_machine_names_the_one_before(wiper: SimulatedWiper, platform: Platform) -> None:
    """Of any account; a grant between two wipes, a repeat of an order and a refusal are no links."""
    alice, bob = wiper.grant(platform.grant("alice")), wiper.grant(platform.grant("bob"))
    order = platform.wipe(alice)
    first = wiper.wipe(order)
    assert first.previous_sha256 is None
    assert wiper.wipe(order) == first
    wiper.grant(platform.grant("carol"))
    assert wiper.refusal(platform.wipe(replace(bob, generation="other"))) == "stale_account"
    second = wiper.wipe(platform.wipe(bob))
    assert second.previous_sha256 == hashlib.sha256(write(first)).hexdigest()
    third = wiper.wipe(platform.wipe(alice))
    assert third.previous_sha256 == hashlib.sha256(write(second)).hexdigest()
    assert third.tenant_sha256 == first.tenant_sha256 != second.tenant_sha256
