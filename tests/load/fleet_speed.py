"""
How long the data of the fleet's page takes: counts and one list, for a fleet of 10,000, as the API reads them.

    python tests/load/fleet_speed.py [--machines 10000] [--rounds 100] [--database URL]

Without a URL it takes an SQLite file in a temporary directory. The database must be migrated and empty otherwise.
"""

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta

from collector.store import fleet, tables
from collector.store.engine import Database, open_database
from collector.store.fleet import Wanted
from collector.store.migrate import migrate

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
MODELS = ("NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB", "NVIDIA GeForce RTX 4090", None)
ASKED: dict[str, tuple[Wanted, str, bool]] = {
    "first page": (Wanted(), "hardware_id", False),
    "worst first": (Wanted(), "presence", False),
    "newest report first": (Wanted(), "last_received_at", True),
    "by model": (Wanted(), "gpu_model", False),
    "offline ones": (Wanted(presence=("offline", "overdue")), "presence_since", False),
    "one provider's": (Wanted(customer_id="usr_7"), "health_state", False),
    "search": (Wanted(q="rtx"), "hardware_id", False),
}


async def fill(database: Database, machines: int) -> None:
    """Put in a fleet; each machine's row bears a report of eight GPUs, as wide as they are."""
    dice = random.Random(1)
    report = {f"gpu_{number}": {"values": {f"value_{one}": 12345.678 for one in range(20)}} for number in range(8)}
    users = [
        {"customer_id": f"usr_{n}", "email": f"{n}@example.com", "is_billing_account": True, "signup_date": NOW}
        for n in range(50)
    ]
    rows, lives = [], []
    for number in range(machines):
        key, presence = f"hw_{number:06}", dice.choices(["online", "offline", "overdue", "stale"], [90, 4, 4, 2])[0]
        rows.append(
            {
                "hardware_id": key,
                "customer_id": f"usr_{dice.randrange(50)}",
                "gpu_model": dice.choice(MODELS),
                "cpu_model": "AMD EPYC 7742 64-Core Processor",
                "os": "Ubuntu 22.04",
                "provider_agent_status": "online",
                "health_indicators": report,
            }
        )
        state = dice.choices(["healthy", "degraded", "unhealthy", "unknown"], [80, 10, 5, 5])[0]
        lives.append(
            {
                "hardware_id": key,
                "presence": presence,
                "presence_since": NOW - timedelta(seconds=dice.randrange(10**6)),
                "last_received_at": NOW - timedelta(seconds=dice.randrange(10**3)),
                "last_seq": 1,
                "join_confirmed": 0,
                "join_offered": 0,
                "order_seq": 0,
                "benchmark_due_at": NOW,
                "health_state": state,
                "health_since": NOW,
                "health_reasons": [] if state == "healthy" else [{"code": "gpu_hot", "words": "GPU 3 is at 91 °C"}],
            }
        )
    async with database.write() as conn:
        for table, many in ((tables.user, users), (tables.machine, rows), (tables.live, lives)):
            await conn.execute(table.insert(), many)


async def measure(database: Database, rounds: int) -> dict[str, dict[str, float]]:
    """Return milliseconds for each question: counts, a first page of 100, and a page from the middle."""
    found: dict[str, dict[str, float]] = {}
    for name, (wanted, sort, reverse) in ASKED.items():
        took_ms, after = [], None
        for number in range(rounds):
            begun = time.perf_counter()
            async with database.read() as conn:
                await fleet.summary(conn, wanted)
                page = await fleet.page(conn, wanted, sort, after if number % 2 else None, 101, reverse=reverse)
            took_ms.append((time.perf_counter() - begun) * 1000)
            after = (page[-1][1], page[-1][0].hardware_id) if page else None
        ranked = sorted(took_ms)
        found[name] = {"p50": statistics.median(ranked), "p99": ranked[int(len(ranked) * 0.99) - 1]}
    return found


async def run(url: str, machines: int, rounds: int) -> None:
    database = open_database(url)
    try:
        await fill(database, machines)
        for name, figures in (await measure(database, rounds)).items():
            print(json.dumps({"asked": name, **{key: round(value, 1) for key, value in figures.items()}}))
    finally:
        await database.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--database")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = asked.database or f"sqlite:///{folder}/fleet.db"
        migrate(url)
        asyncio.run(run(url, asked.machines, asked.rounds))


if __name__ == "__main__":
    main()
