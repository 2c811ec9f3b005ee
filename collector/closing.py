"""Closing hours: reports are moved from the log into chunks of every tier, all of a machine's in one transaction."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog

from collector.history import chunk
from collector.history.chunk import Chunk, Covered
from collector.history.frame import EMPTY, Frame, fold, merged, of_reports, split, within
from collector.history.series import numbers
from collector.history.tiers import Tier, closed_before, hour_of, of_ms, to_ms
from collector.store import history
from collector.store.engine import Connection, Database
from collector.store.history import Logged
from shared.codes import Trouble

MACHINES = 500
"""Machines looked for at once."""
HOURS = timedelta(hours=6)
"""How much of a backlog is looked for at once."""
REPORTS = 480
"""Moved in one transaction, well under a second: two hours of them, and of the largest there can be 300 MB."""

log = structlog.get_logger()


class Closing:
    """
    Moves closed hours into chunks; done again, it changes nothing.

    Args:
        database: Holds both.
        now: The clock.
        kept: The tiers, the finest first.
    """

    def __init__(self, database: Database, now: Callable[[], datetime], kept: Sequence[Tier]) -> None:
        self._database = database
        self._now = now
        self._kept = tuple(kept)

    async def close(self) -> int:
        """
        Close every hour that is over, and merge what came in for hours closed before; return how many reports moved.

        A machine whose reports cannot be moved keeps them in the log and holds up no other.
        """
        before, moved, failed = closed_before(self._now()), 0, set[str]()
        while True:
            async with self._database.read() as conn:
                found = await history.unclosed(conn, before, MACHINES + len(failed))
            due = [one for one in found if one[0] not in failed]
            if not due:
                return moved
            for hardware_id, oldest in due:
                try:
                    moved += await self._close(hardware_id, min(before, hour_of(oldest) + HOURS))
                except Trouble:
                    raise
                except Exception:
                    log.exception("history.not_closed", hardware_id=hardware_id)
                    failed.add(hardware_id)

    async def _close(self, hardware_id: str, before: datetime) -> int:
        async with self._database.write() as conn:
            reports = await history.take(conn, hardware_id, before, REPORTS)
            if reports:
                await self._move(conn, hardware_id, reports)
        return len(reports)

    async def _move(self, conn: Connection, hardware_id: str, reports: Sequence[Logged]) -> None:
        now = self._now()
        known = await self._covering(conn, hardware_id, reports)
        fresh = [one for one in reports if not _covers(known, one)]
        if not fresh:
            return
        frame, too_many = await asyncio.to_thread(_frame, fresh)
        if too_many:
            self._left_out(hardware_id, too_many, self._kept[0])
        for tier in self._kept:
            made = await asyncio.to_thread(_pieces, frame, tier)
            wanted = [(of_ms(start), part) for start, part in made if of_ms(start) + tier.span + tier.kept > now]
            if wanted:
                await self._merge(conn, hardware_id, tier, wanted, fresh)

    async def _merge(
        self,
        conn: Connection,
        hardware_id: str,
        tier: Tier,
        parts: Sequence[tuple[datetime, Frame]],
        reports: Sequence[Logged],
    ) -> None:
        """Put frames into a tier's chunks."""
        there = dict(await history.chunks(conn, hardware_id, tier.resolution, parts[0][0], parts[-1][0] + tier.span))

        def work() -> list[tuple[datetime, bytes]]:
            made = []
            for start, part in parts:
                old = self._opened(hardware_id, tier, start, there.get(start))
                covered = _covered(old.covered, reports, start, start + tier.span) if tier.covers else {}
                frames, too_many = within([old.frame, part])
                if too_many:
                    self._left_out(hardware_id, too_many, tier)
                made.append((start, chunk.encode(merged(frames), covered)))
            return made

        await history.put(conn, hardware_id, tier.resolution, await asyncio.to_thread(work))

    def _left_out(self, hardware_id: str, series: int, tier: Tier) -> None:
        log.warning("history.series_left_out", hardware_id=hardware_id, series=series, tier=tier.resolution)

    async def _covering(self, conn: Connection, hardware_id: str, reports: Sequence[Logged]) -> Covered:
        """Return which reports of the same time the chunks hold already."""
        known: Covered = {}
        for tier in self._kept:
            if tier.covers:
                since, until = reports[0].at - tier.span, reports[-1].at + tier.span
                for start, raw in await history.chunks(conn, hardware_id, tier.resolution, since, until):
                    for outbox_id, ranges in self._opened(hardware_id, tier, start, raw, frame=False).covered.items():
                        known.setdefault(outbox_id, []).extend(ranges)
        return known

    def _opened(self, hardware_id: str, tier: Tier, start: datetime, raw: bytes | None, *, frame: bool = True) -> Chunk:
        """Return a chunk, an empty one where there is none; one that cannot be read gives way to what is new."""
        if raw is None:
            return Chunk(frame=EMPTY, covered={})
        try:
            return chunk.decode(raw, None if frame else lambda _: ())
        except Trouble as trouble:
            log.error(
                "history.chunk_unreadable",
                hardware_id=hardware_id,
                tier=tier.resolution,
                start_at=start.isoformat(),
                code=trouble.code,
                detail=trouble.detail,
            )
            return Chunk(frame=EMPTY, covered={})


def _frame(reports: Sequence[Logged]) -> tuple[Frame, int]:
    return of_reports([to_ms(one.at) for one in reports], [numbers(one.indicators) for one in reports])


def _pieces(frame: Frame, tier: Tier) -> list[tuple[int, Frame]]:
    return list(split(fold(frame, tier.step_ms), tier.span_ms))


def _covers(known: Covered, report: Logged) -> bool:
    return any(first <= report.seq <= last for first, last in known.get(report.outbox_id, ()))


def _covered(old: Covered, reports: Sequence[Logged], start: datetime, end: datetime) -> Covered:
    """Return the numbers of a chunk with those of more reports, in as few ranges as there can be."""
    found = {outbox_id: list(ranges) for outbox_id, ranges in old.items()}
    for one in reports:
        if start <= one.at < end:
            found.setdefault(one.outbox_id, []).append((one.seq, one.seq))
    return {outbox_id: _joined(ranges) for outbox_id, ranges in found.items()}


def _joined(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    made: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if made and first <= made[-1][1] + 1:
            made[-1] = (made[-1][0], max(last, made[-1][1]))
        else:
            made.append((first, last))
    return made
