"""What agents answer: verified, stored with the records it makes in one transaction, then confirmed."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from collector.benchmarks.judging import Judging
from collector.certificates import countersign
from collector.chain import Link, gap
from collector.evidence import EvidenceStore
from collector.identifiers import derived_id
from collector.links.dispatch import FROM, Outcome, State, state_after
from collector.store import accounts, audit, certificates, commands, links, records
from collector.store.commands import CommandRow
from collector.store.engine import Connection, Database
from shared.codes import Code, Trouble
from shared.documents import (
    BenchmarkOutcome,
    GrantOutcome,
    MethodResult,
    Order,
    RevokeOutcome,
    WipeEvidence,
    WipeWork,
    WorkFailure,
    open_signed,
    read,
    sha256_of,
)
from shared.envelope import Envelope, key_id
from shared.messages import Refused, Result
from shared.records import DataWipe, WipeMethod, WipeStatus

SIGNERS: tuple[tuple[type[Outcome], tuple[str, ...]], ...] = (
    (BenchmarkOutcome, ("agent",)),
    (GrantOutcome, ("wiper",)),
    (RevokeOutcome, ("wiper",)),
    (WipeEvidence, ("wiper",)),
    (WorkFailure, ("agent", "wiper")),
)
"""By kind of outcome: whose signature makes it one."""

FITTING: dict[str, type[Outcome]] = {
    "benchmark": BenchmarkOutcome,
    "wipe": WipeEvidence,
    "access_grant": GrantOutcome,
    "access_revoke": RevokeOutcome,
}
"""By kind of command: what ends it, besides a failure."""

log = structlog.get_logger()


class Kept(NamedTuple):
    """Where a certificate is, the digest of its evidence, and the id of the wiper's key that signed it."""

    uri: str
    digest: str
    signed_by: str


class Results:
    """
    Stores answers.

    Args:
        database: Where records are kept.
        evidence: Where wipe evidence is kept.
        key: The collector's own; receipts for evidence are signed with it.
        now: The clock.
        judging: Judges benchmarks.

    Attributes:
        chain_gaps: Certificates taken by this process whose place in their machine's chain is in doubt.
        ended: Commands ended by an answer that this process took, by kind and state.
    """

    def __init__(
        self,
        database: Database,
        evidence: EvidenceStore,
        key: Ed25519PrivateKey,
        now: Callable[[], datetime],
        judging: Judging,
    ) -> None:
        self.chain_gaps = 0
        self.ended: Counter[tuple[str, str]] = Counter()
        self._database = database
        self._evidence = evidence
        self._key = key
        self._now = now
        self._judging = judging

    async def take(self, hardware_id: str, result: Result) -> None:
        """
        Store a signed outcome; a repeat changes nothing. When this returns, it may be confirmed to the agent.

        Raises:
            Trouble: `unknown_key`, `bad_signature`, `wrong_document`, `malformed`, `not_found`: not stored, and the
                agent is not told otherwise; `store_unavailable` and its like: try again.
        """
        async with self._database.read() as conn:
            row = await self._command(conn, hardware_id, result.command_id)
            agent_key, wiper_key = await links.machine_public_keys(conn, hardware_id)
        outcome = opened(result.envelope, agent_key, wiper_key)
        check(outcome, row)
        state = state_after(outcome)
        kept = proven = broken = None
        if isinstance(outcome, WipeEvidence):
            # The file comes first: a row that points nowhere would be worse than a file without a row.
            kept = await self._keep(result.envelope, outcome, wiper_key)
        if isinstance(outcome, BenchmarkOutcome) and row.state in FROM[state]:
            proven = await self._judging.proven(row, outcome)
        async with self._database.write() as conn:
            ended = await commands.advance(
                conn,
                row.command_id,
                state,
                now=self._now(),
                allowed_from=FROM[state],
                code=outcome.code if isinstance(outcome, WorkFailure) else None,
                detail=outcome.detail if isinstance(outcome, WorkFailure) else None,
                result=msgspec.json.encode(result.envelope).decode(),
            )
            if ended:
                broken = await self._record(conn, row, outcome, kept, proven=proven)
        if broken is not None:
            self.chain_gaps += 1
            log.error("evidence.chain_gap", command_id=row.command_id, hardware_id=hardware_id, detail=broken)
        if ended:
            self.ended[row.kind, state] += 1
            log.info("command.ended", command_id=row.command_id, hardware_id=hardware_id, kind=row.kind, state=state)

    async def _keep(self, envelope: Envelope, outcome: WipeEvidence, wiper_key: bytes) -> Kept:
        digest = sha256_of(envelope)
        certificate = countersign(envelope, outcome, wiper_key, self._key, self._now())
        uri = await self._evidence.keep(outcome.hardware_id, digest, certificate)
        return Kept(uri=uri, digest=digest, signed_by=key_id(wiper_key))

    async def refused(self, hardware_id: str, refused: Refused) -> None:
        """Store a refusal; a repeat changes nothing."""
        async with self._database.write() as conn:
            row = await self._command(conn, hardware_id, refused.command_id)
            ended = await commands.advance(
                conn,
                row.command_id,
                State.REFUSED,
                now=self._now(),
                allowed_from=FROM[State.REFUSED],
                code=refused.code,
                detail=refused.detail,
            )
            if ended and row.kind == "wipe":
                await self._failed_wipe(conn, row)
        if ended:
            self.ended[row.kind, State.REFUSED] += 1
            log.warning("command.refused", command_id=row.command_id, hardware_id=hardware_id, code=refused.code)

    async def _command(self, conn: Connection, hardware_id: str, command_id: str) -> CommandRow:
        row = await commands.get(conn, command_id)
        if row is None or row.hardware_id != hardware_id:
            raise Trouble(Code.NOT_FOUND, f"no command {command_id} of {hardware_id}")
        return row

    async def _record(
        self, conn: Connection, row: CommandRow, outcome: Outcome, kept: Kept | None, *, proven: bool | None
    ) -> str | None:
        """Add the records that an outcome makes; return what is wrong about a certificate's place in its chain."""
        match outcome:
            case BenchmarkOutcome():
                made = await self._judging.record(conn, row, outcome, self._now(), proven=proven)
                if made.flagged:
                    codes = sorted({one.code for one in made.flags if not one.shadow})
                    log.warning("benchmark.flagged", benchmark_id=made.benchmark_id, codes=codes)
            case GrantOutcome():
                await accounts.record_grant(
                    conn,
                    hardware_id=row.hardware_id,
                    generation=outcome.target.generation,
                    username=outcome.target.username,
                    uid=outcome.target.uid,
                    booking_id=row.booking_id,
                    command_id=row.command_id,
                    granted_at=outcome.granted_at,
                )
            case WipeEvidence():
                assert kept is not None
                broken = await self._chained(conn, outcome, kept)
                for wipe in wipes_of(outcome, kept, chain_gap=broken is not None):
                    await records.insert(conn, wipe)
                # Only then is there nothing left that could still be ordered about this account.
                if any(_is_deletion(one) for one in outcome.methods):
                    await accounts.mark_wiped(conn, row.hardware_id, outcome.target.generation, self._now())
                return broken
            case WorkFailure() if row.kind == "wipe":
                await self._failed_wipe(conn, row)
        return None

    async def _chained(self, conn: Connection, outcome: WipeEvidence, kept: Kept) -> str | None:
        """See whether a certificate follows one that is here, and note it if not; a successor of its own is mended."""
        link = Link(
            digest=kept.digest,
            hardware_id=outcome.hardware_id,
            signed_by=kept.signed_by,
            previous=outcome.previous_sha256,
        )
        near = await certificates.near(conn, link)
        broken = gap(link, near)
        if broken is not None:
            await audit.append(
                conn,
                at=self._now(),
                actor=kept.signed_by,
                role="machine",
                address="",
                action="chain gap",
                object=outcome.command_id,
                after={"evidence_sha256": kept.digest, "reason": broken},
            )
        for after in near:
            if after.previous == link.digest:
                await certificates.mark(conn, after.digest, chain_gap=gap(after, (*near, link)) is not None)
        return broken

    async def _failed_wipe(self, conn: Connection, row: CommandRow) -> None:
        """A wipe that ended without evidence is a failed wipe on the record, for each method that was ordered."""
        order = read(msgspec.json.decode(row.envelope, type=Envelope).payload, Order)
        if isinstance(order.work, WipeWork):
            for method in order.work.methods:
                await records.insert(conn, failed_wipe(row, method, self._now()))


def _is_deletion(result: MethodResult) -> bool:
    return result.method is WipeMethod.USER_DELETION and result.status is WipeStatus.SUCCESS


def opened(envelope: Envelope, agent_key: bytes, wiper_key: bytes) -> Outcome:
    """
    Verify an outcome with the key that may sign its kind, and read it.

    Evidence and grants count only with the wiper's signature: the part that talks to the network cannot make them up.

    Raises:
        Trouble: `wrong_document`, `bad_signature` or `malformed`.
    """
    for kind, signers in SIGNERS:
        if envelope.payloadType == kind.PAYLOAD_TYPE:
            keys = {"agent": agent_key, "wiper": wiper_key}
            return open_signed(envelope, kind, *(keys[one] for one in signers if names(envelope, keys[one])))
    raise Trouble(Code.WRONG_DOCUMENT, f"{envelope.payloadType} is no outcome")


def names(envelope: Envelope, public_key: bytes) -> bool:
    """Return whether an envelope claims this key's signature."""
    return any(one.keyid == key_id(public_key) for one in envelope.signatures)


def check(outcome: Outcome, row: CommandRow) -> None:
    """
    See that an outcome answers this very order.

    Raises:
        Trouble: `wrong_document`.
    """
    if (outcome.hardware_id, outcome.command_id, outcome.order_sha256) != (
        row.hardware_id,
        row.command_id,
        row.order_sha256,
    ):
        raise Trouble(Code.WRONG_DOCUMENT, f"the outcome does not answer {row.command_id}")
    fitting = FITTING[row.kind]
    if not isinstance(outcome, fitting | WorkFailure):
        raise Trouble(Code.WRONG_DOCUMENT, f"{type(outcome).__name__} does not end a {row.kind}")


def wipes_of(outcome: WipeEvidence, kept: Kept, *, chain_gap: bool) -> list[DataWipe]:
    """Return the records that a wipe makes, one for each method, sharing one document."""
    return [
        DataWipe(
            wipe_id=derived_id("wip", outcome.command_id, one.method),
            hardware_id=outcome.hardware_id,
            booking_id=outcome.booking_id,
            timestamp=outcome.ended_at,
            wipe_method_executed=one.method,
            status=one.status,
            wipe_evidence_uri=kept.uri,
            command_id=outcome.command_id,
            evidence_sha256=kept.digest,
            signed_by=kept.signed_by,
            previous_sha256=outcome.previous_sha256,
            chain_gap=chain_gap,
            reimage_recommended=outcome.reimage_recommended,
        )
        for one in outcome.methods
    ]


def failed_wipe(row: CommandRow, method: WipeMethod, now: datetime) -> DataWipe:
    """Return the record of a wipe that was refused or broke off: failed, and nothing to show for it."""
    return DataWipe(
        wipe_id=derived_id("wip", row.command_id, method),
        hardware_id=row.hardware_id,
        booking_id=row.booking_id,
        timestamp=now,
        wipe_method_executed=method,
        status=WipeStatus.FAILED,
        command_id=row.command_id,
    )
