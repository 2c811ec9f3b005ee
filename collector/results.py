"""What agents answer: verified, stored with the records it makes in one transaction, then confirmed."""

from collections.abc import Callable
from datetime import datetime

import msgspec
import structlog

from collector.evidence import EvidenceStore
from collector.identifiers import derived_id
from collector.links.dispatch import FROM, Outcome, State, state_after
from collector.store import accounts, commands, links, records
from collector.store.commands import CommandRow
from collector.store.engine import Connection, Database
from shared.codes import Code, Trouble
from shared.documents import (
    BenchmarkOutcome,
    GrantOutcome,
    MethodResult,
    Order,
    WipeEvidence,
    WipeWork,
    WorkFailure,
    open_signed,
    read,
)
from shared.envelope import Envelope, key_id
from shared.messages import Refused, Result
from shared.records import Benchmark, DataWipe, WipeMethod, WipeStatus

SIGNERS: tuple[tuple[type[Outcome], tuple[str, ...]], ...] = (
    (BenchmarkOutcome, ("agent",)),
    (GrantOutcome, ("wiper",)),
    (WipeEvidence, ("wiper",)),
    (WorkFailure, ("agent", "wiper")),
)
"""By kind of outcome: whose signature makes it one."""

log = structlog.get_logger()


class Results:
    """
    Stores answers.

    Args:
        database: Where records are kept.
        evidence: Where wipe evidence is kept.
        now: The clock.
    """

    def __init__(self, database: Database, evidence: EvidenceStore, now: Callable[[], datetime]) -> None:
        self._database = database
        self._evidence = evidence
        self._now = now

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
        text = msgspec.json.encode(result.envelope)
        # The file comes first: a row that points nowhere would be worse than a file without a row.
        kept = await self._evidence.keep(hardware_id, text) if isinstance(outcome, WipeEvidence) else ("", "")
        state = state_after(outcome)
        async with self._database.write() as conn:
            ended = await commands.advance(
                conn,
                row.command_id,
                state,
                now=self._now(),
                allowed_from=FROM[state],
                code=outcome.code if isinstance(outcome, WorkFailure) else None,
                detail=outcome.detail if isinstance(outcome, WorkFailure) else None,
                result=text.decode(),
            )
            if ended:
                await self._record(conn, row, outcome, kept)
        if ended:
            log.info("command.ended", command_id=row.command_id, hardware_id=hardware_id, kind=row.kind, state=state)

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
            log.warning("command.refused", command_id=row.command_id, hardware_id=hardware_id, code=refused.code)

    async def _command(self, conn: Connection, hardware_id: str, command_id: str) -> CommandRow:
        row = await commands.get(conn, command_id)
        if row is None or row.hardware_id != hardware_id:
            raise Trouble(Code.NOT_FOUND, f"no command {command_id} of {hardware_id}")
        return row

    async def _record(self, conn: Connection, row: CommandRow, outcome: Outcome, kept: tuple[str, str]) -> None:
        match outcome:
            case BenchmarkOutcome():
                await records.insert(conn, benchmark_of(outcome))
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
                for wipe in wipes_of(outcome, kept):
                    await records.insert(conn, wipe)
                # Only then is there nothing left that could still be ordered about this account.
                if any(_is_deletion(one) for one in outcome.methods):
                    await accounts.mark_wiped(conn, row.hardware_id, outcome.target.generation, self._now())
            case WorkFailure() if row.kind == "wipe":
                await self._failed_wipe(conn, row)

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
    fitting = {"benchmark": BenchmarkOutcome, "wipe": WipeEvidence, "access_grant": GrantOutcome}[row.kind]
    if not isinstance(outcome, fitting | WorkFailure):
        raise Trouble(Code.WRONG_DOCUMENT, f"{type(outcome).__name__} does not end a {row.kind}")


def benchmark_of(outcome: BenchmarkOutcome) -> Benchmark:
    """Return the record that a benchmark's outcome makes."""
    return Benchmark(
        benchmark_id=derived_id("bmk", outcome.command_id),
        hardware_id=outcome.hardware_id,
        gpu_throughput_fp16=outcome.gpu_throughput_fp16,
        gpu_throughput_fp32=outcome.gpu_throughput_fp32,
        cpu_score=outcome.cpu_score,
        disk_read_mb_s=outcome.disk_read_mb_s,
        disk_write_mb_s=outcome.disk_write_mb_s,
        network_bandwidth_gbps=outcome.network_bandwidth_gbps,
        collected_at=outcome.collected_at,
        details={one.name: msgspec.to_builtins(one) for one in outcome.components},
        method_version=" ".join(one.method_version for one in outcome.components)[:300],
        command_id=outcome.command_id,
    )


def wipes_of(outcome: WipeEvidence, kept: tuple[str, str]) -> list[DataWipe]:
    """Return the records that a wipe makes, one for each method, sharing one document."""
    uri, digest = kept
    return [
        DataWipe(
            wipe_id=derived_id("wip", outcome.command_id, one.method),
            hardware_id=outcome.hardware_id,
            booking_id=outcome.booking_id,
            timestamp=outcome.ended_at,
            wipe_method_executed=one.method,
            status=one.status,
            wipe_evidence_uri=uri,
            command_id=outcome.command_id,
            evidence_sha256=digest,
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
