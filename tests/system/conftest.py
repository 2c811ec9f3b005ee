"""Collectors and agents that work, and are gone after the tests."""

import pytest

from tests.system.harness import Agent, Collector


@pytest.fixture(scope="module")
def collector(tmp_path_factory):
    """A running collector with SQLite, shared by the tests of a file: they leave it as it was."""
    made = Collector(tmp_path_factory.mktemp("shared")).up()
    yield made
    made.kill()


@pytest.fixture(scope="module")
def agent(collector):
    """An enrolled agent that is online, on a simulated machine, shared likewise."""
    made = Agent(collector.data.parent, collector).up()
    yield made
    made.kill()


@pytest.fixture
def own_collector(tmp_path):
    """A collector for one test, which may do anything to it."""
    made = Collector(tmp_path).up()
    yield made
    made.kill()


@pytest.fixture
def own_agent(own_collector):
    """An agent of that collector, for one test."""
    made = Agent(own_collector.data.parent, own_collector).up()
    yield made
    made.kill()
