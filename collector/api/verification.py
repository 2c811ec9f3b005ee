"""An admin's decisions on benchmarks, over REST."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from collector.api.auditing import note
from collector.api.records import key_in
from collector.api.routing import ADMINS, Answer, Caller, Route, body_of
from collector.benchmarks.verification import Verdict, decide
from collector.store.engine import Connection, Database
from shared.codes import Code, Trouble
from shared.records import Benchmark, RecordId, VerificationStatus, Words

MOST_AT_ONCE = 200


class Decision(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    An admin's decision on a benchmark. `reason`: needed for a rejection; the provider sees it.

    `despite_flags`: approves one that bears flags.
    """

    decision: Verdict
    reason: Words | None = None
    despite_flags: bool = False


class Decisions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same decision on several benchmarks."""

    benchmark_ids: Annotated[tuple[RecordId, ...], Meta(min_length=1, max_length=MOST_AT_ONCE)]
    decision: Verdict
    reason: Words | None = None
    despite_flags: bool = False


class Decided(Struct, frozen=True, kw_only=True):
    """What became of one of several: its new status, or the code and words of what stood in the way."""

    benchmark_id: RecordId
    admin_verification_status: VerificationStatus | None = None
    code: str | None = None
    detail: str | None = None


class AllDecided(Struct, frozen=True, kw_only=True):
    """What became of each, in the order asked."""

    items: tuple[Decided, ...]


class Verification:
    """
    Serves decisions.

    Args:
        database: Where benchmarks are.
        now: The clock.
    """

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def routes(self) -> list[Route]:
        """Return the operations of deciding."""
        return [
            Route(
                method="POST",
                path="/v1/benchmarks/{key}/verification",
                handler=self.verify,
                roles=ADMINS,
                body=Decision,
                answers=Benchmark,
                summary="Approve or reject a benchmark; a decision can be made again.",
            ),
            Route(
                method="POST",
                path="/v1/benchmarks/verifications",
                handler=self.verify_all,
                roles=ADMINS,
                body=Decisions,
                answers=AllDecided,
                summary="Approve or reject up to 200 benchmarks; each one's result is told.",
            ),
        ]

    async def verify(self, request: web.Request, caller: Caller) -> Answer:
        """Decide on one benchmark."""
        asked = await body_of(request, Decision)
        async with self._database.write() as conn:
            return Answer(body=await self._decide(conn, caller, key_in(request), asked))

    async def verify_all(self, request: web.Request, caller: Caller) -> Answer:
        """Decide on several; one that cannot be decided does not keep the others from it."""
        asked = await body_of(request, Decisions)
        one = Decision(decision=asked.decision, reason=asked.reason, despite_flags=asked.despite_flags)
        made: list[Decided] = []
        async with self._database.write() as conn:
            for key in dict.fromkeys(asked.benchmark_ids):
                try:
                    after = await self._decide(conn, caller, key, one)
                    made.append(Decided(benchmark_id=key, admin_verification_status=after.admin_verification_status))
                except Trouble as trouble:
                    if trouble.code not in {Code.NOT_FOUND, Code.CONFLICT, Code.INVALID}:
                        raise
                    made.append(Decided(benchmark_id=key, code=trouble.code, detail=trouble.detail))
        return Answer(body=AllDecided(items=tuple(made)))

    async def _decide(self, conn: Connection, caller: Caller, key: str, asked: Decision) -> Benchmark:
        now = self._now()
        before, after = await decide(
            conn, key, asked.decision, asked.reason, caller.name[:300], now, despite_flags=asked.despite_flags
        )
        await note(
            conn,
            caller,
            now,
            f"{asked.decision} benchmark",
            key,
            before={"admin_verification_status": before.admin_verification_status, "verified_by": before.verified_by},
            after=msgspec.to_builtins(asked),
        )
        return after
