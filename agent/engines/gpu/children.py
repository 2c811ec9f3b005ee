"""Processes of a GPU benchmark: started with a clean environment, in step, and surely ended."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Mapping

END_S = 5.0
"""How long a killed process may take to end; one that hangs in the driver is left to the kernel after that."""
MOST_LINE_BYTES = 2**20
_OTHERS = ("CUDA_", "CUBLAS", "NVIDIA_", "NVBLAS_")
"""Variables by which somebody may have changed how a GPU works."""


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


@contextlib.asynccontextmanager
async def process_of(*argv: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
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


async def death(process: asyncio.subprocess.Process) -> str:
    """Say how a process ended that closed its pipe."""
    try:
        status = await asyncio.wait_for(process.wait(), END_S)
    except TimeoutError:
        return "closed its pipe"
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
