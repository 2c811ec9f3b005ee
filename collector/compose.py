"""The only place where the collector's parts are made and put together."""

import asyncio
import contextlib
import errno
import gc
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import structlog
from aiohttp import web

from collector import keyring
from collector.api.certificates import Certificates
from collector.api.commands import Commands
from collector.api.comparisons import Comparisons
from collector.api.enrollment import Enrollment
from collector.api.figures import Counting, Figures
from collector.api.fleet import Fleet
from collector.api.history import History
from collector.api.metrics import Metrics
from collector.api.middleware import Doorkeeper
from collector.api.observing import Observing
from collector.api.presence import PresenceLedger
from collector.api.records import Records
from collector.api.routing import Route
from collector.api.stream import Stream
from collector.api.verdicts import Verdicts
from collector.api.verification import Verification
from collector.app import make_app
from collector.assessing import Assessing
from collector.benchmarks.challenges import Mode
from collector.benchmarks.judging import Judging
from collector.benchmarks.ordering import BenchmarkOrders, measuring
from collector.bus.local import LocalBell
from collector.chores import Chores
from collector.closing import Closing
from collector.config import Settings
from collector.evidence import EvidenceStore
from collector.feed import Feed
from collector.history.tiers import tiers
from collector.keyring import Keyring
from collector.links.dispatch import FROM, State
from collector.links.gateway import Gateway
from collector.links.pace import Paces
from collector.links.presence import GONE
from collector.links.rooms import Rooms
from collector.links.watching import Watching
from collector.orders import Orders
from collector.reports import ReportWriter
from collector.results import Results
from collector.store import health
from collector.store.engine import Database, open_database
from collector.store.health import Report
from shared.codes import Code, Trouble
from shared.messages import Intervals

STOP_S = 1.0
"""How long open requests may take to end when the process stops."""

log = structlog.get_logger()


def utc_now() -> datetime:
    """Return the time; the one clock of this process."""
    return datetime.now(UTC)


async def serve(settings: Settings) -> None:
    """
    Run the collector until SIGTERM or SIGINT.

    Raises:
        Trouble: `port_in_use`, `state_unwritable`, `bad_configuration`, or what the database says.
    """
    database = open_database(settings.database_url)
    try:
        await _serve(settings, database)
    finally:
        await database.close()


async def _serve(settings: Settings, database: Database) -> None:
    async def commit(reports: Sequence[Report]) -> None:
        async with database.write() as conn:
            await health.commit(conn, reports)

    parts = assemble(settings, database, keyring.load_or_create(Path(settings.data_dir)), commit)
    await parts.watching.load()
    await parts.assessing.load()
    writer, watching, gateway, observing = parts.writer, parts.watching, parts.gateway, parts.observing
    app = make_app(parts.routes, Doorkeeper(database, utc_now), gateway, version("rackproof"))
    chores = parts.chores.schedule()
    async with _listening(app, settings), _running(writer.run(), watching.run(), parts.assessing.run()):
        chores.start()
        log.info("collector.ready", listen=settings.listen, origins=sorted(settings.known_origins), signing="local")
        await _told_to_stop()
        log.info("collector.stopping", links=gateway.open_links)
        observing.draining = True
        parts.feed.end()
        chores.shutdown(wait=False)
        await gateway.stop()
        with contextlib.suppress(TimeoutError, Trouble):
            await asyncio.wait_for(asyncio.gather(writer.flush(), parts.assessing.flush()), STOP_S)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(watching.end(), STOP_S)
    log.info("collector.stopped")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The collector's long-lived parts, and the API over them."""

    writer: ReportWriter
    watching: Watching
    assessing: Assessing
    feed: Feed
    gateway: Gateway
    observing: Observing
    chores: Chores
    routes: list[Route]


def assemble(
    settings: Settings,
    database: Database,
    keys: Keyring,
    commit: Callable[[Sequence[Report]], Awaitable[None]],
) -> Parts:
    """
    Make every part; nothing runs and no file but the evidence directory is touched.

    Raises:
        Trouble: `bad_configuration`.
    """
    evidence = EvidenceStore(settings.evidence_url)

    async def refuse(report: Report) -> None:
        async with database.write() as conn:
            await health.refuse(conn, report)

    writer = ReportWriter(commit, refuse, settings.commit_every_s)
    feed, kept = Feed(), tiers(timedelta(hours=settings.health_kept_h))
    watching = Watching(database, feed, utc_now, FROM[State.UNKNOWN])
    assessing = Assessing(database, feed, utc_now, _gone(watching), watching.ahead_s)
    mode, server = Mode(settings.challenge_mode), measuring(settings.bandwidth_server, settings.bandwidth_server_key)
    judging = Judging(mode, server.public_key if server is not None else None)
    results = Results(database, evidence, keys.link, utc_now, judging)
    gateway = Gateway(
        Rooms(
            database=database,
            keyring=keys,
            origins=settings.known_origins,
            intervals=Intervals(heartbeat_s=settings.heartbeat_s),
            writer=writer,
            watching=watching,
            assessing=assessing,
            results=results,
            now=utc_now,
            paces=Paces(settings.heartbeat_s),
        )
    )
    observing = Observing(database)
    orders, bell = Orders(keys.order, utc_now), LocalBell(gateway.ring)
    benchmark_orders = BenchmarkOrders(orders, keys.link, utc_now, mode, server)
    chores = Chores(
        database,
        utc_now,
        Closing(database, utc_now, kept),
        kept,
        benchmark_orders,
        bell,
        timedelta(days=settings.benchmark_every_days),
    )
    figures = Figures(
        Counting(
            gateway=gateway,
            watching=watching,
            assessing=assessing,
            writer=writer,
            results=results,
            feed=feed,
            database=database,
            chores=chores,
            now=utc_now,
            version=version("rackproof"),
        )
    )
    return Parts(
        writer=writer,
        watching=watching,
        assessing=assessing,
        feed=feed,
        gateway=gateway,
        observing=observing,
        chores=chores,
        routes=[
            *Records(database, utc_now).routes(),
            *Certificates(database, evidence, keys.trust).routes(),
            *Comparisons(database).routes(),
            *Verification(database, utc_now).routes(),
            *Commands(database, orders, benchmark_orders, bell, utc_now).routes(),
            *Enrollment(database, keys, settings.known_origins, watching, gateway, utc_now).routes(),
            *observing.routes(),
            *PresenceLedger(database, utc_now).routes(),
            *Fleet(database).routes(),
            *Stream(feed, database).routes(),
            *History(database, utc_now, kept, timedelta(seconds=settings.heartbeat_s)).routes(),
            *Verdicts(database, assessing, utc_now).routes(),
            *Metrics(figures).routes(),
        ],
    )


def _gone(watching: Watching) -> Callable[[str], bool]:
    """Return the question whether a machine is offline, as presence has it: a restart or an outage here is none."""

    def gone(hardware_id: str) -> bool:
        watch = watching.snapshot(hardware_id)
        return watch is not None and watch.presence in GONE

    return gone


@contextlib.asynccontextmanager
async def _listening(app: web.Application, settings: Settings) -> AsyncIterator[None]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_S, handle_signals=False)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, settings.host, settings.port, backlog=1024).start()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                words = f"{settings.listen} is taken by another program"
                raise Trouble(Code.PORT_IN_USE, words, "stop it, or choose another with --listen") from error
            raise Trouble(Code.BAD_CONFIGURATION, f"listen = {settings.listen!r}: {error.strerror}") from error
        # What exists now lives as long as the process; a full collection over it costs time and frees nothing.
        gc.collect()
        gc.freeze()
        yield
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _running(*loops: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run the loops beside the body; when the body ends they are cancelled, and when one breaks, so does the body."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(loop) for loop in loops]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def _told_to_stop() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, stop.set)
    await stop.wait()
