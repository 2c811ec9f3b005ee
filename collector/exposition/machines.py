"""What is known of each machine, as lines of Prometheus' text."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import groupby

import msgspec
from msgspec import Struct

from collector.exposition.figures import PREFIX, Figure, Shown
from collector.exposition.table import FIGURES
from collector.exposition.text import LONGEST_LABEL, Family, heading, labels, number, quoted
from collector.links.presence import Presence
from collector.verdict import HealthState, Reason
from shared.messages import Absent, Indicators, Measured

READINGS_FOR = timedelta(minutes=5)
"""
Readings older than that are not shown: a temperature of last week would look like one of now.

As long as Prometheus itself takes a sample for the present one. Source: prometheus.io, "Querying basics", on staleness.
"""
MOST_ITEMS = 64
"""Items of one reading; what the agent itself reports of disks and file systems at the most."""
MOST_SERIES = 2_000
"""Of one machine, so that none can drown the others; eight GPUs and three disks make 400."""


class Machine(Struct, frozen=True, kw_only=True):
    """
    What the store knows of one machine. `indicators` and `reasons` are JSON as it stands there.

    `customer_id`: its provider.
    """

    hardware_id: str
    customer_id: str
    gpu_model: str | None
    cpu_model: str | None
    ram_gb: int | None
    disk_type: str | None
    disk_size_gb: int | None
    network_bandwidth: str | None
    os: str | None
    indicators: str | None
    presence: str
    presence_since: datetime
    last_received_at: datetime | None
    agent_version: str | None
    clock_skew_ms: int | None
    health_state: str
    health_since: datetime
    reasons: str | None
    gpus_expected: int | None


def _own(name: str, words: str) -> Family:
    return Family(name=PREFIX + name, words=words)


INFO = _own("info", "1 for each machine, with what it is.")
UP = _own("up", "1 while the machine is heard.")
PRESENCE = _own("presence", "1 for the state the machine's presence is in, 0 for the others.")
PRESENCE_SINCE = _own("presence_since_timestamp_seconds", "When the presence became what it is.")
LAST_REPORT = _own("last_report_timestamp_seconds", "When the last report was received, by the collector's clock.")
CLOCK_SKEW = _own("clock_skew_seconds", "How far the machine's clock is ahead of the collector's.")
HEALTH = _own("health_state", "1 for the verdict on the machine's health, 0 for the others.")
HEALTH_SINCE = _own("health_since_timestamp_seconds", "When the verdict became what it is.")
REASONS = _own("health_reasons", "Reasons why the machine is not healthy.")
REASON = _own("health_reason_items", "Items of the machine that a reason is about, by its code.")
GPUS_EXPECTED = _own("gpus_expected", "GPUs that the machine is known to have.")
INDICATOR_UP = _own("indicator_up", "1 if the subject was read, 0 if reading it failed; none where it is not there.")
INDICATOR_TOOK = _own("indicator_duration_seconds", "How long reading the subject took.")
GPU_INFO = _own("gpu_info", "1 for each GPU, with what it is.")
LEFT_OUT = _own("readings_left_out", "Readings and items not shown: too many, too long, or no number.")

_OWN = (
    *(INFO, UP, PRESENCE, PRESENCE_SINCE, LAST_REPORT, CLOCK_SKEW, HEALTH, HEALTH_SINCE, REASONS, REASON),
    *(GPUS_EXPECTED, INDICATOR_UP, INDICATOR_TOOK, GPU_INFO, LEFT_OUT),
)

FAMILIES: dict[str, Family] = {one.name: one for one in (*_OWN, *(figure.family for figure in FIGURES))}
"""Every family there can be, in the order in which they are shown."""

_BY_INDICATOR: dict[str, tuple[Figure, ...]] = {
    name: tuple(figures)
    for name, figures in groupby(sorted(FIGURES, key=lambda one: one.indicator), key=lambda one: one.indicator)
}
_HEARD = frozenset({Presence.ONLINE, Presence.STALE})


class Exposition:
    """
    The text of many machines, family by family, as the format wants it.

    Args:
        now: The collector's time.
    """

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._lines: dict[str, list[str]] = {name: [] for name in FAMILIES}

    def add(self, machine: Machine) -> None:
        """Add one machine."""
        series = _Series(self._lines, machine.hardware_id)
        _known(series, machine)
        heard = machine.last_received_at
        if machine.indicators is not None and heard is not None and self._now - heard <= READINGS_FOR:
            _readings(series, machine.indicators)
        series.told()

    def text(self, *, openmetrics: bool) -> Iterator[str]:
        """
        Return the lines, a family at a time; those without a series are left out.

        Each is forgotten as it is given: to let go of 300,000 lines takes 50 ms, and this is the thread for it.
        """
        for name, family in FAMILIES.items():
            lines, self._lines[name] = self._lines[name], []
            if lines:
                text = heading(family, openmetrics=openmetrics) + "".join(lines)
                del lines
                yield text
        if openmetrics:
            yield "# EOF\n"


class _Series:
    """One machine's lines, bounded in number."""

    def __init__(self, lines: Mapping[str, list[str]], hardware_id: str) -> None:
        self._lines = lines
        self._machine = f"{{hardware_id={quoted(hardware_id)}"
        self._room = MOST_SERIES
        self._quoted: dict[str, str] = {}
        self.left_out = 0

    def add(self, family: Family, value: str | None, more: str = "") -> None:
        """Add a line, or count it as left out. `more`: labels beside the machine's, with their quotes."""
        if value is None or self._room <= 0:
            self.left_out += 1
            return
        self._room -= 1
        comma = "," if more else ""
        self._lines[family.name].append(f"{family.name}{self._machine}{comma}{more}}} {value}\n")

    def quoted(self, item: str) -> str:
        """Return an item's name in quotes; the same GPUs come with each of forty readings."""
        if item not in self._quoted:
            self._quoted[item] = quoted(item)
        return self._quoted[item]

    def told(self) -> None:
        """Say how much was left out; there is always room for that."""
        self._lines[LEFT_OUT.name].append(f"{LEFT_OUT.name}{self._machine}}} {self.left_out}\n")


def _known(series: _Series, machine: Machine) -> None:
    """Add what the collector knows, whatever the machine says."""
    names = ("customer_id", "gpu_model", "cpu_model", "disk_type", "network_bandwidth", "os", "agent_version")
    words = [(name, (getattr(machine, name) or "")[:LONGEST_LABEL]) for name in names]
    series.add(INFO, "1", labels(words))
    series.add(UP, "1" if machine.presence in _HEARD else "0")
    for state in Presence:
        series.add(PRESENCE, "1" if machine.presence == state else "0", f'presence="{state}"')
    series.add(PRESENCE_SINCE, repr(machine.presence_since.timestamp()))
    for verdict in HealthState:
        series.add(HEALTH, "1" if machine.health_state == verdict else "0", f'state="{verdict}"')
    series.add(HEALTH_SINCE, repr(machine.health_since.timestamp()))
    if machine.last_received_at is not None:
        series.add(LAST_REPORT, repr(machine.last_received_at.timestamp()))
    if machine.clock_skew_ms is not None:
        series.add(CLOCK_SKEW, number(machine.clock_skew_ms, divide_by=1000))
    if machine.gpus_expected is not None:
        series.add(GPUS_EXPECTED, str(machine.gpus_expected))
    _reasons(series, machine.reasons)


def _reasons(series: _Series, raw: str | None) -> None:
    """Add why the machine is not healthy; a reason on trial does not count."""
    found = [one for one in msgspec.json.decode(raw, type=tuple[Reason, ...]) if not one.shadow] if raw else []
    series.add(REASONS, str(len(found)))
    items: dict[tuple[str, str], int] = {}
    for one in found:
        items[one.code, one.state] = items.get((one.code, one.state), 0) + 1
    for (code, state), count in items.items():
        series.add(REASON, str(count), labels((("code", code), ("state", state))))


def _readings(series: _Series, raw: str) -> None:
    """Add the readings of a report that the table names; others are for the API."""
    try:
        indicators = msgspec.json.decode(raw, type=Indicators)
    except msgspec.MsgspecError:  # written by another version, with its own idea of a report
        series.left_out += 1
        return
    for name, figures in _BY_INDICATOR.items():
        outcome = indicators.get(name)
        if outcome is None or isinstance(outcome, Absent):
            continue
        series.add(INDICATOR_UP, "1" if isinstance(outcome, Measured) else "0", f'indicator="{name}"')
        series.add(INDICATOR_TOOK, number(outcome.took_ms, divide_by=1000), f'indicator="{name}"')
        if not isinstance(outcome, Measured):
            continue
        for figure in figures:
            value = outcome.values.get(figure.reading)
            if value is not None:
                _reading(series, figure, value)
    _gpu_info(series, indicators)


def _reading(series: _Series, figure: Figure, value: object) -> None:
    """Add one reading: of the machine, or of each of its items."""
    fixed = f'{figure.fixed[0]}="{figure.fixed[1]}"' if figure.fixed else ""
    if not isinstance(value, dict):
        series.add(figure.family, None if figure.item else _shown(figure, value), fixed)
        return
    if not figure.item:
        series.left_out += 1
        return
    series.left_out += max(0, len(value) - MOST_ITEMS)
    for item in list(value)[:MOST_ITEMS]:
        one = value[item]
        if one is None:
            continue
        more = f"{figure.item}={series.quoted(item)}" + (f",{fixed}" if fixed else "")
        # Not cut: two items may begin alike, and the same series twice would cost the whole scrape.
        series.add(figure.family, _shown(figure, one) if len(item) <= LONGEST_LABEL else None, more)


def _shown(figure: Figure, value: object) -> str | None:
    match figure.shown:
        case Shown.THERE:
            return "1"
        case Shown.WORD:
            return "1" if value == figure.word else "0"
        case Shown.NUMBER:
            return number(value, figure.times, figure.divide_by)


def _gpu_info(series: _Series, indicators: Indicators) -> None:
    """Add what each GPU is; its series are named by the short name that other readings have, too."""
    outcome = indicators.get("gpu")
    models = outcome.values.get("model") if isinstance(outcome, Measured) else None
    if not isinstance(outcome, Measured) or not isinstance(models, dict):
        return
    for gpu in list(models)[:MOST_ITEMS]:
        said = [("gpu", gpu)]
        for name in ("model", "uuid", "pci_address"):
            of = outcome.values.get(name)
            text = of.get(gpu) if isinstance(of, dict) else None
            said.append((name, text[:LONGEST_LABEL] if isinstance(text, str) else ""))
        series.add(GPU_INFO, "1" if len(gpu) <= LONGEST_LABEL else None, labels(said))
