"""An admin's word on a benchmark: approved or rejected, with the reason that the provider sees."""

from datetime import datetime
from enum import StrEnum

from msgspec import structs

from collector.store import benchmarks, records
from collector.store.engine import Connection
from shared.codes import Code, Trouble
from shared.records import Benchmark, VerificationStatus, Words


class Verdict(StrEnum):
    """What an admin can decide."""

    APPROVED = "approved"
    REJECTED = "rejected"


def decided(
    before: Benchmark, verdict: Verdict, reason: Words | None, by: Words, now: datetime, *, despite_flags: bool
) -> Benchmark:
    """
    Return a benchmark as it is after a decision; one that was decided before can be decided again.

    Raises:
        Trouble: `invalid`: a rejection without a reason; `conflict`: flags that nobody has said to pass over.
    """
    if verdict is Verdict.REJECTED and not (reason and reason.strip()):
        raise Trouble(Code.INVALID, "a rejection needs a reason; the provider sees it")
    if verdict is Verdict.APPROVED and before.flagged and not despite_flags:
        codes = ", ".join(sorted({one.code for one in before.flags if not one.shadow}))
        raise Trouble(Code.CONFLICT, f"{before.benchmark_id} bears flags: {codes}", "look at them; then despite_flags")
    return structs.replace(
        before,
        admin_verification_status=VerificationStatus(verdict),
        verified_by=by,
        verified_at=now,
        rejection_reason=reason if verdict is Verdict.REJECTED else None,
    )


async def decide(
    conn: Connection,
    benchmark_id: str,
    verdict: Verdict,
    reason: Words | None,
    by: Words,
    now: datetime,
    *,
    despite_flags: bool = False,
) -> tuple[Benchmark, Benchmark]:
    """
    Store a decision in the caller's transaction; return the benchmark before and after it.

    What is approved counts among the fleet's figures, what is rejected does not.

    Raises:
        Trouble: `not_found`, or as `decided`.
    """
    before = await records.get(conn, Benchmark, benchmark_id)
    if before is None:
        raise Trouble(Code.NOT_FOUND, f"no benchmark {benchmark_id}")
    after = decided(before, verdict, reason, by, now, despite_flags=despite_flags)
    await records.upsert(conn, after)
    await benchmarks.recount(conn, benchmark_id, counts=verdict is Verdict.APPROVED)
    return before, after
