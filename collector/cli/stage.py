"""The demo's stage: a temporary directory, the processes in it, and nothing left when it closes."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from shared.codes import Code, Trouble
from shared.problems import Problem, trouble_of

STOP_S = 5.0
ROOT_OF_PROJECT = Path(__file__).resolve().parents[2]


class Stage:
    """
    Starts programs and remembers them.

    Args:
        folder: A temporary directory of its own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[asyncio.subprocess.Process] = []

    async def start(self, name: str, *argv: str) -> asyncio.subprocess.Process:
        """Start a program that stays; what it says goes to NAME.log in the directory."""
        log = (self.folder / f"{name}.log").open("ab")
        try:
            # A session of its own: Ctrl-C reaches only the demo, which then stops everything in order.
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=clean()
            )
        finally:
            log.close()
        self._running.append(process)
        return process

    async def run(self, *argv: str, given: str = "") -> str:
        """
        Run a program to its end and return what it printed.

        Raises:
            Trouble: `internal`: it failed; what it said on stderr is in the detail.
        """
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            env=clean(),
        )
        out, errors = await process.communicate(given.encode())
        if process.returncode:
            raise Trouble(Code.INTERNAL, f"{argv[2] if len(argv) > 2 else argv[0]}: {errors.decode()[-500:].strip()}")
        return out.decode().strip()

    async def stop(self) -> None:
        """Stop everything, the youngest first; what does not end in time is killed."""
        for process in reversed(self._running):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), STOP_S)
            except TimeoutError:
                process.kill()
                await process.wait()
        self._running.clear()

    def last_words(self, name: str) -> str:
        """Return the end of a program's log."""
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace")[-2000:] if path.exists() else ""


@contextlib.asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """Open a stage; when it closes, every process is gone and so is the directory."""
    folder = Path(tempfile.mkdtemp(prefix="rackproof-demo-"))
    made = Stage(folder)
    try:
        yield made
    finally:
        await made.stop()
        shutil.rmtree(folder)


class Api:
    """
    Asks the collector.

    Args:
        http: A session.
        origin: The collector's address.
        token: An API token.
    """

    def __init__(self, http: aiohttp.ClientSession, origin: str, token: str) -> None:
        self._http = http
        self._origin = origin
        self._headers = {"Authorization": f"Bearer {token}"}

    async def ask(self, method: str, path: str, body: object = None) -> Any:
        """
        Return the answer's JSON.

        Raises:
            Trouble: what the problem document says.
        """
        data = msgspec.json.encode(body) if body is not None else None
        async with self._http.request(method, self._origin + path, data=data, headers=self._headers) as response:
            raw = await response.read()
        if response.status >= 400:
            raise trouble_of(msgspec.json.decode(raw, type=Problem))
        return msgspec.json.decode(raw)


def free_port() -> int:
    """Return a port of loopback that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean() -> dict[str, str]:
    """Return the environment without anyone's own settings of Rackproof, and with this project on Python's path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RACKPROOF_")}
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def program(module: str, *arguments: str) -> tuple[str, ...]:
    """Return the command line of one of our programs, in this very environment."""
    return (sys.executable, "-m", module, *arguments)
