"""
All GPUs at once: a process for each, in step, and one that watches; none of them outlives this one.

This process itself loads nothing of NVIDIA's.
"""

import asyncio
import contextlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from agent.engines.gpu import judge
from agent.engines.gpu.children import Start, death, process_of
from agent.engines.gpu.cublas import ENVIRONMENT
from agent.engines.gpu.records import PHASES, Card, Failure, Measured, Plan, Said, Task, Watched
from agent.gpu.cuda import ALONE
from shared.codes import Code, Trouble

ONE = (sys.executable, "-P", "-m", "agent.engines.gpu.one")
WATCH = (sys.executable, "-P", "-m", "agent.engines.gpu.watch")
"""`-P`: never import from the directory the agent happens to be started in."""
BUS = Path("/sys/bus/pci/devices")

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
    async with process_of(*WATCH) as process:
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
        raise Trouble(Code.BENCHMARK_FAILED, f"NVML's process {await death(process)}")
    first = msgspec.json.decode(raw, type=Watched)
    if first.error:
        raise Trouble(Code(first.code), first.error)
    return first


async def _all(plan: Plan, nonce: bytes | None, watcher: Watcher, progress: Progress) -> Run:
    cards, start, ours = watcher.cards, Start(len(watcher.cards)), []

    async def one(card: Card) -> Measured | Failure:
        try:
            async with process_of(*ONE, CUDA_VISIBLE_DEVICES=card.uuid, **ALONE, **ENVIRONMENT) as process:
                ours.append(process.pid)
                return await _converse(process, Task(plan=plan, uuid=card.uuid, nonce=nonce), start, progress)
        finally:
            start.leave()

    # Not `gather`: canceled, it does not wait until the last process has ended.
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(card)) for card in cards]
    return Run(
        driver=watcher.driver,
        cards=cards,
        outcomes=tuple(task.result() for task in tasks),
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
            return Failure(Code.BENCHMARK_FAILED, f"its process {await death(process)} after {phase}")
        said = msgspec.json.decode(raw, type=Said)
        if found := said.measured or said.failure:
            return found
        phase = said.warm
        progress(phase, PHASES.index(phase), len(PHASES))
        await start.wait()
        # One that died meanwhile is noticed by its silence.
        process.stdin.write(b"\n")


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
