"""A machine that wipes: its keys, its evidence, and orders it has taken."""

from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from collector.certificates import countersign
from collector.store import commands
from collector.store.commands import CommandRow
from shared.documents import (
    Attempt,
    MethodResult,
    PlaceReport,
    RevokeOutcome,
    Skipped,
    Target,
    Verification,
    WipeEvidence,
    sha256_of,
    sign,
)
from shared.messages import Result
from shared.records import WipeMethod, WipeStatus
from tests.collector.known import NOW, add_machine

WIPER = Ed25519PrivateKey.from_private_bytes(b"w" * 32)
AGENT = Ed25519PrivateKey.from_private_bytes(b"a" * 32)
COLLECTOR = Ed25519PrivateKey.from_private_bytes(b"c" * 32)
STRANGER = Ed25519PrivateKey.from_private_bytes(b"s" * 32)


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


EVIDENCE = WipeEvidence(
    hardware_id="hw_1",
    command_id="cmd_1",
    order_sha256="d" * 64,
    booking_id=None,
    requested_by="platform shop",
    target=Target(username="alice", uid=1001, generation="g1"),
    simulated=False,
    agent_version="0.1.0",
    kernel="Linux 6.1",
    os="Debian 12",
    policy_sha256="e" * 64,
    methods=(MethodResult(method=WipeMethod.HOME_DIRECTORY_PURGE, status=WipeStatus.SUCCESS),),
    places=(PlaceReport(name="home", state="clean", found=3, removed=3, took_ms=5),),
    attempts=(Attempt(boot_id="b", started_at=NOW, ended_at=NOW),),
    verification=Verification(
        file_systems=2, inodes=5000, skipped=(Skipped(what="nfs4", count=1, reason="another machine's"),)
    ),
    journal_sha256="f" * 64,
    started_at=NOW,
    ended_at=NOW + timedelta(seconds=5),
    limits=("Logical removal by the operating system.",),
)


REVOKED = RevokeOutcome(
    hardware_id="hw_1",
    command_id="cmd_9",
    order_sha256="d" * 64,
    booking_id=None,
    requested_by="platform shop",
    target=EVIDENCE.target,
    simulated=False,
    policy_sha256="e" * 64,
    status="success",
    places=(PlaceReport(name="login", state="clean", found=2, removed=2, took_ms=5),),
    attempts=EVIDENCE.attempts,
    journal_sha256="f" * 64,
    started_at=NOW,
    ended_at=NOW + timedelta(seconds=5),
)


def wiped(number: int, previous: str | None = None, **changes) -> WipeEvidence:
    """The evidence of the order cmd_NUMBER."""
    return replace(EVIDENCE, command_id=f"cmd_{number}", previous_sha256=previous, **changes)


def digest(evidence: WipeEvidence, key: Ed25519PrivateKey = WIPER) -> str:
    return sha256_of(sign(evidence, key))


def certificate(evidence: WipeEvidence, key: Ed25519PrivateKey = WIPER, collector=COLLECTOR) -> bytes:
    """What the collector keeps of it."""
    return countersign(sign(evidence, key), evidence, public(key), collector, NOW)


def result(evidence: WipeEvidence | RevokeOutcome, key: Ed25519PrivateKey = WIPER) -> Result:
    """What the agent sends of it."""
    return Result(command_id=evidence.command_id, envelope=sign(evidence, key))


async def add_wiping_machine(conn, *numbers: int, hardware_id: str = "hw_1", kind: str = "wipe") -> None:
    """Enroll a machine with keys, and let it have accepted wipes (or orders of another kind) by these numbers."""
    await add_machine(conn, hardware_id, agent=public(AGENT), wiper=public(WIPER))
    for number in numbers:
        row = CommandRow(
            command_id=f"cmd_{number}",
            hardware_id=hardware_id,
            kind=kind,
            state="accepted",
            seq=number,
            requested_by="platform shop",
            envelope="{}",
            order_sha256="d" * 64,
            created_at=NOW,
            expires_at=NOW + timedelta(hours=1),
        )
        await commands.insert(conn, row)
