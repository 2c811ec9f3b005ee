"""The collector's own figures: what Prometheus' tools say of them, and that they are there when the database is not."""

import gzip

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read

from collector import keyring
from collector.api.middleware import Doorkeeper
from collector.app import make_app
from collector.compose import assemble, utc_now
from collector.config import Settings
from collector.durations import BOUNDS_S, Durations
from collector.store import commands
from collector.store.engine import open_database
from tests.collector.store.test_contract import a_command
from tests.prometheus import complaints, promtool


async def never(_reports):
    raise AssertionError("no link is open")


@pytest.fixture
async def without_database(tmp_path):
    """Asks a collector whose database is away."""
    database = open_database("postgresql://nobody@127.0.0.1:1/none")
    settings = Settings(data_dir=str(tmp_path), origins=("http://collector.test",))
    parts = assemble(settings, database, keyring.load_or_create(tmp_path / "keys"), never)
    app = make_app(parts.routes, Doorkeeper(database, utc_now), parts.gateway, "1")
    async with TestClient(TestServer(app)) as http:
        yield parts, http
    await database.close()


async def test_promtool_has_nothing_against_the_collectors_figures(served, missing):
    """Names, units, help and types are as Prometheus wants them."""
    _, text = await served().get("/metrics")
    assert complaints(promtool(missing), text) == ""


async def test_every_figure_is_explained(served):
    """In both formats, with all that a collector counts in it, and its process."""
    _, text = await served().get("/metrics")
    found = {one.name: one for one in read(text)}
    assert all(one.documentation and one.type != "unknown" for one in found.values())
    assert {
        "rackproof_build_info",
        "rackproof_machines",
        "rackproof_machines_by_health",
        "rackproof_commit_duration_seconds",
    } <= set(found)
    assert {"process_resident_memory_bytes", "process_cpu_seconds", "python_gc_objects_collected"} <= set(found)
    _, text = await served().ask("GET", "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert set(found) <= {one.name for one in read_openmetrics(text)} | {"python_info"}


async def test_figures_are_packed_where_that_is_wanted(served):
    """Prometheus asks for gzip in every scrape."""
    http = served()._http
    async with http.get("/metrics", headers={"Accept-Encoding": "gzip"}) as packed:
        assert packed.headers["Content-Encoding"] == "gzip"
        assert packed.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    async with http.get("/metrics", headers={"Accept-Encoding": "identity"}) as plain:
        assert "Content-Encoding" not in plain.headers
        assert gzip.compress(await plain.read())


async def test_open_commands_are_counted_by_state(served, database):
    """Those that wait, and 0 for states in which there is none."""
    async with database.write() as conn:
        await commands.insert(conn, a_command())
    _, text = await served().get("/metrics")
    assert 'rackproof_commands{state="queued"} 1.0' in text
    assert 'rackproof_commands{state="running"} 0.0' in text


async def test_a_read_that_anybody_may_ask_for_is_asked_of_the_database_once_in_a_while(served, database):
    """Ten scrapes at once are one query."""
    await served().get("/metrics")
    before = database.took["read"].buckets()[-1][1]
    for _ in range(10):
        await served().get("/metrics")
    assert database.took["read"].buckets()[-1][1] == before


async def test_figures_are_served_while_the_database_is_away(without_database):
    """And say so; what only it knows is left out rather than old."""
    _, http = without_database
    async with http.get("/metrics") as response:
        assert response.status == 200
    async with http.get("/metrics") as response:
        text = await response.text()
    assert 'rackproof_database_failures_total{code="database_unreachable"}' in text
    assert "rackproof_commands{" not in text


async def test_a_chore_tells_when_it_was_done_and_how_often_it_was_not(served, without_database):
    """By name, whatever became of its turn."""
    parts, http = without_database
    parts.chores.schedule()
    await parts.chores._told(parts.chores.expire)
    async with http.get("/metrics") as response:
        text = await response.text()
    assert 'rackproof_chore_last_success_timestamp_seconds{chore="expire"} 0.0' in text
    assert 'rackproof_chore_failures_total{chore="expire"} 1.0' in text
    assert 'rackproof_chore_interval_seconds{chore="tidy"} 900.0' in text


def test_lengths_are_counted_by_upper_bound():
    """Each bound counts what the smaller ones do; one that is met is not passed."""
    took = Durations()
    for seconds in (0.0, BOUNDS_S[0], 0.3, 60.0):
        took.observe(seconds)
    counts = dict(took.buckets())
    assert (counts["0.001"], counts["0.25"], counts["0.5"], counts["10.0"], counts["+Inf"]) == (2, 2, 3, 3, 4)
    assert took.total_s == pytest.approx(60.301)
