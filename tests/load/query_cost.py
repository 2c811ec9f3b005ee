"""
What reading the fleet's health costs, and what storing it costs, on SQLite and PostgreSQL in one run.

    python tests/load/query_cost.py [--times 200] [--machines 10000] [--seconds 10] [--against CHECKOUT]

On each database, with a collector as a program of its own, asked over HTTP by one client on loopback:

- a day of one machine by the minute: an eight-GPU server's reports every 15 s, closed into chunks by the collector's own
  code; once for the series of a page of graphs, once for every series;
- the fleet now: every machine of `--machines` by `/v1/fleet`, where this version has it;

and without a collector, reports stored a second by the collector's own statement in its usual batches. With
`--against` the same is done in another checkout, in turns with this one, so that both see the same machine.

Cold means the first request after the collector started. Exit 1 when a goal is missed.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).parents[2]))

import psycopg

from collector.closing import Closing
from collector.history.tiers import tiers
from collector.store import health
from collector.store.engine import Database, open_database
from collector.store.health import Report
from collector.store.migrate import migrate
from tests import postgres
from tests.collector.known import add_machine
from tests.system.harness import Collector, Refused, environment

DAY_P99_MS, FLEET_P99_MS = 50.0, 150.0
SLOWEST_SHARE = 0.9
"""Of what the other checkout stores a second, as much must be stored here."""
GPUS = 8
PAGE = (
    "cpu.use_percent,cpu.iowait_percent,cpu.load_1,memory.used_percent,disks.used_percent[*],disks.read_mb_s[*],"
    "disks.write_mb_s[*],gpu.temperature_celsius[*],gpu.utilization_percent[*],gpu.memory_used_bytes[*],gpu.power_w[*]"
)
"""About what a page of graphs shows."""
BATCH = 2_000
READY_S = 120.0
"""How long a collector may take to read what it knows of a large fleet, on a machine that has other work."""


def steady_and_moving(dice: random.Random) -> Callable[[], dict]:
    """Return what makes one report after another: of an eight-GPU server, half of whose readings move."""
    level: dict[str, float] = {}

    def moving(name: str, least: float, most: float, places: int) -> float:
        now = level.get(name, (least + most) / 2) + dice.gauss(0, (most - least) / 40)
        level[name] = min(most, max(least, now))
        return round(level[name], places)

    def every_gpu(name: str, least: float, most: float, places: int) -> dict[str, float]:
        return {f"GPU-{number}": moving(f"{name}{number}", least, most, places) for number in range(GPUS)}

    def still(value: float) -> dict[str, float]:
        return {f"GPU-{number}": value for number in range(GPUS)}

    def report() -> dict:
        disks = ("/", "/boot", "/data")
        values = {
            "cpu": {
                name: moving(name, 0, 100, 1) for name in ("use_percent", "user_percent", "iowait_percent", "load_1")
            }
            | {"model": "AMD EPYC 9654", "logical_cpus": 192, "frequency_mhz": moving("mhz", 1500, 3700, 0)},
            "memory": {"total_bytes": 2**40, "used_percent": moving("memory", 0, 100, 1), "oom_kills": 0},
            "disks": {
                "used_percent": {one: moving(one, 10, 90, 2) for one in disks},
                "size_bytes": dict.fromkeys(disks, 4 * 10**12),
                "read_mb_s": {f"nvme{one}n1": moving(f"r{one}", 0, 7000, 3) for one in range(4)},
                "write_mb_s": {f"nvme{one}n1": moving(f"w{one}", 0, 7000, 3) for one in range(4)},
                "io_errors": {f"nvme{one}n1": 0 for one in range(4)},
            },
            "gpu": {
                "temperature_celsius": every_gpu("t", 30, 90, 0),
                "utilization_percent": every_gpu("u", 0, 100, 0),
                "memory_used_bytes": every_gpu("m", 0, 8e10, 0),
                "power_w": every_gpu("p", 70, 700, 1),
                "sm_clock_mhz": every_gpu("c", 300, 1980, 0),
                "model": dict.fromkeys(still(0), "NVIDIA H100 80GB HBM3"),
                **{
                    name: still(value)
                    for name, value in {
                        "memory_total_bytes": 85_899_345_920,
                        "slowdown_celsius": 90,
                        "ecc_corrected_errors": 0,
                        "ecc_uncorrected_errors": 0,
                        "pcie_generation": 5,
                        "pcie_width": 16,
                        "throttle_reasons": 0,
                        "nvlinks_active": 18,
                        "row_remap_pending": 0,
                    }.items()
                },
            },
        }
        return {name: {"outcome": "measured", "values": found, "took_ms": 1.0} for name, found in values.items()}

    return report


def reports_of(hardware_id: str, start: datetime, length: timedelta) -> Iterator[Report]:
    """Yield a report every 15 s, give or take a fifth, as agents make them."""
    dice = random.Random(1)
    made, at, seq = steady_and_moving(dice), start, 0
    while at < start + length:
        seq += 1
        yield Report(
            hardware_id=hardware_id,
            outbox_id="ob_1",
            seq=seq,
            boot_id="b",
            collected_at=at,
            received_at=at,
            at=at,
            indicators=json.dumps(made(), separators=(",", ":")).encode(),
        )
        at += timedelta(seconds=15 * dice.uniform(0.8, 1.2))


async def fill(url: str, now: datetime) -> None:
    """Put a day of one machine into a database."""
    database = open_database(url)
    try:
        async with database.write() as conn:
            await add_machine(conn, "hw_1")
        found = list(reports_of("hw_1", now - timedelta(hours=25), timedelta(hours=25)))
        for first in range(0, len(found), BATCH):
            async with database.write() as conn:
                await health.commit(conn, found[first : first + BATCH])
        began = time.perf_counter()
        moved = await Closing(database, lambda: now, tiers(timedelta(hours=24))).close()
        print(f"  closing: {moved} reports in {time.perf_counter() - began:.2f} s")
    finally:
        await database.close()


async def fill_fleet(url: str, many: int, now: datetime) -> None:
    """Put the present of many more machines into it."""
    database = open_database(url)
    try:
        await _machines(database, many, now)
    finally:
        await database.close()


async def _machines(database: Database, many: int, now: datetime) -> None:
    made = steady_and_moving(random.Random(2))
    for first in range(2, many + 1, BATCH):
        names = [f"hw_{number}" for number in range(first, min(first + BATCH, many + 1))]
        async with database.write() as conn:
            for name in names:
                await add_machine(conn, name)
        async with database.write() as conn:
            await health.commit(
                conn,
                [
                    Report(
                        hardware_id=name,
                        outbox_id="ob_1",
                        seq=0,
                        boot_id="b",
                        collected_at=now,
                        received_at=now,
                        at=now,
                        indicators=json.dumps(made(), separators=(",", ":")).encode(),
                    )
                    for name in names
                ],
            )


class Asked:
    """The times of one question, in ms."""

    def __init__(self, name: str, goal_p99_ms: float | None) -> None:
        self.name = name
        self.goal_p99_ms = goal_p99_ms
        self.cold_ms = 0.0
        self.took_ms: list[float] = []
        self.size = 0
        self.remark = ""

    @property
    def p99_ms(self) -> float:
        """Return the time that one in a hundred is above."""
        return sorted(self.took_ms)[min(len(self.took_ms) - 1, int(len(self.took_ms) * 0.99))]

    def line(self) -> str:
        """Return the figures as a row."""
        if self.remark:
            return f"  {self.name:34}{self.remark}"
        p50 = statistics.median(self.took_ms)
        goal = f"{self.goal_p99_ms:8.0f}" if self.goal_p99_ms is not None else f"{'-':>8}"
        return f"  {self.name:34}{self.cold_ms:9.1f}{p50:9.1f}{self.p99_ms:9.1f}{goal}{self.size / 1000:10.0f}"


def ask(collector: Collector, name: str, path: str, times: int, goal: float | None) -> Asked:
    """Ask one question many times over a connection of its own each, as `urllib` does."""
    row = Asked(name, goal)
    try:
        collector.ask("GET", path)
    except Refused as refused:
        row.remark = f"not in this version ({refused.status})"
        return row
    collector.kill()
    collector.start()
    collector.await_ready(READY_S)
    for number in range(times + 1):
        request = urllib.request.Request(
            collector.origin + path, headers={"Authorization": f"Bearer {collector.token}"}
        )
        began = time.perf_counter()
        with urllib.request.urlopen(request, timeout=60) as response:
            row.size = len(response.read())
        took = (time.perf_counter() - began) * 1000
        if number:
            row.took_ms.append(took)
        else:
            row.cold_ms = took
    return row


def questions(url: str, folder: Path, machines: int, times: int) -> list[Asked]:
    """Fill a database, and ask."""
    migrate(url)
    now = datetime.now(UTC)
    asyncio.run(fill(url, now))
    folder.mkdir()
    collector = Collector(folder, database=url)
    collector.start()
    collector.await_ready(READY_S)
    collector.token = collector.cli("token", "create", "--role", "admin", "--name", "measuring")
    span = f"from={quote((now - timedelta(days=1)).isoformat())}&to={quote(now.isoformat())}"
    day = f"/v1/machines/hw_1/health/history?resolution=1m&{span}"
    try:
        page = f"{day}&series={quote(PAGE, safe='')}"
        rows = [
            ask(collector, "a day by the minute, a page", page, times, DAY_P99_MS),
            ask(collector, "a day by the minute, every series", day, times, None),
        ]
        asyncio.run(fill_fleet(url, machines, datetime.now(UTC)))
        return [*rows, ask(collector, f"the fleet now, {machines} machines", "/v1/fleet", times, FLEET_P99_MS)]
    finally:
        collector.kill()


STORING = """
import asyncio, sys, time
from datetime import UTC, datetime, timedelta
from msgspec import structs
from collector.store import health
from collector.store.engine import open_database
from collector.store.health import Report

async def main(url, seconds, first, body):
    database, stored = open_database(url), 0
    now = datetime.now(UTC)
    usual = Report(hardware_id="hw_1", outbox_id="ob_s", seq=0, boot_id="b", collected_at=now, received_at=now, at=now, indicators=body)
    ends = time.perf_counter() + seconds
    began = time.perf_counter()
    while time.perf_counter() < ends:
        batch = [structs.replace(usual, seq=first + stored + number, hardware_id=f"hw_{1 + number % 2000}") for number in range(2000)]
        async with database.write() as conn:
            await health.commit(conn, batch)
        stored += len(batch)
    print(stored / (time.perf_counter() - began))
    await database.close()

asyncio.run(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.stdin.buffer.read()))
"""


def storing(urls: dict[str, str], seconds: float) -> dict[str, float]:
    """Return the reports stored a second by each checkout, in four turns, the median of each."""
    body = json.dumps(steady_and_moving(random.Random(3))(), separators=(",", ":")).encode()
    found: dict[str, list[float]] = {checkout: [] for checkout in urls}
    for turn in range(4):
        for checkout, url in urls.items():
            argv = [sys.executable, "-c", STORING, url, str(seconds / 4), str(turn * 10**7)]
            done = subprocess.run(
                argv,
                input=body,
                check=True,
                capture_output=True,
                cwd=checkout,
                env=environment() | {"PYTHONPATH": checkout},
            )
            found[checkout].append(float(done.stdout))
    return {checkout: statistics.median(rates) for checkout, rates in found.items()}


def prepared(url: str, checkout: str) -> None:
    """Make a database with the machines that are stored for, by a checkout's own code."""
    program = (
        "import asyncio, sys; from collector.store.migrate import migrate; from collector.store.engine import open_database;"
        "from tests.collector.known import add_machine\n"
        "async def main():\n"
        "    database = open_database(sys.argv[1])\n"
        "    async with database.write() as conn:\n"
        "        for number in range(1, 2001): await add_machine(conn, f'hw_{number}')\n"
        "    await database.close()\n"
        "migrate(sys.argv[1]); asyncio.run(main())"
    )
    surroundings = environment() | {"PYTHONPATH": checkout}
    subprocess.run(
        [sys.executable, "-c", program, url], check=True, cwd=checkout, env=surroundings, capture_output=True
    )


@contextmanager
def databases(folder: Path, names: list[str]) -> Iterator[dict[str, dict[str, str]]]:
    """Give the URLs of empty databases by kind and name; PostgreSQL's where it is installed."""
    kinds = {"SQLite": {name: f"sqlite:///{folder}/{name}.db" for name in names}}
    programs = postgres.binaries()
    if programs is None:
        print("PostgreSQL is not installed (Debian: postgresql): only SQLite is measured")
        yield kinds
        return
    with postgres.running(programs, durable=True) as server:
        with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
            for name in names:
                admin.execute(f"CREATE DATABASE {name}")
        yield kinds | {"PostgreSQL": {name: f"{server}/{name}" for name in names}}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=200, help="how often each question is asked")
    parser.add_argument("--machines", type=int, default=10_000, help="machines of the fleet")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to store reports")
    parser.add_argument("--against", default="", help="another checkout, to store reports in turns with")
    asked = parser.parse_args()
    here = str(Path(__file__).parents[2])
    missed: list[str] = []
    print(f"{platform.platform()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {asked.times} times each")
    with tempfile.TemporaryDirectory() as folder, databases(Path(folder), ["asked", "here", "there"]) as kinds:
        for kind, urls in kinds.items():
            print(kind)
            rows = questions(urls["asked"], Path(folder, kind), asked.machines, asked.times)
            print(f"  {'ms':34}{'cold':>9}{'p50':>9}{'p99':>9}{'goal':>8}{'kB':>10}")
            for row in rows:
                print(row.line())
                if not row.remark and row.goal_p99_ms is not None and row.p99_ms > row.goal_p99_ms:
                    missed.append(f"{kind}: {row.name}: p99 {row.p99_ms:.1f} ms, goal {row.goal_p99_ms:.0f}")
            checkouts = {here: urls["here"]} | ({asked.against: urls["there"]} if asked.against else {})
            for checkout, url in checkouts.items():
                prepared(url, checkout)
            rates = storing(checkouts, asked.seconds)
            print("  reports stored a second: " + ", ".join(f"{rate:.0f} ({at})" for at, rate in rates.items()))
            if asked.against and rates[here] < SLOWEST_SHARE * rates[asked.against]:
                missed.append(f"{kind}: {rates[here]:.0f} reports a second, {rates[asked.against]:.0f} there")
    print("every goal is met" if not missed else "missed: " + "; ".join(missed))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
