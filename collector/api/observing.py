"""How the collector itself is: alive, ready, its figures; and what it knows of the machines' presence and health."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from collector.api.records import key_in
from collector.api.routing import Answer, Caller, Route, whole
from collector.links.gateway import Gateway
from collector.links.watching import Watching
from collector.reports import ReportWriter
from collector.results import Results
from collector.store import health, presence
from collector.store.engine import Database
from shared.codes import Code, Trouble

MOST_SAMPLES = 1_000


class Figures(Collector):
    """
    The collector's own figures, read at the moment of the scrape.

    Args:
        gateway: Counts the open links.
        watching: Counts machines by presence.
        writer: Counts reports.
        results: Counts certificates out of place.
    """

    def __init__(self, gateway: Gateway, watching: Watching, writer: ReportWriter, results: Results) -> None:
        self._gateway = gateway
        self._watching = watching
        self._writer = writer
        self._results = results

    def collect(self) -> list[GaugeMetricFamily | CounterMetricFamily]:
        """Return every figure. Source of the naming rules: prometheus.io, "Metric and label naming"."""
        machines = GaugeMetricFamily("rackproof_machines", "Machines by presence.", labels=["presence"])
        for state, count in self._watching.counts().items():
            machines.add_metric([state], count)
        return [
            machines,
            GaugeMetricFamily("rackproof_links", "Open agent links of this process.", self._gateway.open_links),
            GaugeMetricFamily("rackproof_reports_waiting", "Reports waiting for their commit.", self._writer.depth),
            CounterMetricFamily("rackproof_reports_committed", "Reports committed.", self._writer.committed),
            CounterMetricFamily("rackproof_commit_failures", "Commits of reports that failed.", self._writer.failures),
            CounterMetricFamily(
                "rackproof_health_reports_refused", "Reports the database refused, dropped.", self._writer.refused
            ),
            CounterMetricFamily(
                "rackproof_evidence_chain_gaps",
                "Certificates whose predecessor was missing or doubled.",
                self._results.chain_gaps,
            ),
        ]


class Observing:
    """
    Serves state.

    Args:
        database: Asked whether it answers; holds samples and the ledger.
        figures: For Prometheus.
        now: The clock.
    """

    def __init__(self, database: Database, figures: Figures, now: Callable[[], datetime]) -> None:
        self._database = database
        self._registry = CollectorRegistry()
        self._registry.register(figures)
        self._now = now
        self.draining = False

    def routes(self) -> list[Route]:
        """Return the operations on state."""
        return [
            Route(method="GET", path="/healthz", handler=self.alive, roles=None, summary="The process is alive."),
            Route(
                method="GET",
                path="/readyz",
                handler=self.ready,
                roles=None,
                summary="The process takes requests: the database answers and no stop is under way.",
            ),
            Route(
                method="GET",
                path="/metrics",
                handler=self.metrics,
                roles=None,
                content_type="text/plain",
                summary="Figures for Prometheus.",
            ),
            Route(
                method="GET",
                path="/v1/machines/{key}/presence",
                handler=self.presence,
                summary="A machine's presence now, and its ledger of changes with their causes, newest first.",
            ),
            Route(
                method="GET",
                path="/v1/machines/{key}/health",
                handler=self.samples,
                summary="A machine's health reports of the last hours, newest first.",
                query={"hours": "how far back, 1 to 48", "limit": f"at most, 1 to {MOST_SAMPLES}"},
            ),
        ]

    async def alive(self, _request: web.Request, _caller: Caller) -> Answer:
        """Say that this process answers."""
        return Answer(body={"status": "ok"})

    async def ready(self, _request: web.Request, _caller: Caller) -> Answer:
        """Say whether requests can be served."""
        if self.draining:
            raise Trouble(Code.STORE_UNAVAILABLE, "this process is stopping")
        await self._database.ping()
        return Answer(body={"status": "ok"})

    async def metrics(self, _request: web.Request, _caller: Caller) -> Answer:
        """Return figures in Prometheus' text format."""
        body = generate_latest(self._registry)
        return Answer(body=body, content_type="text/plain", headers={"X-Content-Type-Options": "nosniff"})

    async def presence(self, request: web.Request, _caller: Caller) -> Answer:
        """Show a machine's presence."""
        key = key_in(request)
        async with self._database.read() as conn:
            live = await presence.find(conn, key)
            events = await presence.events(conn, key, 100)
        if live is None:
            raise Trouble(Code.NOT_FOUND, f"no machine {key}")
        return Answer(body={"now": live, "events": events})

    async def samples(self, request: web.Request, _caller: Caller) -> Answer:
        """Show a machine's recent reports."""
        hours, limit = whole(request, "hours", 1, 48), whole(request, "limit", 100, MOST_SAMPLES)
        until = self._now()
        async with self._database.read() as conn:
            rows: list[Any] = await health.history(conn, key_in(request), until - timedelta(hours=hours), until, limit)
        return Answer(body={"items": rows})
