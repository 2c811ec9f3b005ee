"""Health reports of a machine over time, for tests of what is kept of them."""

from datetime import datetime, timedelta

import msgspec
from msgspec import structs
from sqlalchemy import text

from collector.closing import Closing
from collector.history.tiers import tiers
from collector.store import health
from collector.store.health import Report
from shared.messages import Measured

KEPT = tiers(timedelta(hours=24))
EVERY = timedelta(seconds=15)


def a_report(seq: int, at: datetime, use: float = 1.0, **changes) -> Report:
    """One report: `use` in the CPU's use, its number in a disk's."""
    values = {
        "cpu": Measured(values={"use_percent": use, "model": "EPYC"}, took_ms=1.0),
        "disks": Measured(values={"used_percent": {"/": 40, "/data": seq % 100}}, took_ms=1.0),
    }
    usual = Report(
        hardware_id="hw_1",
        outbox_id="ob_1",
        seq=seq,
        boot_id="b",
        collected_at=at,
        received_at=at,
        at=at,
        indicators=msgspec.json.encode(values),
    )
    return structs.replace(usual, **changes)


def reports(start: datetime, length: timedelta, first: int = 1, **changes) -> list[Report]:
    """One report every 15 s; in each hour one of them shows the CPU at its limit."""
    return [
        a_report(first + number, start + number * EVERY, 100.0 if number % 240 == 100 else 1.0, **changes)
        for number in range(length // EVERY)
    ]


async def commit(database, found) -> None:
    """Store reports as the collector does."""
    async with database.write() as conn:
        await health.commit(conn, found)


async def joined(database, outbox_id: str = "ob_1") -> None:
    """Let the machine's row know its outbox, as a hello does."""
    async with database.write() as conn:
        await conn.execute(text("UPDATE live SET outbox_id = :it, last_seq = -1"), {"it": outbox_id})


async def closed(database, now: datetime) -> int:
    """Close the hours that are over at a time."""
    return await Closing(database, lambda: now, KEPT).close()


async def logged(database) -> list[int]:
    """The numbers that the log holds."""
    async with database.read() as conn:
        return list((await conn.execute(text("SELECT seq FROM health_sample ORDER BY seq"))).scalars())
