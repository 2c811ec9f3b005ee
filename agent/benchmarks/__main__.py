"""One benchmark in a process of its own: the request as JSON on stdin; progress and the result as lines on stdout."""

import os
import sys
import threading
import time
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import msgspec

from agent.benchmarks import Benchmark, Found, Request, Unmeasured
from agent.engines import conditions
from agent.processes import die_with_parent
from shared.codes import Trouble
from shared.documents import Component
from shared.marks import Mark

TELL_EVERY_S = 0.1


class Teller:
    """Writes progress lines, not more than ten a second and from any thread."""

    def __init__(self, out: int) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._told_at = 0.0

    def __call__(self, step: str, done: int, of: int) -> None:
        """Tell how far the benchmark is."""
        with self._lock:
            if done < of and time.monotonic() - self._told_at < TELL_EVERY_S:
                return
            self._told_at = time.monotonic()
            self.line({"step": step, "done": done, "of": of})

    def line(self, value: object) -> None:
        """Write one line of JSON."""
        left = memoryview(msgspec.json.encode(value) + b"\n")
        while left:
            left = left[os.write(self._out, left) :]


def component(benchmark: Benchmark, request: Request, tell: Teller) -> Component:
    """Run a benchmark and return what it found, or why it found nothing, with what went on beside it."""
    started_at, began_s, before = datetime.now(UTC), time.monotonic(), conditions.look()
    found: Found | Trouble
    try:
        found = benchmark.run(request, tell)
    except Trouble as trouble:
        found = trouble
    beside = conditions.between(before, conditions.look())
    told: dict[str, Any] = {}
    marks: tuple[Mark, ...] = ()
    if isinstance(found, Found):
        told["figures"] = dict(found.figures)
    else:
        told |= {"code": found.code, "reason": found.detail[:300]}
    if isinstance(found, Found | Unmeasured):
        told["details"] = {**found.details, "conditions": msgspec.to_builtins(beside)}
        marks = (*found.marks, *conditions.marks(beside), *((Mark.QUICK,) if request.quick else ()))
    return Component(
        name=benchmark.name,
        method_version=benchmark.method_version,
        marks=tuple(dict.fromkeys(marks)),
        started_at=started_at,
        took_s=round(time.monotonic() - began_s, 3),
        **told,
    )


def main(name: str, parent: str) -> None:
    """Run one benchmark; `name` has been checked by the parent."""
    die_with_parent(int(parent))
    # A library that prints must not end up among our lines.
    out = os.dup(1)
    os.dup2(2, 1)
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    benchmark: Benchmark = import_module(f"agent.benchmarks.{name}").BENCHMARK
    tell = Teller(out)
    tell.line({"component": component(benchmark, request, tell)})


if __name__ == "__main__":
    main(*sys.argv[1:])
