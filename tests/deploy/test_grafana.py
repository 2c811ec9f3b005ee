"""The shipped dashboards and alerts on a real Prometheus that scrapes a real collector: no panel without data."""

import itertools
import json
import re
import shutil
from pathlib import Path

import msgspec
import pytest

from collector.exposition.figures import Shown
from collector.exposition.table import FIGURES
from shared.messages import Facts, Indicators, Measured
from tests.deploy.fleet import SimulatedAgent
from tests.prometheus import Prometheus
from tests.system.harness import Agent, Collector, wait_for

DEPLOY = Path(__file__).parents[2] / "deploy"
RECORDINGS = Path(__file__).parents[1] / "host" / "recordings"
BOARDS = {file.stem: json.loads(file.read_text()) for file in sorted((DEPLOY / "grafana").glob("*.json"))}
PANELS = [
    pytest.param(panel, id=f"{name}-{panel['id']}-{panel['title'].replace(' ', '_')}")
    for name, board in BOARDS.items()
    for panel in board["panels"]
    if panel["type"] != "row"
]
ITEMS = {
    "gpu": "GPU-00000000",
    "pci_address": "0000:17:00.0",
    "device": "nvme0n1",
    "array": "md0",
    "module": "dimm0",
    "interface": "eno1",
    "sensor": "package 0",
    "package": "package 0",
    "mountpoint": "/",
}
"""What an item is called where the recording has none."""


def whole(number: int) -> Indicators:
    """A GPU server's recorded report, with every reading of the table in it; some counts grow with each report."""
    found = msgspec.json.decode((RECORDINGS / "gpu-server" / "report.json").read_bytes())["indicators"]
    report = msgspec.convert(found, Indicators)
    for figure in FIGURES:
        outcome = report.get(figure.indicator)
        values = dict(outcome.values) if isinstance(outcome, Measured) else {}
        if figure.reading not in values:
            value = "x" if figure.shown is Shown.THERE else 1
            values[figure.reading] = {ITEMS[figure.item]: value} if figure.item else value
        report[figure.indicator] = Measured(values=values, took_ms=0.1)
    report["agent"].values["dropped_samples"] = number
    return report


@pytest.fixture(scope="module")
def fleet(tmp_path_factory, missing):
    """A collector with a real agent and a GPU server, and a Prometheus that has scraped both jobs for a while."""
    program = shutil.which("prometheus")
    if program is None:
        missing("no Prometheus is installed (Debian: prometheus)")
    folder = tmp_path_factory.mktemp("fleet")
    collector = Collector(folder).up()
    agent = Agent(folder, collector).up()
    facts = msgspec.json.decode((RECORDINGS / "gpu-server" / "report.json").read_bytes())["facts"]
    server = SimulatedAgent(collector, "hw_gpuserver", msgspec.convert(facts, Facts), whole)
    prometheus = Prometheus(program, folder)
    try:
        server.start()
        assert agent.ended(agent.order(kind="access_grant", username="dora")["command_id"])["state"] == "succeeded"
        collector.ask("PUT", f"/v1/machines/{server.hardware_id}/gpus_expected", {"gpus_expected": 8})
        prometheus.start(config(folder, collector))
        wait_for(lambda: prometheus.query("min(count_over_time(up[1m])) > 8"), 40, "some scrapes")
        for what in ('ALERTS{alertstate="firing"}', "rackproof_machine_health_reason_items"):
            wait_for(lambda what=what: prometheus.query(what), 40, what)
        yield prometheus, server.hardware_id
    finally:
        prometheus.stop()
        server.stop()
        agent.kill()
        collector.kill()


def config(folder: Path, collector: Collector) -> Path:
    """The shipped example, for this collector and in a hurry."""
    text = (DEPLOY / "prometheus" / "scrape.yml").read_text()
    text = text.replace("127.0.0.1:8470", f"127.0.0.1:{collector.port}")
    text = re.sub(r"scrape_(interval|timeout): \d+s", r"scrape_\1: 1s", text)
    file = folder / "prometheus.yml"
    file.write_text(f"global:\n  evaluation_interval: 1s\n{text}")
    shutil.copy(DEPLOY / "prometheus" / "alerts.yml", folder)
    token = collector.cli("token", "create", "--role", "auditor", "--name", "prometheus")
    (folder / "rackproof.token").write_text(token)
    return file


def filled_in(expression: str, hardware_id: str) -> str:
    """An expression as Grafana sends it."""
    values = {"$machine": hardware_id, "$instance": ".*", "$__rate_interval": "1m"}
    for name, value in values.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, expression
    return expression


def test_both_jobs_of_the_shipped_example_are_scraped(fleet):
    """With a token for the machines."""
    prometheus, _ = fleet
    targets = prometheus.ask("/api/v1/targets")["activeTargets"]
    assert [(one["health"], one["lastError"]) for one in targets] == [("up", "")] * 2


def test_what_happened_is_counted(fleet):
    """Two machines that joined, their reports, and a command that was done."""
    prometheus, _ = fleet
    for least, expression in (
        (2, 'rackproof_joins_total{outcome="joined"}'),
        (2, 'rackproof_machines{presence="online"}'),
        (10, "rackproof_reports_received_total"),
        (10, "rackproof_reports_committed_total"),
        (1, "rackproof_commit_duration_seconds_count"),
        (1, 'rackproof_commands_ended_total{kind="access_grant",state="succeeded"}'),
        (1, "rackproof_chore_last_success_timestamp_seconds{chore='expire'}"),
    ):
        (series,) = prometheus.query(expression)
        assert float(series["value"][1]) >= least, expression


def test_every_series_that_an_alert_looks_at_is_there(fleet):
    """With the labels that it asks for: an alert on a name that nobody has never fires."""
    prometheus, _ = fleet
    rules = [rule for group in prometheus.ask("/api/v1/rules")["groups"] for rule in group["rules"]]
    assert len(rules) > 40
    assert {rule["health"] for rule in rules} == {"ok"}
    found = [
        re.findall(
            r"\b((?:rackproof_\w+|process_\w+|up)(?:\{[^}]*\})?)",
            re.sub(r"\b(by|on|without) \([^)]*\)", "", rule["query"]),
        )
        for rule in rules
    ]
    assert all(found)
    selectors = sorted(set(itertools.chain.from_iterable(found)))
    assert [one for one in selectors if not prometheus.query(one)] == []


def test_an_alert_that_fires_can_be_read(fleet):
    """Its words are filled in."""
    prometheus, hardware_id = fleet
    alerts = [one for one in prometheus.ask("/api/v1/alerts")["alerts"] if one["state"] == "firing"]
    words = [one["annotations"] for one in alerts if one["labels"]["alertname"] == "RackproofReportsDropped"]
    assert [one["summary"] for one in words] == [f"The agent of {hardware_id} dropped reports"]


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_has_data(fleet, panel):
    """Each of its expressions, as Grafana would send it."""
    prometheus, hardware_id = fleet
    for target in panel["targets"]:
        assert prometheus.query(filled_in(target["expr"], hardware_id)), target["expr"]


@pytest.mark.parametrize("name", BOARDS)
def test_a_variable_has_values(fleet, name):
    """Each that is asked of Prometheus."""
    prometheus, _ = fleet
    for variable in BOARDS[name]["templating"]["list"]:
        if variable["type"] == "query":
            series, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()
            assert prometheus.ask(f"/api/v1/label/{label}/values?match[]={series}")


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_is_well_made(name):
    """Ids are unique, panels do not overlap, and each asks the Prometheus that is chosen."""
    board = BOARDS[name]
    panels = board["panels"]
    assert board["uid"] == f"rackproof-{name}"
    assert len({one["id"] for one in panels}) == len(panels)
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = set(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))
        assert not cells & taken, panel["title"]
        taken |= cells
    assert board["templating"]["list"][0]["type"] == "datasource"
    variables = {one["name"] for one in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", " ".join(map(json.dumps, (one.get("targets") for one in panels)))))
    assert used - {"__rate_interval"} <= variables | {"datasource"}


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_can_be_read(panel):
    """A title, a sentence on what is seen, a unit; what is coloured has a number or a word too, and lines a table."""
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    refs = [one["refId"] for one in panel["targets"]]
    assert len(set(refs)) == len(refs)
    assert all(one["datasource"]["uid"] == "${datasource}" for one in (panel, *panel["targets"]))
    if panel["type"] == "timeseries":
        assert panel["options"]["legend"]["displayMode"] == "table"
    if panel["type"] == "state-timeline":
        assert panel["options"]["showValue"] != "never"
        assert all(
            one["text"]
            for mapping in panel["fieldConfig"]["defaults"]["mappings"]
            for one in mapping["options"].values()
        )


def test_dashboards_link_to_machines_that_exist():
    """By the name under which Grafana keeps the machine's page."""
    urls = re.findall(r"/d/([\w-]+)\?", (DEPLOY / "grafana" / "fleet.json").read_text())
    assert urls
    assert set(urls) <= {board["uid"] for board in BOARDS.values()}
