"""What `scan` and `doctor` show."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from agent.checks import Check, Conditions, State, judge, run_checks
from agent.cli.doctor import found_problem, reach, render_checks
from agent.cli.scan import grouped, render_scan, shown, take_scan
from shared.codes import Code, Trouble
from shared.messages import Failed, Indicators

WELL = Conditions(
    python=(3, 12),
    root=True,
    state_dir="/var/lib/x",
    state_dir_exists=True,
    state_dir_writable=True,
    state_free_bytes=10**10,
    available_bytes=10**9,
    clock_synchronized=True,
    clock_offset_ms=0.5,
    gpus_on_bus=8,
    gpus_seen=8,
    collector=12.0,
)


def line(conditions: Conditions, code: str) -> Check:
    return next(check for check in judge(conditions) if check.code == code)


def test_a_well_machine_has_no_problem() -> None:
    """Every check is fine."""
    assert {check.state for check in judge(WELL)} == {State.FINE}
    assert not found_problem(judge(WELL))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"python": (3, 10)}, "python"),
        ({"clock_synchronized": False}, "clock"),
        ({"clock_offset_ms": -2500.0}, "clock"),
        ({"available_bytes": 10**8}, "memory"),
        ({"state_dir_writable": False}, "state_dir"),
        ({"state_free_bytes": 10**8}, "disk_space"),
        ({"gpus_seen": 7}, "gpus"),
        ({"gpus_seen": None, "gpu_error": "install the NVIDIA driver"}, "gpus"),
        ({"collector": Trouble(Code.COLLECTOR_UNREACHABLE, "no route", "check the firewall")}, "collector"),
    ],
)
def test_each_problem_is_one_line_with_its_remedy(change: dict, code: str) -> None:
    """And no other check minds."""
    checks = judge(msgspec.structs.replace(WELL, **change))
    problems = [check for check in checks if check.state is State.PROBLEM]
    assert [check.code for check in problems] == [code]
    assert problems[0].remedy
    assert found_problem(checks)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"root": False}, "root"),
        ({"root": False, "state_dir_writable": False}, "state_dir"),
        ({"clock_synchronized": None, "clock_offset_ms": None}, "clock"),
        ({"state_free_bytes": None}, "disk_space"),
        ({"gpus_on_bus": 0, "gpus_seen": None}, "gpus"),
        ({"collector": None}, "collector"),
    ],
)
def test_what_cannot_be_told_or_does_not_apply_is_no_problem(change: dict, code: str) -> None:
    """It says why instead."""
    check = line(msgspec.structs.replace(WELL, **change), code)
    assert check.state is State.UNKNOWN
    assert check.value


def test_a_lost_gpu_is_found_by_counting(recorded: Callable) -> None:
    """Seven answer, eight are on the bus."""
    check = next(one for one in run_checks(recorded("gpu-server"), state_dir="/home/agent") if one.code == "gpus")
    assert (check.state, check.value) == (State.PROBLEM, "7 seen by the driver, 8 on the PCI bus")


def test_doctor_looks_at_the_nearest_directory_that_exists(recorded: Callable) -> None:
    """Before enrollment there is no state directory yet."""
    found = {check.code: check for check in run_checks(recorded("plain-vm"), state_dir="/var/lib/rackproof-agent")}
    assert found["state_dir"].value == "/var/lib/rackproof-agent is not there yet, it can be made"
    assert found["disk_space"].value == "85.2 GB"


def test_doctor_s_lines(recorded: Callable) -> None:
    """Mark, name, value, limit; under a problem its code and remedy."""
    checks = (
        Check(code="a", name="first", state=State.FINE, value="1", limit="at least 1"),
        Check(code="b", name="second", state=State.PROBLEM, value="0", limit="at least 1", remedy="add one"),
        Check(code="c", name="third", state=State.UNKNOWN, value="not asked", limit="at least 1"),
    )
    assert render_checks(checks, json=False).splitlines() == [
        "✓ first   1  (at least 1)",
        "✕ second  0  (at least 1)",
        "          b: add one",
        "\N{EN DASH} third   not asked",
    ]
    assert [one["state"] for one in json.loads(render_checks(checks, json=True))] == ["fine", "problem", "unknown"]


async def test_scan_shows_every_indicator_and_fact(recorded: Callable) -> None:
    """Tables for people: units in words, a lost GPU with its error, a failure with its text."""
    facts, indicators = await take_scan(recorded("gpu-server"), {"version": "0.1.0"})
    text = render_scan(facts, {**indicators, "kernel": Failed(error="no [bold] luck", took_ms=1)}, json=False)
    for words in (
        "7 x NVIDIA H100",
        "7680",
        "25 Gbps",
        "GPU is lost",
        "61.2 °C",
        "yes",
        "0.1.0",
        "kernel: ✕ failed: no [bold] luck",
    ):
        assert words in text, words
    assert "\x1b" not in text


async def test_scan_without_a_gpu_says_so(recorded: Callable) -> None:
    """Absent is not failed."""
    facts, indicators = await take_scan(recorded("plain-vm"), {})
    assert "gpu: \N{EN DASH} no NVIDIA GPU on the PCI bus" in render_scan(facts, indicators, json=False)


async def test_scan_as_json_is_what_the_collector_would_get(recorded: Callable) -> None:
    """The same types read it back."""
    facts, indicators = await take_scan(recorded("plain-vm"), {"version": "0.1.0"})
    read = json.loads(render_scan(facts, indicators, json=True))
    assert msgspec.convert(read["indicators"], Indicators) == indicators
    assert read["facts"]["os"] == "Debian 12"


def test_readings_of_the_same_things_share_a_table() -> None:
    """Mounts and devices are two tables."""
    found = grouped({"size": {"/": 1}, "used": {"/": 2, "/x": 3}, "type": {"sda": "SSD"}, "total": 5})
    assert found == [{"size": {"/": 1}, "used": {"/": 2, "/x": 3}}, {"type": {"sda": "SSD"}}]


def test_units_move_from_the_name_to_the_value() -> None:
    """Bytes become MB or GB."""
    assert shown("used_bytes", 2_500_000_000) == ("used", "2.5 GB")
    assert shown("use_percent", 12.5) == ("use", "12.5 %")
    assert shown("read_only", value=True) == ("read only", "yes")


def test_what_the_daemon_imports_draws_no_tables() -> None:
    """Tables' rich is loaded by whoever draws one; pynvml never."""
    program = (
        "import sys, agent.health, agent.inventory, agent.checks, agent.host.linux, agent.cli.doctor, agent.cli.scan;"
        "print([name for name in ('rich', 'pynvml', 'aiohttp') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", program], env=os.environ, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


async def test_a_collector_that_answers_anything_is_reachable(unused_tcp_port: int) -> None:
    """Even 404: the way to it is open. Nobody there is trouble with a remedy, not a traceback."""
    runner = web.AppRunner(web.Application())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    try:
        round_trip_ms = await reach(f"http://127.0.0.1:{unused_tcp_port}", "")
    finally:
        await runner.cleanup()
    assert isinstance(round_trip_ms, float)
    gone = await reach(f"http://127.0.0.1:{unused_tcp_port}", "")
    assert isinstance(gone, Trouble)
    assert gone.code is Code.COLLECTOR_UNREACHABLE
    assert gone.remedy


@pytest.mark.parametrize("arguments", [("scan", "--json"), ("doctor", "--json")])
def test_the_commands_run_here_before_enrollment(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Exit code 0 or 1, JSON on stdout, nothing written."""
    command = (sys.executable, "-m", "agent", *arguments, "--state-dir", str(tmp_path))
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode in {0, 1}, ended.stderr
    assert json.loads(ended.stdout)
    assert list(tmp_path.iterdir()) == []
