"""
All GPUs at once: a process for each, in step, and one that watches; none of them outlives this one.

This process itself loads nothing of NVIDIA's.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from agent.engines.gpu import judge
from agent.engines.gpu.cublas import ENVIRONMENT
from agent.engines.gpu.records import PHASES, Card, Failure, Measured, Plan, Said, Task, Watched
from agent.gpu.cuda import ALONE
from shared.codes import Code, Trouble

ONE = (sys.executable, "-P", "-m", "agent.engines.gpu.one")
WATCH = (sys.executable, "-P", "-m", "agent.engines.gpu.watch")
"""`-P`: never import from the directory the agent happens to be started in."""
BUS = Path("/sys/bus/pci/devices")
END_S = 2.0
MOST_LINE_BYTES = 2**20
_OTHERS = ("CUDA_", "CUBLAS", "CUBLASLT_", "NVIDIA_", "NVBLAS_")

Progress = Callable[[str, int, int], None]


class Run(Struct, frozen=True, kw_only=True):
    """
    How a run went.

    Attributes:
        driver: The driver's version.
        cards: The GPUs.
        outcomes: What became of each, in their order.
        looks: What NVML said meanwhile.
        ours: Process ids of the GPUs' own processes.
        names: Of all processes that were seen on a GPU.
    """

    driver: str
    cards: tuple[Card, ...]
    outcomes: tuple[Measured | Failure, ...]
    looks: tuple[Watched, ...]
    ours: tuple[int, ...]
    names: Mapping[int, str]


class Start:
    """A line at which everybody waits until all who are still there have come."""

    def __init__(self, runners: int) -> None:
        self._runners = runners
        self._here = 0
        self._go = asyncio.Event()

    async def wait(self) -> None:
        """Wait for the others."""
        self._here += 1
        go = self._go
        self._check()
        await go.wait()

    def leave(self) -> None:
        """Be waited for no more."""
        self._runners -= 1
        self._check()

    def _check(self) -> None:
        if self._here >= self._runners:
            self._go.set()
            self._go, self._here = asyncio.Event(), 0


class Watcher:
    """The process that asks NVML, and all that it said."""

    def __init__(self, process: asyncio.subprocess.Process, first: Watched) -> None:
        self._process = process
        self.driver, self.cards = first.driver, first.cards
        self.looks: list[Watched] = []
        self.names: dict[int, str] = {}

    async def listen(self) -> None:
        """Take down what it says until it ends."""
        assert self._process.stdout is not None
        async for raw in self._process.stdout:
            look = msgspec.json.decode(raw, type=Watched)
            for pid in {pid for one in look.readings for pid in one.pids} - set(self.names):
                # Now, for it may be gone when somebody asks.
                self.names[pid] = _name(pid)
            self.looks.append(look)

    async def idle(self, idle_s: float, progress: Progress) -> None:
        """
        Wait until nobody has used a GPU for so long.

        Raises:
            Trouble: `disturbed`: somebody does, for twice that time; `benchmark_failed`: NVML tells nothing.
        """
        busy, seen, quiet_from_s = "", 0, 0.0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10 * judge.EVERY_S + 2 * idle_s):
                while not seen or self.looks[seen - 1].at_s - quiet_from_s < idle_s:
                    await asyncio.sleep(judge.EVERY_S / 2)
                    for look in self.looks[seen:]:
                        disturbed = judge.disturbance(self.cards, look.readings, self.names)
                        busy = disturbed or busy
                        quiet_from_s = look.at_s if disturbed or not seen else quiet_from_s
                        seen += 1
                    progress("idle", 0, 0)
                return
        raise Trouble(Code.DISTURBED, busy) if busy else Trouble(Code.BENCHMARK_FAILED, "NVML gave no answer")


@contextlib.asynccontextmanager
async def _process(*argv: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a process; at the end it is killed, and waited for unless it hangs in the driver."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        str(os.getpid()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=_clean(os.environ) | environment,
        limit=MOST_LINE_BYTES,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), END_S)


def _clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what would change how a GPU works."""
    return {name: value for name, value in environment.items() if not name.startswith(_OTHERS)}


async def measure(plan: Plan, nonce: bytes | None, progress: Progress, bus: Path = BUS) -> Run:
    """
    Measure all GPUs of this machine at once.

    Args:
        plan: How.
        nonce: Chooses which elements of the products are checked.
        progress: Told the phases.
        bus: The PCI devices.

    Raises:
        Trouble: nothing was measured, and why.
    """
    devices = {one.name: (_text(one / "vendor"), _text(one / "class")) for one in _inside(bus)}
    bound = [
        one.name for one in _inside(bus) if (one / "driver").resolve().name == "nvidia" and _gpu(devices[one.name])
    ]
    if trouble := judge.absent(devices):
        raise trouble
    async with _process(*WATCH) as process:
        watcher = Watcher(process, await _first(process, plan.patience_s))
        if trouble := judge.refused(watcher.cards, bound):
            raise trouble
        listening = asyncio.create_task(watcher.listen())
        try:
            await watcher.idle(plan.idle_s, progress)
            return await _all(plan, nonce, watcher, progress)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def _first(process: asyncio.subprocess.Process, patience_s: float) -> Watched:
    assert process.stdout is not None
    try:
        raw = await asyncio.wait_for(process.stdout.readline(), patience_s)
    except TimeoutError:
        words = f"NVML gave no answer within {patience_s:.0f} s: it hangs in the driver"
        raise Trouble(Code.BENCHMARK_FAILED, words) from None
    if not raw:
        raise Trouble(Code.BENCHMARK_FAILED, f"NVML's process {await _death(process)}")
    first = msgspec.json.decode(raw, type=Watched)
    if first.error:
        raise Trouble(Code(first.code), first.error)
    return first


async def _all(plan: Plan, nonce: bytes | None, watcher: Watcher, progress: Progress) -> Run:
    cards, start, ours = watcher.cards, Start(len(watcher.cards)), []

    async def one(card: Card) -> Measured | Failure:
        try:
            async with _process(*ONE, CUDA_VISIBLE_DEVICES=card.uuid, **ALONE, **ENVIRONMENT) as process:
                ours.append(process.pid)
                return await _converse(process, Task(plan=plan, uuid=card.uuid, nonce=nonce), start, progress)
        finally:
            start.leave()

    outcomes = await asyncio.gather(*(one(card) for card in cards))
    return Run(
        driver=watcher.driver,
        cards=cards,
        outcomes=tuple(outcomes),
        looks=tuple(watcher.looks),
        ours=tuple(ours),
        names=watcher.names,
    )


async def _converse(
    process: asyncio.subprocess.Process, task: Task, start: Start, progress: Progress
) -> Measured | Failure:
    """Lead one GPU's process through its phases; return what it found, or why it found nothing."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(msgspec.json.encode(task) + b"\n")
    phase = "the start"
    while True:
        limit_s = task.plan.patience_s + task.plan.product.warm_s + task.plan.product.timed_s
        try:
            raw = await asyncio.wait_for(process.stdout.readline(), limit_s)
        except TimeoutError:
            return Failure(Code.BENCHMARK_FAILED, f"no word for {limit_s:.0f} s since {phase}: it hangs in the driver")
        if not raw:
            return Failure(Code.BENCHMARK_FAILED, f"its process {await _death(process)} after {phase}")
        said = msgspec.json.decode(raw, type=Said)
        if found := said.measured or said.failure:
            return found
        phase = said.warm
        progress(phase, PHASES.index(phase), len(PHASES))
        await start.wait()
        # One that died meanwhile is noticed by its silence.
        process.stdin.write(b"\n")


async def _death(process: asyncio.subprocess.Process) -> str:
    """Say how a process ended that closed its pipe."""
    try:
        status = await asyncio.wait_for(process.wait(), END_S)
    except TimeoutError:
        return "closed its pipe"
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"


def _inside(bus: Path) -> list[Path]:
    return sorted(bus.iterdir()) if bus.is_dir() else []


def _gpu(device: tuple[str, str]) -> bool:
    return device[0] == judge.NVIDIA and device[1].startswith(judge.GPU_CLASSES)


def _text(file: Path) -> str:
    try:
        return file.read_text("ascii").strip()
    except OSError:
        return ""


def _name(pid: int) -> str:
    return _text(Path("/proc", str(pid), "comm"))
