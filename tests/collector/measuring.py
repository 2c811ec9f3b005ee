"""Machines that are benchmarked: orders as the collector makes them, and signed outcomes as agents send them."""

from datetime import timedelta

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import structs

from agent.engines.challenge import solve
from collector.benchmarks.challenges import Mode
from collector.benchmarks.judging import Judging
from collector.benchmarks.ordering import BenchmarkOrders, Measuring
from collector.evidence import EvidenceStore
from collector.links.dispatch import FROM, State
from collector.orders import Orders
from collector.results import Results
from collector.store import commands, links, records
from shared.documents import (
    BandwidthTicket,
    BandwidthWitness,
    BenchmarkName,
    BenchmarkOutcome,
    Component,
    Order,
    read,
    sha256_of,
    sign,
)
from shared.envelope import Envelope
from shared.flags import FlagCode
from shared.messages import Facts, Result
from shared.records import FIGURES, Benchmark
from tests.collector.known import NOW, add_machine

ORDER_KEY = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
LINK_KEY = Ed25519PrivateKey.from_private_bytes(b"l" * 32)
SERVER_KEY = Ed25519PrivateKey.from_private_bytes(b"m" * 32)
SERVER = Measuring(url="https://measure.test:8471", public_key=SERVER_KEY.public_key().public_bytes_raw())
H100 = "NVIDIA H100 80GB HBM3"
FACTS = Facts(gpu_model=H100, cpu_model="AMD EPYC 9354", disk_type="NVMe", network_bandwidth="25 Gbps")
RUN = timedelta(seconds=200)
"""From sending an order to its outcome."""


def agent_key(hardware_id: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hardware_id.encode().ljust(32, b"a"))


def component(name: str, figures: dict[str, float], **details) -> Component:
    return Component(
        name=BenchmarkName(name), method_version=f"{name}/1", figures=figures, took_s=30.0, details=details
    )


def cpu(score: float = 8123.45, single: float = 1015.77, threads: int = 16, **more) -> Component:
    return component("cpu", {"cpu_score": score}, cpu_score_single=single, threads=threads, triad_gb_s=120.0, **more)


def disk(read_mb_s: float = 3512.377, write_mb_s: float = 2801.119, **more) -> Component:
    told = {
        "write": {"device_share": 1.0},
        "read": {"device_share": 1.0},
        "packed": 1.0,
        "device": {"model": "PM9A3", "layers": ["nvme0n1"], "rotational": False, "link": "16.0 GT/s PCIe x4"},
    }
    return component("disk", {"disk_read_mb_s": read_mb_s, "disk_write_mb_s": write_mb_s}, **told | more)


def a_gpu(**changes) -> dict[str, object]:
    usual = {"uuid": "GPU-1111", "name": H100, "sms": 132, "clock_mhz": 1700.0, "fp16": 702.117, "fp32": 48.2231}
    return usual | changes


def gpu(*found: dict[str, object]) -> Component:
    """A component as the agent tells it; each GPU flat, as `a_gpu` makes them."""
    listed = list(found or (a_gpu(),))
    figures = {
        "gpu_throughput_fp16": sum(one["fp16"] for one in listed),
        "gpu_throughput_fp32": sum(one["fp32"] for one in listed),
    }
    return component("gpu", figures, **gpu_details(*listed))


def gpu_details(*found: dict[str, object]) -> dict[str, object]:
    """The details of GPUs, each with a model of its own."""
    return {
        "models": [{"name": one.get("name"), "multiprocessors": one.get("sms")} for one in found],
        "gpus": [
            {"model": place, "uuid": one.get("uuid")}
            | {kind: {"tflop_s": one.get(kind), "mhz": one.get("clock_mhz")} for kind in ("fp16", "fp32")}
            for place, one in enumerate(found)
        ],
    }


class Site:
    """
    A collector's database, its orders and results, with a clock that tests set.

    Args:
        database: Migrated.
        folder: For evidence.
        mode: What challenges are worth.
        server: The measuring server.
    """

    def __init__(self, database, folder, mode: Mode = Mode.SHADOW, server: Measuring | None = None) -> None:
        self.database = database
        self.now = NOW
        self.orders = Orders(ORDER_KEY, lambda: self.now)
        self.benchmark_orders = BenchmarkOrders(self.orders, LINK_KEY, lambda: self.now, mode, server)
        judging = Judging(mode, server.public_key if server else None)
        evidence = EvidenceStore((folder / "evidence").as_uri())
        self.results = Results(database, evidence, LINK_KEY, lambda: self.now, judging)

    async def add(self, *hardware_ids: str, facts: Facts = FACTS) -> None:
        """Enroll machines with keys of their own."""
        for one in hardware_ids:
            async with self.database.write() as conn:
                await add_machine(conn, one, agent=agent_key(one).public_key().public_bytes_raw())
                await links.update_facts(conn, one, facts)

    async def order(self, hardware_id: str = "hw_1", names: str = "cpu disk gpu network", **more):
        """Order benchmarks and send the order now; return the order and its envelope."""
        components = tuple(BenchmarkName(one) for one in names.split())
        async with self.database.write() as conn:
            row = await self.benchmark_orders.issue(conn, hardware_id, components, requested_by="tests", **more)
            await commands.advance(conn, row.command_id, State.SENT, now=self.now, allowed_from=FROM[State.SENT])
        envelope = msgspec.json.decode(row.envelope, type=Envelope)
        return read(envelope.payload, Order), envelope

    def outcome(self, order: Order, envelope: Envelope, *components: Component, **changes) -> BenchmarkOutcome:
        """What an honest agent says, but for the changes."""
        measured = {name: value for one in components for name, value in one.figures.items() if name in FIGURES}
        challenge = order.work.challenge
        usual = BenchmarkOutcome(
            hardware_id=order.aud,
            command_id=order.command_id,
            order_sha256=sha256_of(envelope),
            started_at=self.now + timedelta(seconds=1),
            collected_at=self.now + RUN - timedelta(seconds=1),
            components=components,
            challenge=solve(challenge) if challenge else None,
            agent_version="0.1.0",
            boot_id="b",
            **measured,
        )
        return structs.replace(usual, **changes)

    async def take(self, outcome: BenchmarkOutcome) -> Benchmark:
        """Let an outcome come in, signed by its machine, when its run is over; return the record."""
        self.now += RUN
        signed = sign(outcome, agent_key(outcome.hardware_id))
        await self.results.take(outcome.hardware_id, Result(command_id=outcome.command_id, envelope=signed))
        async with self.database.read() as conn:
            (row,) = await records.page(conn, Benchmark, {"command_id": outcome.command_id}, None, 2)
        return row

    async def run(self, *components: Component, hardware_id: str = "hw_1", **changes) -> Benchmark:
        """Order, measure and take in, all at once."""
        names = " ".join(one.name for one in components)
        order, envelope = await self.order(hardware_id, names)
        return await self.take(self.outcome(order, envelope, *components, **changes))

    async def fleet(self, count: int, *make) -> None:
        """Add machines hw_f0, hw_f1, … and let each be measured; `make` gives components by number."""
        for number in range(count):
            hardware_id = f"hw_f{number}"
            await self.add(hardware_id)
            await self.run(*(one(number) for one in make), hardware_id=hardware_id)


def witness(order: Order, key: Ed25519PrivateKey = SERVER_KEY, **changes) -> dict[str, object]:
    """What the measuring server hands out for an order's ticket, as it stands in the details."""
    ticket = read(order.work.server.ticket.payload, BandwidthTicket)
    usual = BandwidthWitness(
        ticket_id=ticket.ticket_id,
        hardware_id=order.aud,
        up_bit_s=9_400_000_000,
        down_bit_s=9_300_000_000,
        up_bytes=5_000_000_000,
        down_bytes=5_000_000_000,
        streams=8,
        limited_by="path",
        capacity_bit_s=100_000_000_000,
        ended_at=order.issued_at + timedelta(seconds=60),
    )
    return msgspec.to_builtins(sign(structs.replace(usual, **changes), key))


def codes(row: Benchmark, *, shadow: bool = False) -> set[FlagCode]:
    """The codes of a record's flags that count, or of those in shadow."""
    return {one.code for one in row.flags if one.shadow is shadow}
