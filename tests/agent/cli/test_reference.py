"""The reference of all readings."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import agent.indicators
from agent.cli.reference import described, in_markdown, subjects
from agent.indicators import Indicator
from agent.plugins import load

RECORDINGS = Path(__file__).parents[2] / "host" / "recordings"
PAGE = Path(agent.indicators.__file__).with_name("REFERENCE.md")


def test_the_page_is_as_the_indicators_describe_themselves() -> None:
    """After a change of an indicator: make reference."""
    assert PAGE.read_text() == in_markdown(subjects()), "out of date; run: make reference"


@pytest.mark.parametrize("report", sorted(RECORDINGS.glob("*/report.json")), ids=lambda file: file.parent.name)
def test_every_reading_of_every_kept_report_is_described(report: Path) -> None:
    """Nothing is sent that the page does not explain."""
    known = {one.name: set(one.describes) for one in load(agent.indicators, "INDICATOR", Indicator)}
    for name, outcome in json.loads(report.read_bytes())["indicators"].items():
        assert set(outcome.get("values", {})) <= known[name], name


def test_what_the_daemon_adds_is_described() -> None:
    """The agent's own counts come from elsewhere than its indicator."""
    (own,) = subjects(["agent"])
    assert {"version", "loop_lag_ms", "outbox_depth", "dropped_samples", "configuration_hash"} <= {
        reading.name for reading in own.readings
    }


def test_a_source_stands_apart_and_other_brackets_stay() -> None:
    """Only words without spaces are a source."""
    one = described("x_mb_s", "by link: bytes (/proc/net/dev)")
    assert (one.unit, one.what, one.source) == ("MB/s", "by link: bytes", "/proc/net/dev")
    other = described("zombies", "ended and not collected (state Z)")
    assert (other.unit, other.what, other.source) == ("", "ended and not collected (state Z)", "")
    two = described("y", "what it is (NVML, nvmlDeviceGetName)")
    assert two.source == "NVML, nvmlDeviceGetName"


def test_the_command_lists_all_or_those_named(rackproof_agent: Callable) -> None:
    """For people, as JSON, and as the page."""
    listed = json.loads(rackproof_agent("indicators", "--json").stdout)
    assert [one["name"] for one in listed] == [one.name for one in load(agent.indicators, "INDICATOR", Indicator)]
    assert rackproof_agent("indicators", "--markdown").stdout == PAGE.read_text()
    shown = rackproof_agent("indicators", "memory").stdout
    assert "oom_kills" in shown
    assert "/proc/vmstat" in shown
    assert "load_15" not in shown
    assert rackproof_agent("indicators", "nothing").returncode == 2
