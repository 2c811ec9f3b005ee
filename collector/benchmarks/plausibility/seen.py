"""What a rule sees: the outcome, what was ordered, and what is known of the machine and its like."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cached_property

from msgspec import Struct

from collector.benchmarks import readings
from collector.benchmarks.comparison import Point
from shared.documents import BandwidthTicket, BenchmarkName, BenchmarkOutcome, BenchmarkWork, Component
from shared.flags import Flag, FlagCode
from shared.records import UNITS

COMPARED = {**UNITS, "cpu_score_single": UNITS["cpu_score"]}
"""By figure that is compared (the record's, and one thread's score): its unit."""


class Context(Struct, frozen=True, kw_only=True):
    """
    What is known beside an outcome.

    Attributes:
        work: What was ordered.
        issued_at: When, by the collector's clock, as the two below.
        sent_at: When the order was first sent; None when that was not noted.
        received_at: When the outcome came in.
        skew_s: By how much the machine's clock is ahead; None when that is not known.
        gpu_model: By the machine's record.
        ticket: The order's ticket to a measuring server.
        server_key: That server's public key; None when none is configured.
        peers: By figure: the newest values of other machines of the same model, in the same method version.
        own: This machine's earlier points, newest first.
        twins: Other machines' points with the same digits.
        elsewhere: By GPU UUID: another machine in which it was measured.
        proven: Whether the challenge's product is right; None when nobody computed it.
        trial: Whether flags about the challenge are in shadow.
    """

    work: BenchmarkWork
    issued_at: datetime
    sent_at: datetime | None
    received_at: datetime
    skew_s: float | None = None
    gpu_model: str | None = None
    ticket: BandwidthTicket | None = None
    server_key: bytes | None = None
    peers: Mapping[str, tuple[float, ...]] = {}
    own: tuple[Point, ...] = ()
    twins: tuple[Point, ...] = ()
    elsewhere: Mapping[str, str] = {}
    proven: bool | None = None
    trial: bool = True


class Seen:
    """
    An outcome with its details read.

    Args:
        outcome: What the machine says.
        points: Its figures.
        context: What is known beside it.
    """

    def __init__(self, outcome: BenchmarkOutcome, points: tuple[Point, ...], context: Context) -> None:
        self.outcome = outcome
        self.points = points
        self.context = context
        self.parts = {one.name: one for one in outcome.components}

    def part(self, name: BenchmarkName) -> Component | None:
        """The component of this name."""
        return self.parts.get(name)

    @cached_property
    def cpu(self) -> readings.Cpu:
        """The CPU component's details."""
        return readings.cpu(self._details(BenchmarkName.CPU))

    @cached_property
    def disk(self) -> readings.Disk:
        """The disk component's details."""
        return readings.disk(self._details(BenchmarkName.DISK))

    @cached_property
    def gpus(self) -> tuple[readings.Gpu, ...]:
        """The GPU component's details."""
        return readings.gpus(self._details(BenchmarkName.GPU))

    @cached_property
    def network(self) -> readings.Network:
        """The network component's details."""
        return readings.network(self._details(BenchmarkName.NETWORK))

    def _details(self, name: BenchmarkName) -> Mapping[str, object]:
        part = self.part(name)
        return part.details if part is not None else {}


Rule = Callable[[Seen], Iterable[Flag]]


def flag(code: FlagCode, words: str, figure: str | None = None, *, shadow: bool = False) -> Flag:
    """Return a flag; its words are cut at their limit."""
    return Flag(code=code, figure=figure, words=words[:300], shadow=shadow)


def amount(value: float, figure: str) -> str:
    """Return a figure in words."""
    return f"{value:,.6g} {COMPARED.get(figure, '')}".strip()
