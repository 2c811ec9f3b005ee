"""Handing orders to the wiper, the one program that may touch accounts: it gets the envelope and nothing else."""

import asyncio
import os
import sys
from pathlib import Path

import structlog

from agent.config import Settings
from agent.work import Answer, Report
from shared.codec import decode, encode
from shared.codes import Code, Trouble
from shared.documents import Order
from shared.envelope import Envelope
from shared.messages import MAX_MESSAGE_BYTES, Command, Progress, Refused, Result

log = structlog.get_logger()


def wiper_argv(settings: Settings) -> tuple[str, ...]:
    """Return the command that starts the wiper: the configured one, or this program's own."""
    if settings.wiper_command:
        return settings.wiper_command
    own = (sys.executable, "-m", "agent.wiper", "--state", str(Path(settings.wiper_dir).absolute()))
    if settings.sandbox_dir:
        return (*own, "--sandbox", settings.sandbox_dir)
    return (*own, "--policy", settings.policy_file)


TRIES = 3
"""A wiper that was killed resumes its journal when asked again."""
PAUSE_S = 2.0


class Wiper:
    """
    Starts the wiper for one order and passes on what it says.

    Args:
        argv: The wiper's command line, fixed by the configuration: nothing of an order is ever part of it.
    """

    def __init__(self, argv: tuple[str, ...]) -> None:
        self._argv = argv

    async def do(self, order: Order, envelope: Envelope, report: Report) -> Answer:
        """
        Have one order done; ask again where the wiper was cut off.

        The child runs in its own session: when this process dies, the wipe goes on to its end and its journal has the
        answer for whoever asks next. So a cancelled call leaves the child alone on purpose.

        Raises:
            Trouble: `wiper_unavailable`: it could not be started or ended without an answer.
        """
        for _ in range(TRIES - 1):
            try:
                return await self._ask(order, envelope, report)
            except Trouble as trouble:
                log.warning("wiper.unavailable", command_id=order.command_id, detail=trouble.detail)
                await asyncio.sleep(PAUSE_S)
        return await self._ask(order, envelope, report)

    async def _ask(self, order: Order, envelope: Envelope, report: Report) -> Answer:
        try:
            child = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,
                limit=2 * MAX_MESSAGE_BYTES,
                cwd="/",
                env=_environment(),
            )
        except OSError as error:
            raise Trouble(Code.WIPER_UNAVAILABLE, f"{self._argv[0]}: {error.strerror}") from error
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(encode(Command(command_id=order.command_id, envelope=envelope)) + b"\n")
        child.stdin.close()
        answer = await self._listen(child.stdout, report)
        code = await child.wait()
        if answer is None or answer.command_id != order.command_id:
            raise Trouble(Code.WIPER_UNAVAILABLE, f"the wiper ended with exit code {code} and no answer")
        return answer

    async def _listen(self, lines: asyncio.StreamReader, report: Report) -> Answer | None:
        """Read to the end, whatever comes: a line that is no message is logged and left out."""
        answer: Answer | None = None
        while not lines.at_eof():
            try:
                line = await lines.readline()
                message = decode(line) if line else None
            except (Trouble, ValueError) as error:
                log.warning("wiper.not_understood", detail=str(error)[:200])
                continue
            if isinstance(message, Progress):
                report(message.step, message.done, message.of)
            elif isinstance(message, Result | Refused):
                answer = message
        return answer


def _environment() -> dict[str, str]:
    """Only what a program needs to start; nothing of ours reaches the privileged side."""
    kept = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV")
    return {name: os.environ[name] for name in kept if name in os.environ}
