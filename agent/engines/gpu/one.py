"""
`python -m agent.engines.gpu.one PARENT`: one GPU's products and copies, in step with the other GPUs' processes.

A `Task` comes as a line of JSON on stdin, then an empty line for each phase that may begin; a line of `Said` goes to
stdout when the GPU is warm for a phase, and one at the end. A process of its own, because the driver hangs and crashes
with the hardware, and because its end is what surely frees the GPU. Tried with stand-ins only, on no real GPU.
"""

import os
import select
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import FileIO
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from agent.engines.gpu import judge
from agent.engines.gpu.cublas import FP16, FP32, Cublas, Kind, MissingError
from agent.engines.gpu.records import Course, Failure, Measured, Said, Task, Timing
from agent.gpu.cuda import CAPABILITY_MAJOR, CAPABILITY_MINOR, MULTIPROCESSORS, OUT_OF_MEMORY, Cuda, RefusedError
from agent.processes import die_with_parent
from shared.codes import Code, Trouble

CHUNK = 2**22
"""Numbers that are made and sent to the GPU at once."""
MOST_LAUNCHES = 10_000
LEAST_BATCHES = 3
MIB = 2**20
NUMBERS: dict[str, Any] = {"fp16": np.float16, "fp32": np.float32}

INSTALL = (
    "libcuda.so.1 is missing: install the driver's CUDA library (Debian: libcuda1, Ubuntu: libnvidia-compute-VERSION)"
)
_NO_UVM = "is /dev/nvidia-uvm there, and may this user open it? sudo modprobe nvidia-uvm, then restart the agent"
REMEDIES = {
    46: "its compute mode lets nobody in: nvidia-smi -c 0",
    100: _NO_UVM,
    802: "on a machine with NVSwitches nvidia-fabricmanager must run: systemctl start nvidia-fabricmanager",
    803: "the NVIDIA driver was updated and the old one still runs: reboot to load the new one",
    999: _NO_UVM,
}
"""What to do when no context can be made, by CUresult. Source: CUDA driver API reference, CUresult."""


class Line:
    """Where all GPUs' processes wait for each other, seen from one of them."""

    def __init__(self, told: FileIO, say: Callable[[Said], None]) -> None:
        self._told = told
        self._say = say
        self._phase = ""

    def may_go(self, phase: str) -> bool:
        """Say once that this GPU is warm for a phase, and return whether all are."""
        if self._phase != phase:
            self._phase = phase
            self._say(Said(warm=phase))
        if not select.select([self._told], [], [], 0)[0]:
            return False
        if not os.read(self._told.fileno(), 1):
            raise EOFError
        return True


def steady(cuda: Cuda, begin: Callable[[], None], course: Course, go: Callable[[], bool], work: float) -> Timing:
    """
    Return how fast the GPU does a piece of work again and again, without a gap between the batches.

    Args:
        cuda: The GPU.
        begin: Begins one piece.
        course: How long.
        go: Asked after each batch of a GPU that is warm; it goes on working until the answer is yes.
        work: Floating point operations, or bytes, of one piece.
    """
    count, began_s = 1, time.monotonic()
    while True:
        took_s = _batch(cuda, begin, count)
        count = min(MOST_LAUNCHES, max(1, round(count * course.batch_s / max(took_s, 1e-9))))
        if time.monotonic() - began_s >= course.warm_s and go():
            break
    began_s = time.monotonic()
    marks = [cuda.mark()]
    while len(marks) <= LEAST_BATCHES or time.monotonic() - began_s < course.timed_s:
        for _ in range(count):
            begin()
        marks.append(cuda.mark())
        # One batch is always waiting behind the one that runs.
        cuda.wait(marks[-2])
    cuda.wait(marks[-1])
    batches_s = [cuda.between_s(first, second) / count for first, second in pairwise(marks)]
    return judge.timing(work, batches_s, began_s, time.monotonic())


def _batch(cuda: Cuda, begin: Callable[[], None], count: int) -> float:
    first = cuda.mark()
    for _ in range(count):
        begin()
    last = cuda.mark()
    cuda.wait(last)
    return cuda.between_s(first, last)


def take(cuda: Cuda, size: int) -> int:
    """
    Return the address of so many bytes.

    Raises:
        Trouble: `benchmark_failed`: there are not so many.
    """
    address = cuda.take(size)
    if address is None:
        free, _ = cuda.memory()
        words = f"out of memory: {size // MIB} MiB wanted in one piece, {free // MIB} are free"
        raise Trouble(Code.BENCHMARK_FAILED, words)
    return address


def product(cuda: Cuda, cublas: Cublas, kind: Kind, task: Task, size: int, go: Callable[[], bool]) -> Timing:
    """
    Return how fast the GPU multiplies two random matrices.

    Raises:
        Trouble: `benchmark_failed`: it multiplied wrongly, or has too little memory.
    """
    left, right, result = (take(cuda, size * size * kind.item_bytes) for _ in range(3))
    seed = os.urandom(32) if task.nonce is None else task.nonce + f"{task.uuid} {kind.name}".encode()
    places = judge.chosen(seed, size)
    lefts, rights = _factors(cuda, left, right, size, kind, places)
    timing = steady(
        cuda, lambda: cublas.multiply(kind, left, right, result, size), task.plan.product, go, 2.0 * size**3
    )
    for number, (row, column) in enumerate(places):
        raw = cuda.download(result + (column * size + row) * kind.item_bytes, kind.item_bytes)
        got = float(np.frombuffer(raw, NUMBERS[kind.name])[0])
        terms = lefts[:, number] * rights[column]
        expected, norm = float(terms.sum()), float(np.linalg.norm(terms))
        # Not a number is not within anything either.
        if not abs(got - expected) <= judge.tolerance(kind.name, size, expected, norm):
            words = f"wrong product: element ({row}, {column}) of a {kind.name} product is {got:g}, not {expected:g}"
            raise Trouble(Code.BENCHMARK_FAILED, words)
    for address in (left, right, result):
        cuda.give_back(address)
    return timing


def _factors(
    cuda: Cuda, left: int, right: int, size: int, kind: Kind, places: Sequence[tuple[int, int]]
) -> tuple[Any, dict[int, Any]]:
    """Fill both factors with random numbers; return the left one's rows and the right one's columns at some places."""
    dice = np.random.default_rng()
    rows = [row for row, _ in places]
    # Column by column: a row lies over all of them, in a chunk each.
    lefts = np.concatenate([chunk[:, rows] for _, chunk in _poured(cuda, left, size, kind, dice)]).astype(np.float64)
    rights: dict[int, Any] = {}
    for first, chunk in _poured(cuda, right, size, kind, dice):
        rights |= {one: chunk[one - first].astype(np.float64) for _, one in places if 0 <= one - first < len(chunk)}
    return lefts, rights


def _poured(cuda: Cuda, address: int, size: int, kind: Kind, dice: np.random.Generator) -> Iterator[tuple[int, Any]]:
    """Fill a matrix with random numbers in [-1, 1), some columns at a time; return each's first and their values."""
    columns = max(1, CHUNK // size)
    for first in range(0, size, columns):
        chunk = dice.random((min(columns, size - first), size), dtype=np.float32) * 2 - 1
        chunk = chunk.astype(NUMBERS[kind.name])
        cuda.upload(address + first * size * kind.item_bytes, chunk.data.cast("B"))
        yield first, chunk


def copies(cuda: Cuda, task: Task, line: Line) -> dict[str, Timing]:
    """Return how fast the GPU copies within its memory (each byte is read and written), from the machine's and back."""
    plan = task.plan
    inner = min(plan.copy_bytes, cuda.memory()[0] // 4)
    outer = min(plan.pinned_bytes, inner)
    one, other, host = take(cuda, inner), take(cuda, inner), cuda.take_of_host(outer)
    cuda.upload(one, os.urandom(min(outer, MIB)))
    works: dict[str, tuple[Callable[[], None], float]] = {
        "memory": (lambda: cuda.copy(other, one, inner), 2.0 * inner),
        "to_gpu": (lambda: cuda.fetch(one, host, outer), float(outer)),
        "to_host": (lambda: cuda.send(host, one, outer), float(outer)),
    }
    return {
        name: steady(cuda, begin, plan.copy, partial(line.may_go, name), work) for name, (begin, work) in works.items()
    }


def started() -> tuple[Cuda, Cublas]:
    """
    Return the GPU and cuBLAS.

    Raises:
        Trouble: `not_installed` or `no_gpu`, with what to do.
    """
    try:
        cuda = Cuda()
    except RefusedError as error:
        if "libcuda.so.1 is missing" in str(error):
            raise Trouble(Code.NOT_INSTALLED, INSTALL) from error
        remedy = REMEDIES.get(error.code)
        raise Trouble(Code.NO_GPU, f"{error}: {remedy}" if remedy else str(error)) from error
    try:
        return cuda, Cublas(cuda.driver_version())
    except MissingError as error:
        raise Trouble(Code.NOT_INSTALLED, str(error)) from error


def measure(task: Task, line: Line) -> Measured:
    """
    Return what one GPU does.

    Raises:
        Trouble: with the reason.
        RefusedError: a call failed on the way.
    """
    cuda, cublas = started()
    size = judge.size_for(task.plan, cuda.memory()[0])
    timings = {
        kind.name: product(cuda, cublas, kind, task, size, partial(line.may_go, kind.name)) for kind in (FP16, FP32)
    }
    timings |= copies(cuda, task, line)
    return Measured(
        multiprocessors=cuda.attribute(MULTIPROCESSORS),
        capability=f"{cuda.attribute(CAPABILITY_MAJOR)}.{cuda.attribute(CAPABILITY_MINOR)}",
        cuda="{}.{}".format(*cuda.driver_version()),
        cublas=cublas.version(),
        size=size,
        checked=judge.CHECKED,
        timings=timings,
    )


def main(parent: str) -> None:
    """Measure one GPU and say how it went."""
    die_with_parent(int(parent))
    # What a library prints must not stand between the lines.
    out, told = FileIO(os.dup(1), "w"), FileIO(0)
    os.dup2(2, 1)

    def say(said: Said) -> None:
        out.write(msgspec.json.encode(said) + b"\n")

    task = msgspec.json.decode(told.readline(), type=Task)
    try:
        say(Said(measured=measure(task, Line(told, say))))
    except Trouble as trouble:
        say(Said(failure=Failure(trouble.code, trouble.detail)))
    except RefusedError as error:
        more = "out of memory: " if error.code == OUT_OF_MEMORY else ""
        say(Said(failure=Failure(Code.BENCHMARK_FAILED, f"{more}{error}")))


if __name__ == "__main__":
    main(*sys.argv[1:])
