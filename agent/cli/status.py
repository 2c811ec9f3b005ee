"""`rackproof-agent status`: is it running, is it heard, what is it doing."""

from datetime import UTC, datetime

import click
import msgspec

from agent import identity
from agent.config import Settings
from agent.status import alive, in_words, read_status
from shared.codes import Code, Trouble
from shared.command_line import Exit


def show(settings: Settings, *, as_json: bool) -> int:
    """Print the agent's state; return 0 when it runs and is online, 1 otherwise."""
    try:
        pinned = identity.load(settings.pinned_file)
    except Trouble as trouble:
        if trouble.code is not Code.NOT_ENROLLED:
            raise
        click.echo('{"enrolled": false}' if as_json else "not enrolled; run: rackproof-agent enroll")
        return Exit.FOUND_A_PROBLEM
    told = read_status(settings.status_file)
    words = in_words(told, datetime.now(UTC), runs=told is not None and alive(told.pid))
    if as_json:
        plain = {"enrolled": True, **msgspec.to_builtins(pinned), "state": words, "agent": msgspec.to_builtins(told)}
        click.echo(msgspec.json.format(msgspec.json.encode(plain)))
    else:
        click.echo(f"machine    {pinned.hardware_id} of {pinned.customer_id}")
        click.echo(f"collector  {pinned.origin} ({pinned.trust.signing} signing)")
        click.echo(f"agent      {words}")
        if told is not None:
            click.echo(f"work       {told.doing or 'none'}; {told.unsettled} answers not yet confirmed")
            click.echo(f"tenants    {told.tenants or 'none'}")
            click.echo(f"outbox     {told.waiting} reports not yet acknowledged")
    return Exit.FINE if words == "online" else Exit.FOUND_A_PROBLEM
