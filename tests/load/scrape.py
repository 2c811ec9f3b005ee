"""
What a scrape of all machines costs: time, bytes, and how long the event loop was held up meanwhile.

`python tests/load/scrape.py [--machines 1000]`: as many GPU servers with eight GPUs each, in a new SQLite database.
"""

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from aiohttp.test_utils import TestServer

from collector import keyring
from collector.api.middleware import Doorkeeper
from collector.app import make_app
from collector.compose import assemble, utc_now
from collector.config import Settings
from collector.store import health, tokens
from collector.store.engine import Database, open_database
from collector.store.health import Report
from collector.store.migrate import migrate
from collector.store.tokens import ApiToken
from collector.tokens import new_token
from tests.collector.known import NOW, add_machine

RECORDING = Path(__file__).parents[1] / "host" / "recordings" / "gpu-server" / "report.json"
TICK_S = 0.002
FETCH = """
import sys, time, urllib.request
began = time.perf_counter()
headers = {"Authorization": "Bearer " + sys.argv[2], "Accept-Encoding": sys.argv[3]}
with urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers=headers)) as answer:
    body = answer.read()
print(time.perf_counter() - began, len(body), body.count(b"\\n"))
"""


async def fill(database: Database, machines: int) -> str:
    """Enroll and report so many machines; return a token that may read them."""
    raw = json.dumps(json.loads(RECORDING.read_bytes())["indicators"]).encode()
    token = new_token("rps")
    at = datetime.now(UTC)
    for first in range(0, machines, 500):
        names = [f"hw_{number:032x}" for number in range(first, min(first + 500, machines))]
        async with database.write() as conn:
            for name in names:
                await add_machine(conn, name)
            await health.commit(
                conn,
                [
                    Report(
                        hardware_id=name,
                        outbox_id="o",
                        seq=1,
                        boot_id="b",
                        collected_at=at,
                        received_at=at,
                        at=at,
                        indicators=raw,
                    )
                    for name in names
                ],
            )
    row = ApiToken(token_id=token.token_id, secret_sha256=token.secret_sha256, name="x", role="auditor", created_at=NOW)
    async with database.write() as conn:
        await tokens.create(conn, row)
    return token.shown


async def held_up(longest: list[float]) -> None:
    """Note by how much each turn of the event loop came late."""
    while True:
        began = time.perf_counter()
        await asyncio.sleep(TICK_S)
        longest.append(time.perf_counter() - began - TICK_S)


def lateness(late: list[float]) -> str:
    """Return the 99th percentile and the most, in milliseconds."""
    ordered = sorted(late)
    return f"{1000 * ordered[int(len(ordered) * 0.99)]:.1f}, {1000 * ordered[-1]:.1f}"


async def measure(machines: int) -> None:
    """Print what scrapes cost, packed and plain."""

    async def never(_reports: object) -> None:
        raise AssertionError("no link is open")

    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/scrape.db"
        await asyncio.to_thread(migrate, url)
        database = open_database(url)
        token = await fill(database, machines)
        settings = Settings(data_dir=folder, origins=("http://collector.test",))
        parts = assemble(settings, database, keyring.load_or_create(Path(folder) / "keys"), never)
        app = make_app(parts.routes, Doorkeeper(database, utc_now), parts.gateway, "1")
        async with TestServer(app) as server:
            late: list[float] = []
            watching = asyncio.create_task(held_up(late))
            print(f"{'':10} {'s':>6} {'CPU s':>6} {'MB':>7} {'lines':>9}   event loop late, ms: p99, most")
            await asyncio.sleep(2)
            print(f"{'no scrape':43}   {lateness(late)}")
            for encoding in ("gzip", "gzip", "gzip", "identity", "identity"):
                late.clear()
                began_s = time.process_time()
                argv = [sys.executable, "-c", FETCH, str(server.make_url("/metrics/machines")), token, encoding]
                client = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
                out, _ = await client.communicate()
                cpu_s = time.process_time() - began_s
                took, size, lines = out.split()
                figures = f"{float(took):6.2f} {cpu_s:6.2f} {int(size) / 1e6:7.2f} {int(lines):9}"
                print(f"{encoding:10} {figures}   {lateness(late)}")
            watching.cancel()
        await database.close()
    print(f"most memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machines", type=int, default=1000)
    asyncio.run(measure(parser.parse_args().machines))
