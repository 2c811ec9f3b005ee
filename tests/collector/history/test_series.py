"""Series: what of a report is a number, and how they are chosen by name."""

import time

import msgspec

from collector.history.series import MOST_SERIES, chosen, numbers, parts, patterns_in, readings, unfit
from shared.messages import Absent, Failed, Measured

REPORT = {
    "cpu": Measured(values={"use_percent": 3.5, "model": "EPYC", "offline_cpus": None}, took_ms=1.0),
    "disks": Measured(values={"used_percent": {"/": 40, "/data [1],x": 7.5}, "read_only": {"/": True}}, took_ms=1.0),
    "gpu": Absent(reason="no GPU", took_ms=0.1),
    "network": Failed(error="gone", took_ms=0.1),
}


def test_numbers_and_truths_are_series_and_words_are_not():
    """By indicator and reading, and by item where there are items."""
    assert numbers(msgspec.json.encode(REPORT)) == {
        "cpu.use_percent": 3.5,
        "disks.used_percent[/]": 40.0,
        "disks.used_percent[/data [1],x]": 7.5,
        "disks.read_only[/]": 1.0,
    }


def test_readings_that_no_pattern_can_fit_are_passed_over():
    """And none that one can: the item is looked at later."""
    raw = msgspec.json.encode(REPORT)
    assert list(numbers(raw, readings(("disks.used*[/]",)))) == [
        "disks.used_percent[/]",
        "disks.used_percent[/data [1],x]",
    ]
    assert list(numbers(raw, readings(("disks.used_percent[/]",)))) == list(numbers(raw, readings(("disks.used*",))))
    assert numbers(raw, readings(("*[/]",))) == numbers(raw)
    assert numbers(raw, readings(("gpu.x", "cpu.use_percent*"))) == {"cpu.use_percent": 3.5}


def test_a_number_that_no_answer_could_carry_is_no_series():
    """Huge ones would become infinite as soon as somebody adds them."""
    assert numbers(b'{"a":{"outcome":"measured","values":{"b":1e305,"c":%d,"d":1},"took_ms":1}}' % 10**308) == {
        "a.d": 1.0
    }


def test_a_name_comes_apart_into_indicator_reading_and_item():
    """An item may hold whatever a mount's name may."""
    assert parts("cpu.use_percent") == ("cpu", "use_percent", None)
    assert parts("disks.used_percent[/data [1].x]") == ("disks", "used_percent", "/data [1].x")


def picked(names, *patterns):
    return [names[at] for at in chosen(names, patterns)]


def test_a_star_stands_for_anything_and_nothing_else_is_special():
    """Brackets, points and question marks are themselves."""
    names = ["gpu.power_w[0]", "gpu.power_w[1]", "gpu.x", "gpuXpower_w[0]", "cpu.use_percent"]
    assert picked(names, "gpu.power_w[*]") == names[:2]
    assert picked(names, "*[0]") == [names[0], names[3]]
    assert picked(names, "gpu.?", "cpu.use") == []
    assert picked(names, "*.*w*[*", "cpu.use_percent") == [names[0], names[1], names[4]]
    assert picked(names, "gpu.x*x") == []
    assert picked(names) == names
    assert unfit(names, ("gpu.*", "gpu.none")) == ("gpu.none",)


def test_a_comma_in_an_items_name_is_no_separator():
    """Mounts may be called so."""
    assert patterns_in("a.b, disks.used_percent[/a,b],c.*,") == ("a.b", "disks.used_percent[/a,b]", "c.*")


def test_no_pattern_takes_long():
    """A hundred stars over a name that nearly fits."""
    began = time.process_time()
    assert picked(["a" * 460], "a*" * 200 + "b") == []
    assert time.process_time() - began < 1.0


def test_a_report_of_ten_thousand_numbers_is_not_read_to_its_end():
    """One more than a chunk may have, so that it is told that some were left out."""
    values = {f"r{n}": {f"i{m}": 1 for m in range(1_000)} for n in range(5)} | {f"s{n}": 1 for n in range(5_000)}
    raw = msgspec.json.encode({"a": Measured(values=values, took_ms=1.0)})
    assert len(numbers(raw)) == MOST_SERIES + 1
