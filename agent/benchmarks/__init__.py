"""
What is benchmarked: one file a component and nothing else; each exposes one `BENCHMARK`, named like its file.

A benchmark runs in a child process of its own (see `agent.benchmarking`) and returns what it found, or raises the
reason why there is nothing. The machinery below it is in `agent.engines`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from shared.codes import Code, Trouble
from shared.documents import BenchmarkName, MeasuringServer
from shared.marks import Mark

Progress = Callable[[str, int, int], None]
"""Takes the phase's name, how much of it is done, and of how much; callable from any thread."""


class Network(Struct, frozen=True, kw_only=True):
    """
    How bandwidth is to be measured.

    Attributes:
        tool: "rackproof" for the platform's measuring server, "iperf3" for a server of that program's.
        iperf3_server: "HOST:PORT" for `iperf3`.
        ca_file: A private certificate authority of the measuring server; empty for the system's.
        budget_bytes: What may still be moved this month, both ways together; None for no limit.
    """

    tool: str = "rackproof"
    iperf3_server: str = ""
    ca_file: str = ""
    budget_bytes: int | None = None


class Request(Struct, frozen=True, kw_only=True):
    """
    What is asked of one benchmark.

    Attributes:
        quick: A short look.
        directory: A directory on the file system that tenants use.
        nonce: 32 bytes of the collector's, which choose what is checked; None when nobody asked.
        server: Where bandwidth is measured; None when nobody named one.
        network: How.
    """

    quick: bool
    directory: str
    nonce: bytes | None = None
    server: MeasuringServer | None = None
    network: Network = Network()


class Found(Struct, frozen=True, kw_only=True):
    """
    What a benchmark found.

    Attributes:
        figures: By the Benchmark record's attribute names; finite, >= 0; never 0 for "not measured".
        marks: What a reader must know of them.
        details: Plain JSON values, 8 kB at most: every figure with its spread, the tools with their versions.
    """

    figures: Mapping[str, float]
    marks: tuple[Mark, ...] = ()
    details: Mapping[str, Any] = {}


class Unmeasured(Trouble):
    """
    Trouble that ended a measurement which has something to tell all the same: marks and details without a figure.

    Args:
        code: What stood in the way.
        detail: In words.
        marks: As in `Found`.
        details: As in `Found`.
    """

    def __init__(self, code: Code, detail: str, marks: tuple[Mark, ...] = (), **details: Any) -> None:
        super().__init__(code, detail)
        self.marks = marks
        self.details = details


class Benchmark(Struct, frozen=True, kw_only=True):
    """
    One benchmark.

    Attributes:
        name: The file's name.
        method_version: Changes with every change of workload or estimator; figures of two versions are not compared.
        deadline_s: The child is killed after this long, whatever it is doing.
        run: Measures, in a process that may be killed at any moment and must leave nothing behind then; raises
            `Trouble`, or `Unmeasured`, with the reason where there is no figure.
    """

    name: BenchmarkName
    method_version: str
    deadline_s: float
    run: Callable[[Request, Progress], Found]
