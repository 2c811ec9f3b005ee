"""A link's health reports: placed in time, held against the one before, and passed on to be committed."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import msgspec
import structlog

from collector.assessing import Assessing
from collector.history.following import Arrival, Followed, placed
from collector.history.gaps import Gap, between
from collector.reports import ReportWriter
from collector.store.health import Report
from shared.codes import Code
from shared.messages import Health, Hello

WINDOW = 128
"""Uncommitted reports of one link; past it the link is not read until some are committed."""

log = structlog.get_logger()


class Reporting:
    """
    The reports of one open link.

    Args:
        writer: Commits reports.
        assessing: Judges them.
        hello: Who sends them.
        newest: The newest report known of this machine when the link opened.
        behind: How far the agent's clock was behind the collector's then.
        every: The distance of reports that was asked for.
        committed: Called with each report that is on disk.
        allowed: Whether one more row may be kept about missing reports; each call takes one.
    """

    def __init__(
        self,
        writer: ReportWriter,
        assessing: Assessing,
        hello: Hello,
        newest: Followed | None,
        behind: timedelta,
        every: timedelta,
        committed: Callable[[Report], None],
        allowed: Callable[[], bool] = lambda: True,
    ) -> None:
        self._writer = writer
        self._assessing = assessing
        self._hello = hello
        self._newest = newest
        self._behind = behind
        self._every = every
        self._committed = committed
        self._allowed = allowed
        self._window = asyncio.Semaphore(WINDOW)

    async def take(self, message: Health, received_at: datetime) -> None:
        """Take a report; waits while too many are not committed."""
        await self._window.acquire()
        report = self._report(message, received_at)
        self._assessing.take(report, message.indicators)
        self._writer.submit(report, self._on_disk)

    def _report(self, message: Health, received_at: datetime) -> Report:
        hardware_id, before = self._hello.hardware_id, self._newest
        arrival = Arrival(
            outbox_id=self._hello.outbox_id,
            seq=message.seq,
            boot_id=message.boot_id,
            collected_at=message.collected_at,
            age=timedelta(seconds=message.age_s) if message.age_s is not None else None,
            received_at=received_at,
            behind=self._behind,
        )
        at = placed(arrival, before, self._every)
        newer = Followed(outbox_id=arrival.outbox_id, seq=message.seq, boot_id=message.boot_id, at=at)
        late = before is not None and before.outbox_id == newer.outbox_id and newer.seq <= before.seq
        missing = () if late else self._kept(between(hardware_id, before, newer, message.lost, self._every))
        if not late:
            self._newest = newer
        return Report(
            hardware_id=hardware_id,
            outbox_id=arrival.outbox_id,
            seq=message.seq,
            boot_id=message.boot_id,
            collected_at=message.collected_at,
            received_at=received_at,
            at=at,
            indicators=msgspec.json.encode(message.indicators),
            missing=missing,
            # Each may cut a gap in two.
            late=late and self._allowed(),
            follows_at=before.at if before is not None and not late else at,
        )

    def _kept(self, missing: Sequence[Gap]) -> tuple[Gap, ...]:
        """Return the gaps that are kept: all of an honest agent's; one that invents them must not fill the database."""
        kept = tuple(gap for gap in missing if self._allowed())
        for gap in kept:
            log.warning(
                "health.missing",
                hardware_id=gap.hardware_id,
                first_seq=gap.first_seq,
                last_seq=gap.last_seq,
                cause=gap.cause,
                started_at=gap.started_at.isoformat(),
                ended_at=gap.ended_at.isoformat() if gap.ended_at is not None else None,
            )
        if len(kept) < len(missing):
            hardware_id, left_out = self._hello.hardware_id, len(missing) - len(kept)
            log.warning("health.gaps_left_out", hardware_id=hardware_id, code=Code.SLOW_DOWN, gaps=left_out)
        return kept

    def _on_disk(self, report: Report) -> None:
        self._window.release()
        self._committed(report)
