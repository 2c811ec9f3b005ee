"""Group commit of health reports: many machines' reports in one transaction, acknowledged after it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import structlog

from collector.durations import Durations
from collector.store.engine import AWAY
from collector.store.health import Report
from shared.codes import Trouble

LARGEST_BATCH = 2_000
"""Reports in one transaction: a few MB, and well under a second on both databases."""
RETRY_S = 1.0

log = structlog.get_logger()


class ReportWriter:
    """
    Commits reports in groups.

    While the database is away nothing is acknowledged and nothing is dropped: each link may have only a window of
    reports here, so memory stays bounded and the agents keep the rest. A report that the database refuses is dropped
    alone: it must not hold up everybody else's.

    Args:
        commit: Stores a batch in one transaction, or raises `Trouble`.
        refuse: Stores that a report is missing because the database does not take it, or raises `Trouble`.
        every_s: Longest time that a report waits for company.

    Attributes:
        received: Reports taken.
        committed: Reports that are on disk, repeats included.
        refused: Reports that the database refused, dropped.
        failures: Commits that failed because the database was away.
        took: How long commits were, failed ones included.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Report]], Awaitable[None]],
        refuse: Callable[[Report], Awaitable[None]],
        every_s: float,
    ) -> None:
        self._commit = commit
        self._refuse = refuse
        self._every_s = every_s
        self._waiting: list[tuple[Report, Callable[[Report], None]]] = []
        self._more = asyncio.Event()
        self._flushing = asyncio.Lock()
        self.received = 0
        self.committed = 0
        self.failures = 0
        self.refused = 0
        self.took = Durations()

    @property
    def depth(self) -> int:
        """Reports that wait for their commit."""
        return len(self._waiting)

    @property
    def waiting_since(self) -> datetime | None:
        """When the report that waits longest was received; None when none waits."""
        return self._waiting[0][0].received_at if self._waiting else None

    def submit(self, report: Report, committed: Callable[[Report], None]) -> None:
        """Take a report; `committed` is called with it once it is on disk."""
        self.received += 1
        self._waiting.append((report, committed))
        self._more.set()

    async def run(self) -> None:
        """Commit whatever comes, until cancelled."""
        while True:
            await self._more.wait()
            await asyncio.sleep(self._every_s)
            await self.flush()

    async def flush(self) -> None:
        """Commit everything that waits now; a batch that fails is tried again after a pause."""
        async with self._flushing:
            await self._flush()

    async def _flush(self) -> None:
        self._more.clear()
        while self._waiting:
            batch = self._waiting[:LARGEST_BATCH]
            try:
                await self._keep(batch)
            except Trouble as trouble:
                self.failures += 1
                log.error("health.not_committed", code=trouble.code, detail=trouble.detail, waiting=self.depth)
                await asyncio.sleep(RETRY_S)
                continue
            del self._waiting[: len(batch)]
            for report, committed in batch:
                committed(report)

    async def _keep(self, batch: Sequence[tuple[Report, Callable[[Report], None]]]) -> None:
        """
        Commit a batch, in halves where the database refuses something in it.

        Raises:
            Trouble: the database is away; a part may have been committed, and may be given again.
        """
        began_s = time.perf_counter()
        try:
            try:
                await self._commit([report for report, _ in batch])
            finally:
                self.took.observe(time.perf_counter() - began_s)
            self.committed += len(batch)
        except Trouble as trouble:
            if trouble.code in AWAY:
                raise
            if len(batch) == 1:
                await self._drop(batch[0][0], trouble)
                return
            middle = len(batch) // 2
            await self._keep(batch[:middle])
            await self._keep(batch[middle:])

    async def _drop(self, report: Report, trouble: Trouble) -> None:
        """
        Do without a report, and keep that it is missing.

        Raises:
            Trouble: the database is away.
        """
        words = {"hardware_id": report.hardware_id, "seq": report.seq}
        try:
            await self._refuse(report)
        except Trouble as other:
            if other.code in AWAY:
                raise
            # Nothing of this machine is taken: it is not on record any more.
            log.error("health.gap_not_kept", **words, code=other.code, detail=other.detail)
        self.refused += 1
        log.error("health.refused", **words, code=trouble.code, detail=trouble.detail)
