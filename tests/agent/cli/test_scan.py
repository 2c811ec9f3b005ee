"""What `scan` shows."""

import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import agent.indicators
from agent.cli.scan import as_text, grouped, in_json, take_scan
from agent.cli.screen import coloured
from agent.cli.tables import Page
from agent.cli.units import duration, label, shown, size, took, unit
from agent.host.recorded import RecordedHost
from agent.indicators import Indicator
from agent.inventory import facts
from agent.plugins import load
from shared.messages import Absent, Failed, Indicators, Measured

SUBJECTS = load(agent.indicators, "INDICATOR", Indicator)


async def scanned(host: RecordedHost) -> Indicators:
    return await take_scan(host, SUBJECTS, {"version": "0.1.0"}, 0)


async def test_every_indicator_and_fact_is_shown(recorded: Callable) -> None:
    """Units in words, a lost GPU with its error, a failure with its text and how long it took."""
    host = recorded("gpu-server")
    found = {**await scanned(host), "kernel": Failed(error="no [bold] luck", took_ms=5004)}
    text = as_text(facts(host), found, 160, colour=False)
    for words in ("7 x NVIDIA H100", "7680", "25 Gbps", "GPU is lost", "61.2 °C", "yes", "0.1.0", "85.5 GB"):
        assert words in text, words
    assert "kernel  after 5.0 s\n  ✕ failed: no [bold] luck" in text
    assert "\x1b" not in text


async def test_no_line_is_wider_than_the_screen(recorded: Callable) -> None:
    """Where items and readings do not fit beside each other, items become columns, and as many tables as it takes."""
    found = await scanned(recorded("gpu-server"))
    for columns in (80, 120, 160):
        lines = as_text(None, found, columns, colour=False).splitlines()
        assert max(map(len, lines)) <= columns
        assert "85.5 GB" in "\n".join(lines)


async def test_what_a_machine_does_not_have_is_absent_with_its_reason(recorded: Callable) -> None:
    """Absent is not failed, and says how long it took to find out."""
    found = {**await scanned(recorded("plain-vm")), "gpu": Absent(reason="no GPU", took_ms=1.25)}
    assert "gpu  \N{EN DASH} no GPU, 1.2 ms" in as_text(None, found, 80, colour=False)


async def test_json_is_what_the_collector_would_get(recorded: Callable) -> None:
    """The same types read it back."""
    host = recorded("plain-vm")
    found = await scanned(host)
    read = json.loads(in_json(facts(host), found))
    assert msgspec.convert(read["indicators"], Indicators) == found
    assert read["facts"]["os"] == "Debian 12"
    assert set(json.loads(in_json(None, found))) == {"indicators"}


def test_many_items_with_many_readings_stand_beside_each_other() -> None:
    """Words apart from figures, so that as many GPUs share a table as a screen of 100 columns has room for."""
    page = Page(100, colour=False)
    gpus = [f"GPU-{number:08}" for number in range(8)]
    figures = {f"figure_{number}_mhz": dict.fromkeys(gpus, 1980) for number in range(30)}
    page.items({"model": dict.fromkeys(gpus, "NVIDIA H100 80GB HBM3"), **figures})
    heads = [line.split() for line in page.text().splitlines() if line.count("GPU-") > 1]
    assert heads == [gpus[:5], gpus[5:]]
    assert page.text().count("NVIDIA H100 80GB HBM3") == 8


def test_readings_of_the_same_things_share_a_table() -> None:
    """Mounts and devices are two tables."""
    found = grouped({"size": {"/": 1}, "used": {"/": 2, "/x": 3}, "type": {"sda": "SSD"}, "total": 5})
    assert found == [{"size": {"/": 1}, "used": {"/": 2, "/x": 3}}, {"type": {"sda": "SSD"}}]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("used_bytes", 2_500_000_000, "2.5 GB"),
        ("read_bytes_s", 1_500, "1.5 kB/s"),
        ("use_percent", 12.5, "12.5 %"),
        ("uptime_s", 90_061, "1 d 1 h"),
        ("lag_ms", 0.0, "0 ms"),
        ("power_w", 700.0, "700 W"),
        ("oom_kills", 12_345, "12,345"),
        ("read_only", True, "yes"),
        ("model", "H100", "H100"),
        ("speed_mbit_s", None, "\N{EN DASH}"),
    ],
)
def test_values_are_shown_with_units_that_people_grasp(name: str, value: object, words: str) -> None:
    """The unit moves from the name to the value."""
    assert shown(name, value) == words
    assert not label(name).endswith(("bytes", "percent", " s", " ms", " w"))


def test_a_longer_suffix_wins() -> None:
    """Bytes a second are no seconds."""
    assert (unit("read_bytes_s"), unit("read_mb_s"), unit("rtt_ms"), unit("errors")) == ("bytes/s", "MB/s", "ms", "")


def test_sizes_and_times_have_two_units_at_most() -> None:
    """Small ones stay small."""
    assert [size(0), size(999), size(10**13)] == ["0 B", "999 B", "10.0 TB"]
    assert [duration(3.5), duration(600), duration(7200)] == ["3.5 s", "10 min", "2 h 0 min"]
    assert [took(0.25), took(999.0), took(12_000.0)] == ["0.2 ms", "999.0 ms", "12.0 s"]


def test_colours_are_for_terminals_that_want_them() -> None:
    """Not for pipes, NO_COLOR, or a terminal that says it is dumb."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert coloured(Terminal(), {})
    assert not coloured(Terminal(), {"NO_COLOR": "1"})
    assert not coloured(Terminal(), {"TERM": "dumb"})
    assert not coloured(io.StringIO(), {})
    found: Indicators = {"cpu": Measured(values={"use_percent": 1.0}, took_ms=1)}
    assert "\x1b[" in as_text(None, found, 80, colour=True)


@pytest.mark.parametrize(("environment", "wanted"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_person_at_a_terminal_sees_colours(environment: dict[str, str], tmp_path: Path, *, wanted: bool) -> None:
    """The program as it is started, at a terminal."""
    ours, theirs = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "TERM"}}
    command = (Path(sys.executable).with_name("rackproof-agent"), "scan", "system", "--once", "--state-dir", tmp_path)
    child = subprocess.Popen(command, stdout=theirs, env={**kept, "TERM": "xterm", **environment})
    os.close(theirs)
    shown_bytes = b""
    try:
        while chunk := os.read(ours, 65_536):
            shown_bytes += chunk
    except OSError:
        pass  # the other end is closed
    os.close(ours)
    assert child.wait(60) == 0
    assert b"uptime" in shown_bytes
    assert (b"\x1b[" in shown_bytes) is wanted


def test_the_command_reads_this_machine_twice_for_rates(rackproof_agent: Callable) -> None:
    """Shares of time need two looks; `--once` has none."""
    twice = json.loads(rackproof_agent("scan", "cpu", "--wait", "0.2", "--json").stdout)["indicators"]
    once = json.loads(rackproof_agent("scan", "cpu", "--once", "--json").stdout)["indicators"]
    assert set(twice) == set(once) == {"cpu"}
    assert "use_percent" in twice["cpu"]["values"]
    assert "use_percent" not in once["cpu"]["values"]


def test_the_command_before_enrollment_writes_nothing(rackproof_agent: Callable, tmp_path: Path) -> None:
    """Exit code 0 or 1, JSON on stdout with facts and every indicator."""
    ended = rackproof_agent("scan", "--json")
    assert ended.returncode in {0, 1}, ended.stderr
    read = json.loads(ended.stdout)
    assert set(read["indicators"]) == {one.name for one in SUBJECTS}
    assert set(read) == {"facts", "indicators"}
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_indicator_is_told_with_the_nearest_one(rackproof_agent: Callable) -> None:
    """Usage, exit code 2."""
    ended = rackproof_agent("scan", "cpus")
    assert ended.returncode == 2
    assert "did you mean 'cpu'?" in ended.stderr


def test_names_that_a_tenant_chose_do_nothing_to_the_terminal() -> None:
    """Escape sequences in a mount point, a value, a reason and an error: none reaches the screen."""
    evil = "/mnt/\x1b]0;owned\x07\x1b[2Jx\r\x9b1m\u202e"
    report: Indicators = {
        "disks": Measured(values={"used_bytes": {evil: 1}, "error": {evil: evil}, "note": evil}, took_ms=1.0),
        "smart": Absent(reason=evil, took_ms=1.0),
        "gpu": Failed(error=evil, took_ms=1.0),
    }
    text = as_text(None, report, 160, colour=False)
    assert "/mnt/?]0;owned??[2Jx" in text
    assert all(sign.isprintable() for line in text.split("\n") for sign in line)


def test_what_the_daemon_imports_draws_no_tables() -> None:
    """Tables' rich is loaded by whoever draws one; pynvml never; aiohttp by who talks to a collector."""
    program = (
        "import sys, agent.health, agent.inventory, agent.checking, agent.host.linux, agent.cli.doctor, agent.cli.scan,"
        "agent.plugins, agent.checks; agent.plugins.load(agent.checks, 'CHECK', agent.checks.Check);"
        "print([name for name in ('rich', 'pynvml', 'aiohttp', 'numpy') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", program], env=os.environ, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
