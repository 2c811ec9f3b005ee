"""Benchmarks' figures beside each other, where their GPUs were seen, and which machine is due."""

from collections.abc import Collection, Sequence
from datetime import datetime

from msgspec import Struct, structs
from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.benchmarks.comparison import Point, newest
from collector.benchmarks.scheduling import Candidate, Site
from collector.store.records import insert_or
from collector.store.tables import benchmark, benchmark_figure, benchmark_gpu, booking, command, live, machine

PEER_ROWS = 1000
"""The newest results of a model that are compared: one each of as many machines in a month."""
OWN_ROWS = 350
"""A machine's own that are looked back at: seven figures, monthly, four years."""
TWIN_ROWS = 100

_POINT = [benchmark_figure.c[name] for name in Point.__struct_fields__]


async def add_points(conn: AsyncConnection, points: Sequence[Point]) -> None:
    """Keep a benchmark's figures."""
    if points:
        rows = [{**structs.asdict(one), "digits": one.digits} for one in points]
        await conn.execute(benchmark_figure.insert(), rows)


async def points_of(conn: AsyncConnection, benchmark_id: str) -> list[Point]:
    """Return one benchmark's figures."""
    query = select(*_POINT).where(benchmark_figure.c.benchmark_id == benchmark_id).order_by(benchmark_figure.c.figure)
    return [Point(**row) for row in (await conn.execute(query)).mappings()]


async def own(conn: AsyncConnection, hardware_id: str) -> list[Point]:
    """Return a machine's figures, newest first."""
    column = benchmark_figure.c
    query = select(*_POINT).where(column.hardware_id == hardware_id).order_by(column.received_at.desc()).limit(OWN_ROWS)
    return [Point(**row) for row in (await conn.execute(query)).mappings()]


async def peers(conn: AsyncConnection, point: Point) -> tuple[float, ...]:
    """Return the newest value of every other machine of the same model, in the same method version."""
    if not point.model:
        return ()
    column = benchmark_figure.c
    query = (
        select(*_POINT)
        .where(
            column.figure == point.figure,
            column.method_version == point.method_version,
            column.model == point.model,
            column.counts.is_(True),
            column.hardware_id != point.hardware_id,
        )
        .order_by(column.received_at.desc())
        .limit(PEER_ROWS)
    )
    rows = [Point(**row) for row in (await conn.execute(query)).mappings()]
    return tuple(one.value for one in newest(rows))


async def twins(conn: AsyncConnection, points: Sequence[Point]) -> list[Point]:
    """Return other machines' figures with the very digits of these."""
    column = benchmark_figure.c
    same = [and_(column.digits == one.digits, column.figure == one.figure) for one in points]
    if not same:
        return []
    query = select(*_POINT).where(or_(*same), column.hardware_id != points[0].hardware_id).limit(TWIN_ROWS)
    return [Point(**row) for row in (await conn.execute(query)).mappings()]


async def recount(conn: AsyncConnection, benchmark_id: str, *, counts: bool) -> None:
    """Let a benchmark's unmarked figures count among the fleet's, or none of them."""
    of = update(benchmark_figure).where(benchmark_figure.c.benchmark_id == benchmark_id)
    await conn.execute(of.values(counts=benchmark_figure.c.unmarked if counts else False))


async def seen_elsewhere(conn: AsyncConnection, uuids: Collection[str], hardware_id: str) -> dict[str, str]:
    """Return, by GPU, another machine in which it was measured."""
    if not uuids:
        return {}
    column = benchmark_gpu.c
    query = select(column.uuid, column.hardware_id).where(
        column.uuid.in_(list(uuids)), column.hardware_id != hardware_id
    )
    return {row.uuid: row.hardware_id for row in await conn.execute(query.order_by(column.seen_at))}


async def saw_gpus(conn: AsyncConnection, uuids: Collection[str], hardware_id: str, at: datetime) -> None:
    """Note in which machine GPUs were measured."""
    if uuids:
        statement = insert_or(conn, benchmark_gpu).values(
            [{"uuid": uuid, "hardware_id": hardware_id, "seen_at": at} for uuid in sorted(uuids)]
        )
        renewed = {"seen_at": statement.excluded.seen_at}
        await conn.execute(statement.on_conflict_do_update(index_elements=["uuid", "hardware_id"], set_=renewed))


class HistoryRow(Struct, frozen=True, kw_only=True):
    """One figure of a machine's past, and what became of its benchmark."""

    point: Point
    admin_verification_status: str
    flagged: bool


async def history(conn: AsyncConnection, hardware_id: str, figure: str, limit: int) -> list[HistoryRow]:
    """Return the newest of a machine's points of one figure, newest first."""
    column = benchmark_figure.c
    query = (
        select(*_POINT, benchmark.c.admin_verification_status, benchmark.c.flagged)
        .join(benchmark, benchmark.c.benchmark_id == column.benchmark_id)
        .where(column.hardware_id == hardware_id, column.figure == figure)
        .order_by(column.received_at.desc())
        .limit(limit)
    )
    return [
        HistoryRow(
            point=Point(**{name: row[name] for name in Point.__struct_fields__}),
            admin_verification_status=row["admin_verification_status"],
            flagged=row["flagged"],
        )
        for row in (await conn.execute(query)).mappings()
    ]


async def clock_skew_s(conn: AsyncConnection, hardware_id: str) -> float | None:
    """Return by how much a machine's clock is ahead."""
    query = select(live.c.clock_skew_ms).where(live.c.hardware_id == hardware_id)
    skew_ms = (await conn.execute(query)).scalar()
    return skew_ms / 1000 if skew_ms is not None else None


async def booked(conn: AsyncConnection, hardware_id: str, soon: datetime, now: datetime) -> str | None:
    """Return the booking for which a machine is kept free: an active one, or one that starts before `soon`."""
    query = select(booking.c.booking_id).where(booking.c.hardware_id == hardware_id, _keeps_free(soon, now)).limit(1)
    return (await conn.execute(query)).scalar()


def _keeps_free(soon: datetime, now: datetime) -> ColumnElement[bool]:
    waiting = and_(
        booking.c.booking_status == "pending", booking.c.start_timestamp <= soon, booking.c.end_timestamp > now
    )
    return or_(booking.c.booking_status == "active", waiting)


async def due(
    conn: AsyncConnection, now: datetime, soon: datetime, open_states: Collection[str], limit: int
) -> list[Candidate]:
    """Return machines that are due, online, unbooked and have nothing to do; the longest due first."""
    ours = live.c.hardware_id
    at_work = select(command.c.command_id).where(command.c.hardware_id == ours, command.c.state.in_(list(open_states)))
    taken = select(booking.c.booking_id).where(booking.c.hardware_id == ours, _keeps_free(soon, now))
    last = (
        select(func.max(benchmark_figure.c.received_at)).where(benchmark_figure.c.hardware_id == ours).scalar_subquery()
    )
    query = (
        select(
            ours, machine.c.customer_id, machine.c.gpu_model.is_not(None).label("has_gpu"), last.label("measured_at")
        )
        .join(machine, machine.c.hardware_id == ours)
        .where(live.c.benchmark_due_at <= now, live.c.presence == "online", ~at_work.exists(), ~taken.exists())
        .order_by(live.c.benchmark_due_at, ours)
        .limit(limit)
    )
    return [Candidate(**row) for row in (await conn.execute(query)).mappings()]


async def sites(conn: AsyncConnection, customers: Collection[str], open_states: Collection[str]) -> dict[str, Site]:
    """Return, by customer, how many machines he has, and on how many of those online a benchmark is under way."""
    owner = machine.c.customer_id
    counted = select(owner, func.count().label("n")).where(owner.in_(list(customers))).group_by(owner)
    at_work = (
        select(owner, func.count(machine.c.hardware_id.distinct()).label("n"))
        .join(command, command.c.hardware_id == machine.c.hardware_id)
        .join(live, live.c.hardware_id == machine.c.hardware_id)
        .where(command.c.kind == "benchmark", command.c.state.in_(list(open_states)), live.c.presence == "online")
        .group_by(owner)
    )
    running = {row.customer_id: row.n for row in await conn.execute(at_work)}
    return {
        row.customer_id: Site(machines=row.n, running=running.get(row.customer_id, 0))
        for row in await conn.execute(counted)
    }


async def put_off(conn: AsyncConnection, hardware_id: str, until: datetime) -> None:
    """Set when a machine's next benchmark is due."""
    await conn.execute(update(live).where(live.c.hardware_id == hardware_id).values(benchmark_due_at=until))
