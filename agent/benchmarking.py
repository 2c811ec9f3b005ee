"""Running benchmarks: each in a child process that has a deadline and never outlives its order."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Collection, Sequence
from datetime import datetime

import msgspec
import structlog
from msgspec import Struct

from agent import benchmarks
from agent.benchmarks import Benchmark, Network, Progress, Request
from agent.budget import left_bytes
from agent.budget import load as load_spent
from agent.budget import save as save_spent
from agent.config import Settings
from agent.plugins import load
from shared.codes import Code
from shared.documents import BenchmarkName, Challenge, ChallengeAnswer, Component
from shared.records import FIGURES

CHILD = (sys.executable, "-P", "-m", "agent.benchmarks")
"""`-P`: never import from the directory the agent happens to be started in."""
CHALLENGED = (sys.executable, "-P", "-m", "agent.engines.challenge")
ANSWER_S = 120.0
"""The largest challenge is 1.1 TFLOP: half a minute of one slow CPU."""
MOST_LINE_BYTES = 2**20

log = structlog.get_logger()


class Line(Struct, frozen=True):
    """One line of a child: how far it is, or what it found."""

    step: str = ""
    done: int = 0
    of: int = 0
    component: Component | None = None


def known() -> dict[str, Benchmark]:
    """Return the benchmarks that exist, by name."""
    return {one.name: one for one in load(benchmarks, "BENCHMARK", Benchmark)}


async def run_benchmarks(names: Sequence[str], request: Request, progress: Progress) -> tuple[Component, ...]:
    """
    Run benchmarks one after another; one that cannot run says why, and the others still run.

    Args:
        names: Which.
        request: What is asked of each of them.
        progress: Called as each one goes on.

    Returns:
        One component for each name, in that order. Cancelling kills the child within a second.
    """
    there = known()
    found = []
    for name in dict.fromkeys(names):
        if name in there:
            found.append(await _run(there[name], request, progress))
        else:
            reason = f"this version has no {name} benchmark"
            found.append(_without(BenchmarkName(name), f"{name}/-", Code.UNSUPPORTED, reason))
    return tuple(found)


def network_of(settings: Settings, now: datetime) -> Network:
    """
    Return how bandwidth is measured by these settings, within what is left of the month's budget.

    Raises:
        Trouble: `state_corrupt`: what was spent cannot be read.
    """
    return Network(
        tool=settings.network_tool,
        iperf3_server=settings.iperf3_server,
        ca_file=settings.ca_file,
        budget_bytes=left_bytes(load_spent(settings.network_file), settings.network_budget_gb, now),
    )


def account(settings: Settings, components: Sequence[Component], now: datetime) -> None:
    """
    Add what a run moved over the network to what is spent this month.

    Raises:
        Trouble: `state_corrupt` or `state_unwritable`.
    """
    moved = sum(one.details.get("moved_bytes", 0) for one in components if one.name is BenchmarkName.NETWORK)
    if moved:
        save_spent(settings.network_file, load_spent(settings.network_file).plus(moved, now))


async def answer(challenge: Challenge, names: Collection[str]) -> ChallengeAnswer | None:
    """
    Answer a challenge in a child process; None, with a line in the log, where that does not work here.

    Args:
        challenge: As ordered.
        names: The benchmarks that were ordered with it; with "gpu" among them a GPU answers, if one can.
    """
    child = await asyncio.create_subprocess_exec(
        *CHALLENGED,
        "gpu" if BenchmarkName.GPU in names else "cpu",
        str(os.getpid()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(ANSWER_S):
            out, _ = await child.communicate(msgspec.json.encode(challenge))
        return msgspec.json.decode(out, type=ChallengeAnswer)
    except (TimeoutError, msgspec.MsgspecError) as error:
        log.error("challenge.not_answered", code=child.returncode, detail=f"{type(error).__name__}: {error}"[:200])
        return None
    finally:
        await _end(child)


def figures(components: Sequence[Component]) -> dict[str, float | None]:
    """Return the figures of a Benchmark record; null where nothing was measured."""
    measured = {name: value for one in components for name, value in one.figures.items()}
    return {name: measured.get(name) for name in FIGURES}


async def _run(benchmark: Benchmark, request: Request, progress: Progress) -> Component:
    child = await asyncio.create_subprocess_exec(
        *CHILD,
        benchmark.name,
        str(os.getpid()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
        limit=MOST_LINE_BYTES,
    )
    try:
        async with asyncio.timeout(benchmark.deadline_s):
            component = await _listen(child, benchmark, request, progress)
            code = await child.wait()
    except TimeoutError:
        reason = f"stopped after {benchmark.deadline_s:.0f} s"
        return _without(benchmark.name, benchmark.method_version, Code.BENCHMARK_FAILED, reason)
    except ValueError as error:
        # A line without an end; see MOST_LINE_BYTES.
        return _without(benchmark.name, benchmark.method_version, Code.BENCHMARK_FAILED, f"unreadable: {error}")
    finally:
        await _end(child)
    if component is None:
        reason = f"the benchmark's process ended with {code} and no result"
        return _without(benchmark.name, benchmark.method_version, Code.BENCHMARK_FAILED, reason)
    return component


async def _listen(
    child: asyncio.subprocess.Process, benchmark: Benchmark, request: Request, progress: Progress
) -> Component | None:
    assert child.stdin is not None
    assert child.stdout is not None
    # By a pipe and not as arguments, which every user of the machine can read: a ticket is in it.
    child.stdin.write(msgspec.json.encode(request))
    with contextlib.suppress(ConnectionError):
        await child.stdin.drain()
    child.stdin.close()
    component = None
    async for raw in child.stdout:
        try:
            line = msgspec.json.decode(raw, type=Line)
        except msgspec.MsgspecError as error:
            # NaN, infinity and negative figures end here: JSON has no word for the first two, `Figure` none for these.
            log.warning("benchmark.nonsense", benchmark=benchmark.name, detail=str(error)[:200])
            continue
        if line.component is not None:
            component = line.component
        else:
            progress(f"{benchmark.name}: {line.step}", line.done, line.of)
    return component


async def _end(child: asyncio.subprocess.Process) -> None:
    """Kill the child and everything it started, and wait for it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    await child.wait()


def _without(name: BenchmarkName, method_version: str, code: Code, reason: str) -> Component:
    return Component(name=name, method_version=method_version, code=code, reason=reason[:300])
