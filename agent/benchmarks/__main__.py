"""One benchmark in a process of its own: progress and the result as JSON lines on stdout."""

import sys
import threading
import time
from importlib import import_module
from pathlib import Path

import msgspec

from agent.benchmarks import Benchmark, Conditions
from agent.processes import die_with_parent

TELL_EVERY_S = 0.1


class Teller:
    """Writes progress lines, not more than ten a second and from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told_at = 0.0

    def __call__(self, step: str, done: int, of: int) -> None:
        """Tell how far the benchmark is."""
        with self._lock:
            if done < of and time.monotonic() - self._told_at < TELL_EVERY_S:
                return
            self._told_at = time.monotonic()
            line({"step": step, "done": done, "of": of})


def line(value: object) -> None:
    """Write one line of JSON."""
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


def main(name: str, quick: str, directory: str, parent: str) -> None:
    """Run one benchmark; `name` has been checked by the parent."""
    die_with_parent(int(parent))
    benchmark: Benchmark = import_module(f"agent.benchmarks.{name}").BENCHMARK
    component = benchmark.run(Conditions(quick=quick == "quick", directory=Path(directory)), Teller())
    line({"component": component})


if __name__ == "__main__":
    main(*sys.argv[1:])
