"""What a benchmark's outcome becomes: a record with flags, and its figures beside the fleet's."""

from datetime import datetime

import msgspec

from collector.benchmarks import readings
from collector.benchmarks.challenges import Examiner, Mode
from collector.benchmarks.comparison import LONG_DIGITS, Point
from collector.benchmarks.plausibility import Context, judge, owns, without_absurd
from collector.identifiers import derived_id
from collector.store import benchmarks, records
from collector.store.commands import CommandRow
from collector.store.engine import Connection
from shared.documents import (
    BandwidthTicket,
    BenchmarkOutcome,
    BenchmarkWork,
    Component,
    Order,
    read,
)
from shared.envelope import Envelope
from shared.flags import Flag
from shared.records import FIGURES, Assurance, Benchmark, Machine


class Judging:
    """
    Judges outcomes.

    Args:
        mode: What answers to challenges are worth.
        server_key: The measuring server's public key; None when there is no such server.
    """

    def __init__(self, mode: Mode = Mode.SHADOW, server_key: bytes | None = None) -> None:
        self._mode = mode
        self._server_key = server_key
        self._examiner = Examiner()

    async def proven(self, row: CommandRow, outcome: BenchmarkOutcome) -> bool | None:
        """Return whether the order's challenge was answered rightly; takes long, so it is no part of a transaction."""
        return await self._examiner.proven(work_of(row), outcome)

    async def record(
        self, conn: Connection, row: CommandRow, told: BenchmarkOutcome, now: datetime, *, proven: bool | None
    ) -> Benchmark:
        """Store a benchmark with its flags in the caller's transaction."""
        work = work_of(row)
        outcome, absurd = without_absurd(told)
        machine = await records.get(conn, Machine, row.hardware_id)
        assert machine is not None
        # A short look is never compared, so it has no place beside other figures.
        points = () if work.quick else points_of(outcome, machine, now)
        gpus = _gpu_uuids(outcome)
        context = Context(
            work=work,
            issued_at=row.created_at,
            sent_at=row.sent_at,
            received_at=now,
            skew_s=await benchmarks.clock_skew_s(conn, row.hardware_id),
            gpu_model=machine.gpu_model,
            ticket=_ticket(work),
            server_key=self._server_key,
            peers={one.figure: await benchmarks.peers(conn, one) for one in points},
            own=tuple(await benchmarks.own(conn, row.hardware_id)),
            twins=tuple(await benchmarks.twins(conn, [one for one in points if one.significant >= LONG_DIGITS])),
            elsewhere=await benchmarks.seen_elsewhere(conn, gpus, row.hardware_id),
            proven=proven,
            trial=self._mode is not Mode.ON,
        )
        flags = (*absurd, *judge(outcome, points, context))
        made = benchmark_of(outcome, flags, self._assurance(context, flags))
        await records.insert(conn, made)
        await benchmarks.add_points(conn, [counted(one, flags) for one in points])
        # Whose it was first keeps it: else naming another machine's GPU would flag that machine's own results.
        await benchmarks.saw_gpus(conn, gpus - context.elsewhere.keys(), row.hardware_id, now)
        return made

    def _assurance(self, context: Context, flags: tuple[Flag, ...]) -> Assurance:
        doubted = any(one.code.startswith("challenge_") for one in flags)
        challenged = self._mode is Mode.ON and context.proven is True and not doubted
        return Assurance.CHALLENGED if challenged else Assurance.SELF_REPORTED


def work_of(row: CommandRow) -> BenchmarkWork:
    """Return what a benchmark's command orders; our own signed word, so it is read without a check."""
    work = read(msgspec.json.decode(row.envelope, type=Envelope).payload, Order).work
    assert isinstance(work, BenchmarkWork)
    return work


def _ticket(work: BenchmarkWork) -> BandwidthTicket | None:
    return read(work.server.ticket.payload, BandwidthTicket) if work.server is not None else None


def _gpu_uuids(outcome: BenchmarkOutcome) -> frozenset[str]:
    found = (gpu.uuid for one in outcome.components if one.name == "gpu" for gpu in readings.gpus(one.details))
    return frozenset(uuid for uuid in found if uuid)


def benchmark_of(outcome: BenchmarkOutcome, flags: tuple[Flag, ...], assurance: Assurance) -> Benchmark:
    """Return the record that a benchmark's outcome makes."""
    return Benchmark(
        benchmark_id=derived_id("bmk", outcome.command_id),
        hardware_id=outcome.hardware_id,
        **{name: getattr(outcome, name) for name in FIGURES},
        collected_at=outcome.collected_at,
        details={one.name: msgspec.to_builtins(one) for one in outcome.components},
        assurance=assurance,
        method_version=" ".join(one.method_version for one in outcome.components)[:300],
        command_id=outcome.command_id,
        flags=flags,
        flagged=any(not one.shadow for one in flags),
    )


def points_of(outcome: BenchmarkOutcome, machine: Machine, now: datetime) -> tuple[Point, ...]:
    """Return the figures of an outcome, and one thread's score, which has no place in the record."""
    made: list[Point] = []
    for part in {one.name: one for one in outcome.components}.values():
        values = {name: value for name in part.figures if (value := getattr(outcome, name, None)) is not None}
        # Of its own only: in another's place a figure would meet neither its rules nor its peers.
        values = {name: value for name, value in values.items() if name in FIGURES and owns(part.name, name)}
        single = readings.cpu(part.details).single if part.name == "cpu" else None
        if single is not None:
            values["cpu_score_single"] = single
        made += [_point(outcome, part, name, value, machine, now) for name, value in values.items()]
    return tuple(made)


def _point(
    outcome: BenchmarkOutcome, part: Component, figure: str, value: float, machine: Machine, now: datetime
) -> Point:
    least, most = readings.spread(part, figure)
    return Point(
        benchmark_id=derived_id("bmk", outcome.command_id),
        hardware_id=outcome.hardware_id,
        figure=figure,
        value=value,
        model=_model(part, machine),
        method_version=part.method_version,
        received_at=now,
        unmarked=not part.marks,
        counts=not part.marks,
        least=least,
        most=most,
    )


def _model(part: Component, machine: Machine) -> str:
    """Return what was measured, as exactly as the machine tells."""
    models = {
        "cpu": machine.cpu_model,
        "gpu": readings.gpu_names(readings.gpus(part.details)) or machine.gpu_model,
        "disk": readings.disk(part.details).model or machine.disk_type,
        "network": machine.network_bandwidth,
    }
    return models[part.name] or ""


def counted(point: Point, flags: tuple[Flag, ...]) -> Point:
    """Return a point that does not count where a flag is about it, or about all of the benchmark."""
    about = "cpu_score" if point.figure == "cpu_score_single" else point.figure
    doubted = any(not one.shadow and one.figure in {None, about} for one in flags)
    return msgspec.structs.replace(point, counts=point.unmarked and not doubted)
