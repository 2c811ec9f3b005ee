"""
What is benchmarked: one file a component and nothing else; each exposes one `BENCHMARK`, named like its file.

A benchmark runs in a child process of its own (see `agent.benchmarking`) and returns figures or the reason why not.
"""

from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from shared.documents import BenchmarkName, Component

Progress = Callable[[str, int, int], None]
"""Takes the phase's name, how much of it is done, and of how much."""


class Conditions(Struct, frozen=True, kw_only=True):
    """How to measure: `quick` for a short look; `directory` on the file system that tenants use."""

    quick: bool
    directory: Path


class Benchmark(Struct, frozen=True, kw_only=True):
    """
    One benchmark.

    Attributes:
        name: The file's name.
        method_version: Changes with every change of workload or estimator; figures of two versions are not compared.
        deadline_s: The child is killed after this long, whatever it is doing.
        run: Measures; called in a process that may be killed at any moment and must leave nothing behind then.
    """

    name: BenchmarkName
    method_version: str
    deadline_s: float
    run: Callable[[Conditions, Progress], Component]
