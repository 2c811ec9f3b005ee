"""`rackproof-agent bench`: measure, and say what the figures mean."""

import sys
from collections.abc import Sequence

import click
import msgspec

from agent.benchmarking import run_benchmarks
from agent.benchmarks import Request
from shared.command_line import Exit
from shared.documents import Component
from shared.marks import MEANING, Mark

UNITS = {
    "gpu_throughput_fp16": "TFLOP/s",
    "gpu_throughput_fp32": "TFLOP/s",
    "cpu_score": "points",
    "disk_read_mb_s": "MB/s",
    "disk_write_mb_s": "MB/s",
    "network_bandwidth_gbps": "Gbit/s",
}


async def bench(names: Sequence[str], request: Request, *, as_json: bool) -> int:
    """Measure with progress on stderr and the result on stdout; return 1 when a component has no figure."""
    if sys.stderr.isatty():
        from rich.console import Console  # noqa: PLC0415 - half a second that only a person at a terminal pays
        from rich.progress import Progress  # noqa: PLC0415

        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("benchmarks", total=None)

            def draw(step: str, done: int, of: int) -> None:
                bar.update(task, description=step, completed=done, total=of or None)

            components = await run_benchmarks(names, request, draw)
    else:
        steps: set[str] = set()

        def tell(step: str, _done: int, _of: int) -> None:
            if step not in steps:
                steps.add(step)
                click.echo(step, err=True)

        components = await run_benchmarks(names, request, tell)
    click.echo(msgspec.json.format(msgspec.json.encode(components)).decode() if as_json else in_words(components))
    return Exit.FINE if all(one.figures and one.code is None for one in components) else Exit.FOUND_A_PROBLEM


def in_words(components: Sequence[Component]) -> str:
    """Return the result for a person: a line a figure, then why one is missing, then what the marks mean."""
    lines = []
    for one in components:
        lines += [
            f"✓ {name:24} {value:>12,.1f} {UNITS.get(name, ''):8} {one.method_version}"
            for name, value in one.figures.items()
        ]
        if not one.figures:
            lines.append(f"✕ {one.name:24} {'none':>12} {'':8} {one.code}: {one.reason}")
    marks = sorted({mark for one in components for mark in one.marks})
    return "\n".join([*lines, *(f"  {mark}: {MEANING[Mark(mark)]}" for mark in marks)])
