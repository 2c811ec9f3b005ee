"""Handing orders to the wiper, the one program that may touch accounts: it gets the envelope and nothing else."""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import structlog

from agent.config import Settings
from agent.work import Answer, Report
from shared.codec import decode, encode
from shared.codes import Code, Trouble
from shared.documents import Order
from shared.envelope import Envelope
from shared.messages import MAX_MESSAGE_BYTES, RESUME, Command, Message, Progress, Refused, Result

log = structlog.get_logger()


def wiper_argv(settings: Settings) -> tuple[str, ...]:
    """Return the command that starts the wiper: the configured one, or this program's own."""
    if settings.wiper_command:
        return settings.wiper_command
    own = (sys.executable, "-m", "agent.wiper", "--state", str(Path(settings.wiper_dir).absolute()))
    if settings.sandbox_dir:
        return (*own, "--sandbox", str(Path(settings.sandbox_dir).absolute()))
    return (*own, "--policy", str(Path(settings.policy_file).absolute()))


def plan_argv(settings: Settings, username: str, method: str) -> tuple[str, ...]:
    """Return the command that has the wiper say what it would do, and do nothing."""
    return (*wiper_argv(settings), f"--plan={username}", f"--method={method}")


TRIES = 3
"""A wiper that was killed resumes its journal when asked again."""
PAUSE_S = 2.0
LIMIT_BYTES = 2 * MAX_MESSAGE_BYTES


class Line(NamedTuple):
    """A line to a wiper: what it says, what it is told, and `ended`, which waits for its end and says it in words."""

    heard: asyncio.StreamReader
    told: asyncio.StreamWriter
    ended: Callable[[], Awaitable[str]]


class Wiper:
    """
    Reaches the wiper for one order and passes on what it says.

    Args:
        argv: The wiper's command line, fixed by the configuration: nothing of an order is ever part of it.
        path: The socket where it listens as a service of its own; empty to start it by its command line.
    """

    def __init__(self, argv: tuple[str, ...], path: str = "") -> None:
        self._argv = argv
        self._path = path

    async def do(self, order: Order, envelope: Envelope, report: Report) -> Answer:
        """
        Have one order done; ask again where the wiper was cut off.

        When this process dies, or this call is cancelled, the wiper is left alone on purpose: the wipe goes on to its
        end, and its journal has the answer for whoever asks next.

        Raises:
            Trouble: `wiper_unavailable`: it could not be reached or ended without an answer.
        """
        for _ in range(TRIES - 1):
            try:
                return await self._ask(order, envelope, report)
            except Trouble as trouble:
                log.warning("wiper.unavailable", command_id=order.command_id, detail=trouble.detail)
                await asyncio.sleep(PAUSE_S)
        return await self._ask(order, envelope, report)

    async def _ask(self, order: Order, envelope: Envelope, report: Report) -> Answer:
        answer = None
        async with self._line(encode(Command(command_id=order.command_id, envelope=envelope))) as line:
            async for message in _messages(line.heard):
                if isinstance(message, Progress):
                    report(message.step, message.done, message.of)
                elif isinstance(message, Result | Refused):
                    # Not to the end of the line: a child of the wiper's that hangs may keep it open for ever.
                    answer = message
                    break
            end = await line.ended()
        if answer is None or answer.command_id != order.command_id:
            raise Trouble(Code.WIPER_UNAVAILABLE, f"the wiper {end} and gave no answer")
        return answer

    async def resume(self, tell: Callable[[Message], None]) -> int:
        """
        Have everything finished that was cut off; return how much that was.

        Args:
            tell: Gets what the wiper says of each order.

        Raises:
            Trouble: `wiper_unavailable`: it could not be reached, or ended before all had their answers.
        """
        last = Progress(command_id=RESUME.decode(), step="", done=0, of=1)
        async with self._line(RESUME) as line:
            async for message in _messages(line.heard):
                if isinstance(message, Progress) and message.command_id == last.command_id:
                    last = message
                    if last.done == last.of:
                        break
                else:
                    tell(message)
            end = await line.ended()
        if last.done < last.of:
            raise Trouble(Code.WIPER_UNAVAILABLE, f"the wiper {end} before everything was finished")
        return last.of

    @contextlib.asynccontextmanager
    async def _line(self, request: bytes) -> AsyncIterator[Line]:
        where = self._path or self._argv[0]
        try:
            line = await (_connected(self._path) if self._path else _started(self._argv))
        except OSError as error:
            raise Trouble(Code.WIPER_UNAVAILABLE, f"{where}: {error.strerror or error}") from error
        try:
            line.told.write(request + b"\n")
            with contextlib.suppress(OSError):  # it hung up already; what it said until then is still heard
                line.told.write_eof()
            yield line
        finally:
            line.told.close()


async def _messages(lines: asyncio.StreamReader) -> AsyncIterator[Message]:
    """Give what the wiper says until it hangs up; a line that is no message is logged and left out."""
    while not lines.at_eof():
        try:
            line = await lines.readline()
            message = decode(line) if line else None
        except OSError:
            return
        except (Trouble, ValueError) as error:
            log.warning("wiper.not_understood", detail=str(error)[:200])
            continue
        if message is not None:
            yield message


async def _started(argv: tuple[str, ...]) -> Line:
    """Start the wiper as a child in a session of its own, so that it outlives this process; it gets a socket too."""
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            child = await asyncio.create_subprocess_exec(
                *argv,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                start_new_session=True,
                cwd="/",
                env=environment(),
            )
    except BaseException:
        ours.close()
        raise
    heard, told = await asyncio.open_unix_connection(sock=ours, limit=LIMIT_BYTES)

    async def ended() -> str:
        return f"ended with exit code {await child.wait()}"

    return Line(heard, told, ended)


async def _connected(path: str) -> Line:
    """Connect to the wiper's socket: whoever listens there starts a wiper for this connection."""
    heard, told = await asyncio.open_unix_connection(path, limit=LIMIT_BYTES)

    async def ended() -> str:
        return "hung up"

    return Line(heard, told, ended)


def environment() -> dict[str, str]:
    """Only what a program needs to start; nothing of ours reaches the privileged side."""
    kept = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV")
    return {name: os.environ[name] for name in kept if name in os.environ}
