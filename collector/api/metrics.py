"""Figures for Prometheus, read at the moment of the scrape."""

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from collector.api.routing import Answer, Caller, Route
from collector.links.gateway import Gateway
from collector.links.watching import Watching
from collector.reports import ReportWriter
from collector.results import Results


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


class Metrics:
    """
    Serves figures.

    Args:
        figures: What is served.
    """

    def __init__(self, figures: Figures) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(figures)

    def routes(self) -> list[Route]:
        """Return the one operation."""
        return [
            Route(
                method="GET",
                path="/metrics",
                handler=self.metrics,
                roles=None,
                content_type="text/plain",
                summary="Figures for Prometheus.",
            ),
        ]

    async def metrics(self, _request: web.Request, _caller: Caller) -> Answer:
        """Return figures in Prometheus' text format."""
        body = generate_latest(self._registry)
        return Answer(body=body, content_type="text/plain", headers={"X-Content-Type-Options": "nosniff"})
