"""A collector and an agent that work, and are gone after the test."""

import contextlib

import pytest

from tests.system.harness import Agent, Collector


@pytest.fixture
def collector(tmp_path):
    """A running collector with SQLite."""
    made = Collector(tmp_path).up()
    yield made
    made.kill()


@pytest.fixture
def agent(tmp_path, collector):
    """An enrolled agent that is online, on a simulated machine."""
    made = Agent(tmp_path, collector).up()
    yield made
    with contextlib.suppress(AssertionError):
        made.kill()
