"""A lying or broken agent neither breaks nor bloats the judging, and is told of."""

import math
import sys
import time
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.verdict import HealthState
from collector.verdict.conclusion import verdict
from collector.verdict.judging import judge
from collector.verdict.memory import MOST_ITEMS, MOST_STANDING, Memory
from collector.verdict.rulebook import RULES
from collector.verdict.thresholds import Test
from tests.collector.known import NOW
from tests.collector.verdict.watched import GPUS, WELL, Watched, as_indicators, by_gpu, with_changes

LIES = st.sampled_from(
    [
        *(math.nan, math.inf, -math.inf, -0.0, 1e308, -1e308, 0.5, 5e-324, 1, 7, 99.9, -1, 2**63, 10**5000, -(10**400)),
        *("", "ok", "FAILED", "\x00", "\u202e\ud7ff", "hung since", "x" * 2000, "{value}", True, False, None),
    ]
)
ITEMS = st.sampled_from(["", "a", "b\x00", "c" * 300, "{0}", "GPU-00000003"])
READINGS = sorted(
    {(one.indicator, one.reading) for its in RULES.values() for one, _ in its if one.indicator != "collector"}
)


@settings(max_examples=120)
@given(st.data())
def test_whatever_an_agent_sends_is_judged(data) -> None:
    """No value of any kind, in any reading, raises; and the verdict can be stored and shown."""
    memory = Memory(hardware_id="hw_1")
    for number in range(3):
        readings: dict = {}
        for indicator, reading in data.draw(st.lists(st.sampled_from(READINGS), min_size=3, max_size=12)):
            value = data.draw(st.one_of(LIES, st.dictionaries(ITEMS, LIES, max_size=4)))
            readings.setdefault(indicator, {})[reading] = value
        judge(memory, as_indicators(readings), NOW + timedelta(seconds=30 * number), "b", 0.0)
    shown = msgspec.json.encode(verdict(memory))
    assert b"\\u0000" not in shown


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("disks.used_percent", {"/": "full"}, "'full' is no number that can be"),
        ("disks.used_percent", {"/": math.nan, "/home": 1e300}, "is no number that can be"),
        ("disks.used_percent", {"/": math.inf}, "inf is no number that can be"),
        ("memory.corrected_errors", {"mc0": -1}, "-1 is no number that can be"),
        ("memory.oom_kills", 10**5000, "a number of very many digits is no number"),
        ("gpu.probe", 17, "17 is no text"),
        ("gpu.slowdown_margin_celsius", dict.fromkeys(GPUS, "cold\x00\n"), "is no number that can be"),
        ("system.clock_synchronized", "yes", "'yes' is no number that can be"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_read_is_told_by_the_reading_s_name(name, value, words) -> None:
    """It makes no other reason, and none is missed because of it."""
    machine = Watched()
    machine.during(300, with_changes({name: value, "disks.read_only": {"/home": True}}))
    told = machine.told()
    assert set(told) == {("unreadable", name), ("disk_read_only", "/home")}
    assert words in told["unreadable", name].words
    assert told["unreadable", name].words.isprintable()


def test_a_number_that_is_none_hides_no_other() -> None:
    """A NaN beside a full disk does not keep it from being told."""
    machine = Watched()
    machine.during(900, with_changes({"disks.used_percent": {"/": math.nan, "/home": 99}}))
    assert ("disk_full", "/home") in machine.told()


def test_ten_thousand_items_cost_little_and_are_forgotten() -> None:
    """Time and memory stay bounded, and it is told that the rest is not looked at."""
    many = {f"/mnt/{number}": 99.9 for number in range(10_000)}
    counts = {f"link{number}": number + 1 for number in range(10_000)}
    lies = with_changes({})
    lies["disks"]["used_percent"] = lies["disks"]["inodes_used_percent"] = many
    lies["network"]["errors"] = lies["network"]["drops"] = lies["network"]["carrier_changes"] = counts
    machine = Watched()
    began = time.process_time()
    for number in range(40):
        lies["network"]["carrier_changes"] = {f"{number} {name}": count for name, count in list(counts.items())[:500]}
        machine.report(lies)
    assert (time.process_time() - began) / 40 < 0.05
    memory = machine.memory
    assert sum(map(len, memory.standings.values())) <= MOST_STANDING + 10
    assert all(len(kept) <= 2 * MOST_ITEMS for kept in memory.counts.values())
    assert all(len(kept) <= 2 * MOST_ITEMS for kept in memory.windows.values())
    assert size_of(memory) < 500_000
    told = machine.told()
    assert told["unreadable", "disks.used_percent"].words == "10,000 items, of which 256 are looked at"
    assert "reasons_left_out" in {code for code, _ in told}
    machine.during(7200 * 13, WELL, every_s=120)
    assert memory.standings == {}
    assert memory.state is HealthState.HEALTHY


def test_a_machine_that_is_well_is_remembered_in_a_few_kilobytes() -> None:
    """What is as it should be is not remembered at all."""
    machine = Watched()
    machine.during(3 * 3600, WELL)
    assert size_of(machine.memory) < 8_000
    machine.during(3600, with_changes({"gpu.throttled_hardware_percent": by_gpu(50.0)}))
    assert size_of(machine.memory) < 25_000


def size_of(value: object) -> int:
    """Bytes of a value with all it holds."""
    size = sys.getsizeof(value)
    if isinstance(value, dict):
        return size + sum(size_of(key) + size_of(one) for key, one in value.items())
    if isinstance(value, list | tuple | set):
        return size + sum(map(size_of, value))
    if isinstance(value, msgspec.Struct):
        return size + sum(size_of(getattr(value, name)) for name in value.__struct_fields__)
    return size


@pytest.mark.parametrize("value", [1e18, -1e18, 1, 5e-324])
def test_a_share_of_almost_nothing_is_judged(value) -> None:
    """It is infinite, and infinity is no whole number that could be shown."""
    shares = [one for its in RULES.values() for one, _ in its if one.test is Test.SHARE]
    assert shares
    for one in shares:
        readings = {one.indicator: {one.reading: {"a": value}, one.other: {"a": 5e-324}}}
        memory = Memory(hardware_id="hw_1")
        judge(memory, as_indicators(readings), NOW, "b", 0.0)
        assert msgspec.json.encode(verdict(memory))
