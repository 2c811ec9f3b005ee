"""The collector's own figures, read at the moment of the scrape."""

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from collector.assessing import Assessing
from collector.chores import Chores
from collector.durations import Durations
from collector.feed import Feed
from collector.links.gateway import Gateway
from collector.links.watching import Watching
from collector.reports import ReportWriter
from collector.results import Results
from collector.store.engine import Database


@dataclass(frozen=True, kw_only=True)
class Counting:
    """The parts of the collector that count something."""

    gateway: Gateway
    watching: Watching
    assessing: Assessing
    writer: ReportWriter
    results: Results
    feed: Feed
    database: Database
    chores: Chores
    now: Callable[[], datetime]
    version: str


class Figures(Collector):
    """
    Makes metrics of what the parts count.

    Args:
        parts: Where it is counted.

    Attributes:
        parts: The same.
        open_commands: Open commands by state, as last asked; empty until the database answered.
    """

    def __init__(self, parts: Counting) -> None:
        self.parts = parts
        self.open_commands: Mapping[str, int] = {}

    def collect(self) -> Iterator[Metric]:
        """Return every figure. Source of the naming rules: prometheus.io, "Metric and label naming"."""
        build = {"version": self.parts.version, "python": platform.python_version()}
        yield gauges("build_info", "1, with this program's version.", build, [(tuple(build.values()), 1)])
        yield from self._links()
        yield from self._reports()
        yield from self._commands()
        yield from self._database()
        yield from self._chores()

    def _links(self) -> Iterator[Metric]:
        gateway, watching = self.parts.gateway, self.parts.watching
        yield gauges("machines", "Machines by presence.", ["presence"], watching.counts().items())
        verdicts = self.parts.assessing.counts().items()
        yield gauges("machines_by_health", "Machines by their verdict.", ["state"], verdicts)
        yield gauge("mass_silence", "1 while more than half of the fleet fell silent together.", watching.mass_silence)
        yield gauge("links", "Open agent links of this process.", gateway.open_links)
        rooms = gateway.rooms
        yield counters("joins", "Hellos, by what became of them: joined, or a code.", ["outcome"], rooms.joins.items())
        yield counters("links_closed", "Links that the collector closed, by code.", ["code"], rooms.closed.items())
        yield counters("messages_not_stored", "Messages that could not be stored.", ["code"], rooms.not_stored.items())
        yield gauge("feed_subscribers", "Open streams of changes.", self.parts.feed.subscribers)

    def _reports(self) -> Iterator[Metric]:
        writer = self.parts.writer
        since = writer.waiting_since
        yield counter("reports_received", "Reports received.", writer.received)
        yield counter("reports_committed", "Reports committed.", writer.committed)
        yield counter("health_reports_refused", "Reports the database refused, dropped.", writer.refused)
        yield counter("commit_failures", "Commits of reports that failed.", writer.failures)
        yield gauge("reports_waiting", "Reports waiting for their commit.", writer.depth)
        waited_s = max(0.0, (self.parts.now() - since).total_seconds()) if since is not None else 0.0
        yield gauge("reports_waiting_seconds", "How long the oldest of them has waited.", waited_s)
        yield histogram("commit_duration_seconds", "How long commits of reports took.", [], {"": writer.took})

    def _commands(self) -> Iterator[Metric]:
        results, expired = self.parts.results, self.parts.chores.expired
        yield gauges("commands", "Open commands by state.", ["state"], self.open_commands.items())
        ended = {**results.ended, **{(kind, "expired"): count for kind, count in expired.items()}}
        yield counters("commands_ended", "Commands ended since this process started.", ["kind", "state"], ended.items())
        words = "Certificates whose predecessor was missing or doubled."
        yield counter("evidence_chain_gaps", words, results.chain_gaps)

    def _database(self) -> Iterator[Metric]:
        database = self.parts.database
        yield counters(
            "database_failures", "Times the database was away, by code.", ["code"], database.failures.items()
        )
        words = "How long transactions were, with the wait for a connection."
        yield histogram("database_transaction_duration_seconds", words, ["kind"], database.took)

    def _chores(self) -> Iterator[Metric]:
        rounds = self.parts.chores.rounds
        done = {name: one.succeeded_at.timestamp() if one.succeeded_at else 0 for name, one in rounds.items()}
        words = "When a chore was done last; 0 until it was."
        yield gauges("chore_last_success_timestamp_seconds", words, ["chore"], done.items())
        every = {name: one.every_s for name, one in rounds.items()}
        yield gauges("chore_interval_seconds", "How often a chore's turn comes.", ["chore"], every.items())
        took = {name: one.took_s for name, one in rounds.items()}
        yield gauges("chore_duration_seconds", "How long a chore's last turn was.", ["chore"], took.items())
        failures = {name: one.failures for name, one in rounds.items()}
        yield counters("chore_failures", "Turns of a chore that broke off.", ["chore"], failures.items())


Values = Iterable[tuple[str | tuple[str, ...], float]]
"""Numbers, each with the value of the one label, or with the values of several."""


def gauge(name: str, words: str, value: float) -> Metric:
    """Return a figure that goes up and down."""
    return GaugeMetricFamily(f"rackproof_{name}", words, float(value))


def counter(name: str, words: str, value: float) -> Metric:
    """Return a figure that only goes up; its name gets `_total`."""
    return CounterMetricFamily(f"rackproof_{name}", words, value)


def gauges(name: str, words: str, names: "list[str] | Mapping[str, str]", values: Values) -> Metric:
    """Return one that has labels."""
    family = GaugeMetricFamily(f"rackproof_{name}", words, labels=list(names))
    for key, value in values:
        family.add_metric([key] if isinstance(key, str) else list(key), value)
    return family


def counters(name: str, words: str, names: list[str], values: Values) -> Metric:
    """Return one that has labels and only goes up."""
    family = CounterMetricFamily(f"rackproof_{name}", words, labels=names)
    for key, value in values:
        family.add_metric([key] if isinstance(key, str) else list(key), value)
    return family


def histogram(name: str, words: str, names: list[str], values: Mapping[str, Durations]) -> Metric:
    """Return lengths of time by upper bound."""
    family = HistogramMetricFamily(f"rackproof_{name}", words, labels=names)
    for key, durations in values.items():
        family.add_metric([key] if names else [], durations.buckets(), durations.total_s)
    return family
