"""
One process of the crew: keeps one CPU busy, a kernel a turn, and reports slices.

Started with the CPU's number and its parent's process id. Lines of JSON both ways, strictly by turns: it says hello;
then for each turn it gets the turn and says "ready", gets "go", measures, says "done" when it has what was asked for or
the time is over, *and works on* so that the others measure on a busy machine, until it gets "stop"; then it sends its
slices.
"""

import os
import select
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from agent.engines.cpu.compiled import MAKE, Call, software
from agent.engines.cpu.crew import Hello, Turn
from agent.engines.cpu.slices import SLICE_S, Slice, is_clean
from agent.processes import die_with_parent

WARM_UP_S = 0.1
"""Uncounted at the start of each turn: clocks rise, caches fill, and all have begun."""

T = TypeVar("T")


def main(cpu: int, parent: int) -> None:
    """Say hello and do one turn after another, until the parent closes the line or ends."""
    die_with_parent(parent)
    with suppress(OSError):
        # The first to go where memory runs out, rather than the agent or somebody else's program.
        Path("/proc/self/oom_score_adj").write_text("1000")
    _say(Hello(pinned=_pinned(cpu), software=software()))
    calls: dict[str, Call] = {}
    while True:
        turn = _hear(Turn)
        if turn.kernel not in calls:
            calls[turn.kernel] = MAKE[turn.kernel]()
            calls[turn.kernel]()
        _say("ready")
        _hear(str)
        _say(_measure(calls[turn.kernel], turn))


def _pinned(cpu: int) -> bool:
    """
    Keep this process to one CPU; return whether that was allowed.

    The shipped unit does not allow it: the scheduler then spreads as many processes as there are CPUs by itself, and
    what it does not spread is seen in the slices' shares.
    """
    with suppress(OSError):
        os.sched_setaffinity(0, {cpu})
        return True
    return False


def _measure(call: Call, turn: Turn) -> list[Slice]:
    """Return slices until enough are clean or the time is over; keep the CPU busy until told to stop."""
    began_s = time.perf_counter()
    while time.perf_counter() - began_s < WARM_UP_S:
        call()
    slices: list[Slice] = []
    began_s, clean = time.perf_counter(), 0
    while clean < turn.wanted and time.perf_counter() - began_s < turn.limit_s:
        slices.append(_slice(call, turn.work))
        clean += is_clean(slices[-1])
    _say("done")
    while not select.select([0], [], [], 0)[0]:
        call()
    _hear(str)
    return slices


def _slice(call: Call, work: float) -> Slice:
    calls, passed_s = 0, 0.0
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    while passed_s < SLICE_S:
        call()
        calls += 1
        passed_s = time.perf_counter() - began_s
    return Slice(rate=calls * work / passed_s, share=(time.process_time() - began_cpu_s) / passed_s)


def _hear(kind: type[T]) -> T:
    line = sys.stdin.buffer.readline()
    if not line:
        sys.exit(0)
    return msgspec.json.decode(line, type=kind)


def _say(value: Any) -> None:
    left = memoryview(msgspec.json.encode(value) + b"\n")
    while left:
        left = left[os.write(1, left) :]


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
