"""Machines' figures: base units, who may read them, and that no machine can spoil the others' or flood them."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read

import agent.indicators
from agent.indicators import Indicator
from agent.plugins import load
from collector.exposition.machines import FAMILIES, MOST_SERIES, READINGS_FOR
from collector.exposition.table import FIGURES
from collector.store import health
from collector.store.health import Report
from tests.collector.known import add_machine
from tests.prometheus import complaints, promtool

RECORDINGS = Path(__file__).parents[2] / "host" / "recordings"
PATH = "/metrics/machines"


def golden(name: str) -> dict:
    return json.loads((RECORDINGS / name / "report.json").read_bytes())["indicators"]


def measured(**values) -> dict:
    return {"outcome": "measured", "values": values, "took_ms": 1.5}


async def report(database, hardware_id: str, indicators: dict, at: datetime | None = None) -> None:
    """Commit a report, as if it had just come in."""
    at = at or datetime.now(UTC)
    one = Report(
        hardware_id=hardware_id,
        outbox_id="o",
        seq=1,
        boot_id="b",
        collected_at=at,
        received_at=at,
        at=at,
        indicators=json.dumps(indicators).encode(),
    )
    async with database.write() as conn:
        await health.commit(conn, [one])


async def samples(served) -> dict[tuple[str, str], list[tuple[dict, float]]]:
    """What a scrape gives, by name and machine."""
    status, text = await served().get(PATH)
    assert status == 200, text
    found: dict[tuple[str, str], list[tuple[dict, float]]] = {}
    for family in read(text):
        for one in family.samples:
            machine = one.labels.pop("hardware_id")
            found.setdefault((one.name.removeprefix("rackproof_machine_"), machine), []).append((one.labels, one.value))
    return found


async def test_promtool_has_nothing_against_machines_figures(served, database, missing):
    """Of a GPU server and of a plain machine."""
    async with database.write() as conn:
        await add_machine(conn, "hw_2")
    await report(database, "hw_1", golden("gpu-server"))
    await report(database, "hw_2", golden("plain-vm"))
    _, text = await served().get(PATH)
    assert complaints(promtool(missing), text) == ""


async def test_figures_are_in_base_units(served, database):
    """Bytes, seconds, hertz and shares of one, whatever the report has."""
    values = {
        "cpu": measured(use_percent=12.5, frequency_mhz=2346),
        "network": measured(speed_mbit_s={"eno1": 25000}),
        "disks": measured(busy_percent={"sda": 41.9}, read_mb_s={"sda": 1.5}),
        "system": measured(clock_offset_ms=-0.5, reboot_pending=True),
    }
    await report(database, "hw_1", values)
    found = await samples(served)
    assert found["cpu_use_ratio", "hw_1"] == [({}, 0.125)]
    assert found["cpu_frequency_hertz", "hw_1"] == [({}, 2_346_000_000)]
    assert found["network_speed_bytes_per_second", "hw_1"] == [({"interface": "eno1"}, 3.125e9)]
    assert found["disk_busy_ratio", "hw_1"] == [({"device": "sda"}, 0.419)]
    assert found["disk_read_bytes_per_second", "hw_1"] == [({"device": "sda"}, 1_500_000)]
    assert found["clock_offset_seconds", "hw_1"] == [({}, -0.0005)]
    assert found["reboot_pending", "hw_1"] == [({}, 1)]


async def test_every_number_of_a_gpu_server_s_report_is_shown(served, database):
    """By GPU, with what each is; a lost one is named."""
    await report(database, "hw_1", golden("gpu-server"))
    found = await samples(served)
    assert len(found["gpu_temperature_celsius", "hw_1"]) == 7
    assert found["gpu_info", "hw_1"][0][0]["model"] == "NVIDIA H100 80GB HBM3"
    assert found["gpu_unreadable", "hw_1"] == [({"gpu": "index 7"}, 1)]
    assert [one[0] for one in found["gpus_on_pci_bus", "hw_1"] + found["gpus_readable", "hw_1"]] == [{}, {}]
    assert found["readings_left_out", "hw_1"] == [({}, 0)]


async def test_a_subject_that_failed_is_told_from_one_that_is_not_there(served, database):
    """Failed is 0, absent is nothing."""
    absent, failed = ({"outcome": "absent", "reason": "none", "took_ms": 0}, {"outcome": "failed", "error": "x"})
    await report(database, "hw_1", {"gpu": absent, "cpu": failed | {"took_ms": 5000}, "memory": measured()})
    found = await samples(served)
    up = {labels["indicator"]: value for labels, value in found["indicator_up", "hw_1"]}
    assert up == {"cpu": 0, "memory": 1}


async def test_a_machine_that_was_never_heard_is_shown(served):
    """As not up, in the states it is in, without readings."""
    found = await samples(served)
    assert found["up", "hw_1"] == [({}, 0)]
    assert [labels["presence"] for labels, value in found["presence", "hw_1"] if value] == ["never"]
    assert [labels["state"] for labels, value in found["health_state", "hw_1"] if value] == ["unknown"]
    assert ("cpu_use_ratio", "hw_1") not in found
    assert ("last_report_timestamp_seconds", "hw_1") not in found


@pytest.mark.parametrize(("age", "shown"), [(timedelta(minutes=1), True), (READINGS_FOR + timedelta(minutes=1), False)])
async def test_old_readings_are_not_shown_as_new(served, database, age, shown):
    """When the last report came in is shown for as long as the machine is known."""
    await report(database, "hw_1", golden("plain-vm"), at=datetime.now(UTC) - age)
    found = await samples(served)
    assert (("load1", "hw_1") in found) is shown
    assert found["last_report_timestamp_seconds", "hw_1"]


HOSTILE = [
    'a"b',
    "a\\",
    "a\nrackproof_machine_up{} 1\n",
    "\\n",
    '"} 1\n# EOF\n',
    "\r\u2028\u0085\t\x0b\x1c",
    "",
    "ü\U0001f600",
    "x" * 200,
]


async def test_whatever_an_item_is_called_it_stays_one_item(served, database, missing):
    """Quotes, backslashes, line ends and other languages come back as they were sent."""
    await report(database, "hw_1", {"disks": measured(busy_percent=dict.fromkeys(HOSTILE, 50))})
    _, text = await served().get(PATH)
    assert complaints(promtool(missing), text) == ""
    _, text = await served().ask("GET", PATH, Accept="application/openmetrics-text")
    (family,) = [one for one in read_openmetrics(text) if one.name == "rackproof_machine_disk_busy_ratio"]
    assert sorted(one.labels["device"] for one in family.samples) == sorted(HOSTILE)
    assert {one.value for one in family.samples} == {0.5}


@pytest.mark.parametrize("value", [1e308, 10**308, 2**63, -(2**63), "text", "x" * 2000, None, {"a": 1}, {"a": "b"}])
async def test_whatever_a_reading_is_the_scrape_can_be_read(served, database, missing, value):
    """What is no finite number in its unit is left out, and that is told."""
    await report(database, "hw_1", {"cpu": measured(frequency_mhz=value, load_1=2)})
    _, text = await served().get(PATH)
    assert complaints(promtool(missing), text) == ""
    found = await samples(served)
    assert found["load1", "hw_1"] == [({}, 2)]
    shown = ("cpu_frequency_hertz", "hw_1") in found
    assert found["readings_left_out", "hw_1"] == [({}, 0 if shown or value is None else 1)]
    assert shown is (value in (2**63, -(2**63)))


async def test_long_names_are_left_out_and_not_cut(served, database):
    """Two that begin alike would become one series twice."""
    await report(database, "hw_1", {"disks": measured(busy_percent={"x" * 250 + "1": 1, "x" * 250 + "2": 2, "sda": 3})})
    found = await samples(served)
    assert found["disk_busy_ratio", "hw_1"] == [({"device": "sda"}, 0.03)]
    assert found["readings_left_out", "hw_1"] == [({}, 2)]


async def test_no_machine_makes_more_series_than_its_share(served, database):
    """With every reading of the table in a thousand items; what was cut is told, and others are not affected."""
    async with database.write() as conn:
        await add_machine(conn, "hw_2")
    items = {f"item {number}": number for number in range(1000)}
    flood: dict[str, dict] = {}
    for figure in FIGURES:
        flood.setdefault(figure.indicator, measured())["values"][figure.reading] = items if figure.item else 1
    await report(database, "hw_1", flood)
    await report(database, "hw_2", golden("plain-vm"))
    found = await samples(served)
    count = sum(len(series) for (_, machine), series in found.items() if machine == "hw_1")
    assert count <= MOST_SERIES + 1
    ((_, left_out),) = found["readings_left_out", "hw_1"]
    assert left_out > 50_000
    assert found["readings_left_out", "hw_2"] == [({}, 0)]
    assert found["load1", "hw_2"]


async def test_a_machine_s_own_words_are_one_series(served, database):
    """However long or odd: they are labels of one line."""
    async with database.write() as conn:
        await conn.exec_driver_sql("UPDATE machine SET cpu_model = 'a\"\\\n' || 'b'")
    found = await samples(served)
    assert found["info", "hw_1"][0][0]["cpu_model"] == 'a"\\\nb'


async def test_machines_figures_are_for_readers_only(served):
    """Every role may read them, nobody without a token; the collector's own are for anybody."""
    for role in ("admin", "platform", "auditor"):
        assert (await served(role).get(PATH))[0] == 200
    for path, status in ((PATH, 401), ("/metrics", 200)):
        async with served()._http.get(path) as response:
            assert response.status == status


async def test_machines_figures_come_packed_and_in_openmetrics(served, database):
    """As Prometheus asks for them."""
    await report(database, "hw_1", golden("gpu-server"))
    wanted = served()._headers | {"Accept": "application/openmetrics-text; version=1.0.0", "Accept-Encoding": "gzip"}
    async with served()._http.get(PATH, headers=wanted) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert response.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        text = await response.text()
    assert text.endswith("# EOF\n")
    assert {one.name for one in read_openmetrics(text)} <= {name.removesuffix("_total") for name in FAMILIES}


def test_every_reading_that_is_shown_is_one_that_is_measured():
    """No line of the table waits for a reading that no indicator describes."""
    described = {
        f"{one.name}.{name}" for one in load(agent.indicators, "INDICATOR", Indicator) for name in one.describes
    }
    shown = {f"{one.indicator}.{one.reading}" for one in FIGURES}
    assert shown - described == set()


def test_no_two_readings_make_the_same_series():
    """And what shares a name shares its words, its kind and its labels' names."""
    assert len({(one.family.name, one.fixed) for one in FIGURES}) == len(FIGURES)
    for one in FIGURES:
        assert FAMILIES[one.family.name] == one.family
        names = {(other.item, other.fixed and other.fixed[0]) for other in FIGURES if other.family == one.family}
        assert len(names) == 1, one.family.name


def test_names_keep_prometheus_rules():
    """Lower case, a base unit where there is one, and words for a person."""
    for name, family in FAMILIES.items():
        assert re.fullmatch(r"rackproof_machine_[a-z0-9]+(_[a-z0-9]+)*", name)
        assert name.endswith("_total") is (family.kind == "counter")
        assert family.words.endswith(".")
        assert "\n" not in family.words
