"""`rackproof-agent resume`: have the wiper go on with what was cut off, before anybody uses the machine again."""

import asyncio

import click

from agent.config import Settings
from agent.privileged import Wiper, wiper_argv
from shared.command_line import Exit
from shared.messages import Message, Progress, Refused, Result


def resume(settings: Settings) -> int:
    """
    Print each order that is brought to its end; return 0 when nothing is unfinished any more.

    Raises:
        Trouble: `wiper_unavailable`.
    """
    finished = asyncio.run(Wiper(wiper_argv(settings), settings.wiper_socket).resume(_tell))
    if not finished:
        click.echo("nothing was cut off")
    return Exit.FINE


def _tell(message: Message) -> None:
    match message:
        case Progress(command_id=command_id, step=step, done=0):
            click.echo(f"{command_id}  {step}", err=True)
        case Result(command_id=command_id):
            click.echo(f"{command_id}  finished; the collector gets the signed outcome")
        case Refused(command_id=command_id, code=code, detail=detail):
            click.echo(f"{command_id}  refused: {code}: {detail}")
