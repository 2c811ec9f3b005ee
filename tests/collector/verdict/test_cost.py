"""What judging costs, beside what it is to decode the same report: a ratio, for clocks of shared machines mean little."""

import time
from collections.abc import Callable
from datetime import timedelta

import msgspec

from collector.verdict.judging import judge
from collector.verdict.memory import Memory
from shared.messages import Indicators
from tests.collector.known import NOW
from tests.collector.verdict.watched import GPUS, WELL, as_indicators, with_changes

ROUNDS, TIMES = 8, 150


def least_us(work: Callable[[int], object]) -> float:
    """Microseconds of CPU that one call takes, in the best of some rounds."""
    took = []
    for number in range(ROUNDS):
        began = time.process_time()
        for each in range(TIMES):
            work(number * TIMES + each)
        took.append(time.process_time() - began)
    return min(took) / TIMES * 1e6


def judging_us(readings: dict) -> tuple[float, float]:
    """What decoding and judging one report cost."""
    raw, decoder = msgspec.json.encode(as_indicators(readings)), msgspec.json.Decoder(Indicators)
    reports = [decoder.decode(raw) for _ in range(20)]
    memory = Memory(hardware_id="hw_1")
    for number in range(20):
        judge(memory, reports[number], NOW + timedelta(seconds=30 * number), "b", 0.0)
    later = NOW + timedelta(hours=1)
    return least_us(lambda _: decoder.decode(raw)), least_us(
        lambda number: judge(memory, reports[number % 20], later + timedelta(seconds=30 * number), "b", 0.0)
    )


def test_judging_costs_about_as_much_as_decoding() -> None:
    """An 8-GPU server with every reading there is, well and with three faults that stand."""
    ill = with_changes(
        {"gpu.row_remap_failed": {GPUS[0]: True}, "disks.read_only": {"/": True}, "system.failed_units": 2}
    )
    for name, readings, most in (("well", WELL, 2.0), ("ill", ill, 3.0)):
        decode_us, judge_us = judging_us(readings)
        print(f"{name}: decode {decode_us:.1f} us, judge {judge_us:.1f} us")
        assert judge_us < most * decode_us, name
