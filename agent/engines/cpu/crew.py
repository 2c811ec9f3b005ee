"""The processes that measure, one a thread, all at the same time."""

import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self, TypeVar

import msgspec
from msgspec import Struct

from agent.engines.cpu.kernels import Kernel
from agent.engines.cpu.slices import Slice
from shared.codes import Code, Trouble

PROGRAM = (sys.executable, "-P", "-m", "agent.engines.cpu")
SETTINGS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHON_ZSTANDARD_IMPORT_POLICY": "cext"}
"""Read by the libraries when they load, so they must be there when a process starts."""
FOREIGN = ("OPENBLAS_", "GOTO_", "OMP_", "NPY_", "OPENSSL_", "MALLOC_", "GLIBC_", "LD_PRELOAD", "PYTHON_ZSTANDARD_")
"""Beginnings of names by which somebody's environment would make the libraries do other work."""
ANSWER_S = 10.0
"""For a process to start, or to answer beyond the time it was given; on a full machine libraries load slowly."""

T = TypeVar("T")


class Turn(Struct, frozen=True, kw_only=True):
    """What a process is to do: a kernel, the work of one call, how many clean slices are wanted, how long at most."""

    kernel: str
    work: float
    wanted: int
    limit_s: float


class Hello(Struct, frozen=True, kw_only=True):
    """What a process says first: whether it may keep to its CPU, and its libraries' versions by name."""

    pinned: bool
    software: dict[str, str]


class Worker:
    """
    One process; it dies with this one.

    Args:
        cpu: The number of the CPU that it is to keep to.
    """

    def __init__(self, cpu: int) -> None:
        self.cpu = cpu
        # One descriptor for both ways: with 500 threads two each would be more than a process may have.
        self.line, theirs = socket.socketpair()
        with theirs:
            argv = [*PROGRAM, str(cpu), str(os.getpid())]
            self._process = subprocess.Popen(
                argv, stdin=theirs.fileno(), stdout=theirs.fileno(), env=environment(os.environ)
            )
        self._input = self.line.makefile("rb")

    def say(self, value: Any) -> None:
        """Send one line; a process that is gone shows when it is listened to."""
        try:
            self.line.sendall(msgspec.json.encode(value) + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            return

    def hear(self, kind: type[T]) -> T:
        """Return its next line; `benchmark_failed` when it has ended."""
        try:
            raw = self._input.readline()
        except ConnectionResetError:
            raw = b""
        if not raw.endswith(b"\n"):
            raise Trouble(Code.BENCHMARK_FAILED, f"a measuring process ended with {self._process.wait(ANSWER_S)}")
        return msgspec.json.decode(raw, type=kind)

    def end(self) -> None:
        """Kill it and wait for it."""
        self._process.kill()
        self._process.wait()
        self._input.close()
        self.line.close()


class Crew:
    """
    The processes, as a context: on leaving it all of them are gone.

    Args:
        cpus: One process for each.

    Raises:
        Trouble: `benchmark_failed`: a process could not be started, ended, or does not answer; here and in `measure`.
    """

    def __init__(self, cpus: Sequence[int]) -> None:
        self._stack = ExitStack()
        self.workers: list[Worker] = []
        with self._stack:
            for cpu in cpus:
                worker = _started(cpu)
                self._stack.callback(worker.end)
                self.workers.append(worker)
            self.hello = _gather(self.workers, Hello, ANSWER_S)
            self._stack = self._stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def measure(self, kernel: Kernel, wanted: int, limit_s: float, only: int | None = None) -> list[list[Slice]]:
        """
        Run a kernel in all processes at the same time.

        Args:
            kernel: Which.
            wanted: Clean slices of each process.
            limit_s: How long at most, after the warm-up.
            only: The place of the one process that is to work while the others wait; None for all.

        Returns:
            Each process's slices, in their order; up to `wanted` clean ones and those that were not.
        """
        workers = self.workers if only is None else [self.workers[only]]
        _tell(workers, Turn(kernel=kernel.name, work=kernel.work, wanted=wanted, limit_s=limit_s))
        _gather(workers, str, ANSWER_S)
        _tell(workers, "go")
        _gather(workers, str, limit_s + ANSWER_S)
        _tell(workers, "stop")
        return _gather(workers, list[Slice], ANSWER_S)


def environment(mine: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what would change the work, and with what fixes it."""
    return {name: value for name, value in mine.items() if not name.startswith(FOREIGN)} | SETTINGS


def _started(cpu: int) -> Worker:
    try:
        return Worker(cpu)
    except OSError as error:
        raise Trouble(Code.BENCHMARK_FAILED, f"a measuring process could not be started: {error.strerror}") from None


def _tell(workers: Sequence[Worker], value: Any) -> None:
    for worker in workers:
        worker.say(value)


def _gather(workers: Sequence[Worker], kind: type[T], timeout_s: float) -> list[T]:
    """Return one line of each process, as soon as all have said one."""
    ends = time.monotonic() + timeout_s
    heard: dict[Worker, T] = {}
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            selector.register(worker.line, selectors.EVENT_READ, worker)
        while len(heard) < len(workers):
            ready = selector.select(ends - time.monotonic())
            if not ready and time.monotonic() >= ends:
                words = f"{len(workers) - len(heard)} of {len(workers)} measuring processes do not answer"
                raise Trouble(Code.BENCHMARK_FAILED, words)
            for key, _ in ready:
                selector.unregister(key.fileobj)
                heard[key.data] = key.data.hear(kind)
    return [heard[worker] for worker in workers]
