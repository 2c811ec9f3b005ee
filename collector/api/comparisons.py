"""Benchmarks' figures beside others, over REST."""

from aiohttp import web
from msgspec import Struct

from collector.api.records import key_in
from collector.api.routing import Answer, Caller, Route, whole
from collector.benchmarks.comparison import Difference, Month, Point, Standing, differences, standing, trend
from collector.benchmarks.plausibility import FIGURE_NAMES
from collector.store import benchmarks, records
from collector.store.engine import Connection, Database
from shared.codes import Code, Trouble
from shared.flags import Flag
from shared.records import Assurance, Benchmark, Machine, Moment, RecordId, VerificationStatus

USUAL_POINTS, MOST_POINTS = 500, 2000


class HistoryPoint(Struct, frozen=True, kw_only=True):
    """One figure of a machine's past; `unmarked` false: see the marks in its benchmark's details."""

    benchmark_id: RecordId
    received_at: Moment
    value: float
    model: str
    method_version: str
    unmarked: bool
    counts: bool
    flagged: bool
    admin_verification_status: VerificationStatus


class History(Struct, frozen=True, kw_only=True):
    """A machine's points of one figure, newest first, and their months, oldest first."""

    hardware_id: RecordId
    figure: str
    points: tuple[HistoryPoint, ...]
    trend: tuple[Month, ...]


class Stand(Struct, frozen=True, kw_only=True):
    """A benchmark beside others: its flags, its figures among the same models', and its machine's run before it."""

    benchmark_id: RecordId
    admin_verification_status: VerificationStatus
    assurance: Assurance
    flags: tuple[Flag, ...]
    figures: tuple[Standing, ...]
    previous: RecordId | None
    since_previous: tuple[Difference, ...]


class Compared(Struct, frozen=True, kw_only=True):
    """Two runs: the figures that both have. Of a quick run there are none: it is never compared."""

    before: RecordId
    after: RecordId
    figures: tuple[Difference, ...]


class Comparisons:
    """
    Serves comparisons.

    Args:
        database: Where benchmarks are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self) -> list[Route]:
        """Return the operations of comparing."""
        return [
            Route(
                method="GET",
                path="/v1/benchmarks/{key}/standing",
                handler=self.standing,
                answers=Stand,
                summary="A benchmark among the same model's in the fleet, and beside its machine's run before.",
            ),
            Route(
                method="GET",
                path="/v1/benchmarks/{key}/comparison",
                handler=self.comparison,
                answers=Compared,
                query={"with": "the id of the benchmark to compare with, taken as the earlier one"},
                summary="Two benchmarks' figures beside each other.",
            ),
            Route(
                method="GET",
                path="/v1/machines/{key}/benchmark_history",
                handler=self.history,
                answers=History,
                query={
                    "figure": f"one of {', '.join(FIGURE_NAMES)}",
                    "limit": f"points at the most, 1 to {MOST_POINTS}",
                },
                summary="A machine's points of one figure over time, with each month's median.",
            ),
        ]

    async def standing(self, request: web.Request, _caller: Caller) -> Answer:
        """Show where a benchmark stands."""
        async with self._database.read() as conn:
            found = await self._known(conn, key_in(request))
            points = await benchmarks.points_of(conn, found.benchmark_id)
            figures = [standing(one, await benchmarks.peers(conn, one)) for one in points]
            before = _run_before(points, await benchmarks.own(conn, found.hardware_id))
        body = Stand(
            benchmark_id=found.benchmark_id,
            admin_verification_status=found.admin_verification_status,
            assurance=found.assurance,
            flags=found.flags,
            figures=tuple(figures),
            previous=before[0].benchmark_id if before else None,
            since_previous=differences(before, points),
        )
        return Answer(body=body)

    async def comparison(self, request: web.Request, _caller: Caller) -> Answer:
        """Compare two runs."""
        other = request.query.get("with", "")
        async with self._database.read() as conn:
            after = await self._known(conn, key_in(request))
            before = await self._known(conn, other)
            made = differences(
                await benchmarks.points_of(conn, before.benchmark_id),
                await benchmarks.points_of(conn, after.benchmark_id),
            )
        return Answer(body=Compared(before=before.benchmark_id, after=after.benchmark_id, figures=made))

    async def history(self, request: web.Request, _caller: Caller) -> Answer:
        """Show one figure of a machine over time."""
        key, figure = key_in(request), request.query.get("figure", "")
        if figure not in FIGURE_NAMES:
            raise Trouble(Code.INVALID, f"figure is one of {', '.join(FIGURE_NAMES)}")
        limit = whole(request, "limit", USUAL_POINTS, MOST_POINTS)
        async with self._database.read() as conn:
            if await records.get(conn, Machine, key) is None:
                raise Trouble(Code.NOT_FOUND, f"no machine {key}")
            rows = await benchmarks.history(conn, key, figure, limit)
        return Answer(
            body=History(
                hardware_id=key,
                figure=figure,
                points=tuple(_shown(row) for row in rows),
                trend=trend(row.point for row in rows),
            )
        )

    async def _known(self, conn: Connection, key: str) -> Benchmark:
        found = await records.get(conn, Benchmark, key)
        if found is None:
            raise Trouble(Code.NOT_FOUND, f"no benchmark {key[:80]}")
        return found


def _run_before(points: list[Point], own: list[Point]) -> list[Point]:
    """Return the figures of the machine's run before this one. `own`: newest first."""
    if not points:
        return []
    earlier = [one for one in own if one.received_at < points[0].received_at]
    return [one for one in earlier if one.benchmark_id == earlier[0].benchmark_id]


def _shown(row: benchmarks.HistoryRow) -> HistoryPoint:
    point = row.point
    return HistoryPoint(
        benchmark_id=point.benchmark_id,
        received_at=point.received_at,
        value=point.value,
        model=point.model,
        method_version=point.method_version,
        unmarked=point.unmarked,
        counts=point.counts,
        flagged=row.flagged,
        admin_verification_status=VerificationStatus(row.admin_verification_status),
    )
