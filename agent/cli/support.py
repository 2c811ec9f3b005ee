"""`support-bundle`: write down what this machine looks like, or say what would be written."""

from datetime import UTC, datetime
from pathlib import Path

import click

from agent.checks import Scene
from agent.host.linux import LinuxHost
from agent.support.bundle import bundle, summary, write
from shared.command_line import Exit


def support_bundle(host: LinuxHost, scene: Scene, output: Path | None, *, list_only: bool) -> int:
    """
    Look at this machine and write a bundle, or list what it would hold; return 0.

    Args:
        host: The machine, closed at the end.
        scene: What may be looked at.
        output: The file; None for one named by the time, in the current directory.
        list_only: Write nothing.

    Raises:
        Trouble: `cannot_create`.
    """
    moment = datetime.now(UTC)
    file = output or Path(f"rackproof-support-{moment:%Y%m%d-%H%M%S}.tar.gz")
    try:
        made = bundle(scene, moment)
    finally:
        host.close()
    told = summary(made.contents, made.taken_out)
    if list_only:
        for name, content in made.contents.items():
            click.echo(f"{len(content):>10,}  {name}")
        click.echo("\n".join(["", *told, "", "nothing was written"]))
        return Exit.FINE
    size = write(made, file, moment)
    click.echo("\n".join(told), err=True)
    click.echo(f"{size:,} bytes, readable by you alone; look it through before you send it:", err=True)
    click.echo(file)
    return Exit.FINE
