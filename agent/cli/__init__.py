"""The command line `rackproof-agent`: data on stdout, everything else on stderr."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from shared.command_line import Commands

F = TypeVar("F", bound=Callable[..., Any])


def settings_options(command: F) -> F:
    """Add the options that every command which reads the settings takes."""
    for option in (
        click.option("--state-dir", metavar="DIR", help="The agent's own directory."),
        click.option("--config", "file", type=click.Path(path_type=Path), help="Settings file (TOML)."),
    ):
        command = option(command)
    return command


def read(file: Path | None, **flags: Any) -> Any:
    """Return the settings for a command."""
    from agent.config import read_settings  # noqa: PLC0415 - `--help` must not wait for it

    return read_settings(file, os.environ, flags)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="rackproof")
def commands() -> None:
    """Report this machine's health, benchmark it, and wipe it between tenants, as its collector orders."""


@commands.command()
@settings_options
@click.option("--wiper-dir", metavar="DIR", help="The wiper's own directory.")
@click.option("--sandbox-dir", metavar="DIR", help="A tree that stands for the machine; for demonstrations.")
def run(file: Path | None, **flags: Any) -> None:
    """Run the agent until it is stopped."""
    # structlog imports rich where it can, for tracebacks that the daemon never draws: 5 MB on every machine.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None is how Python marks "not importable"
    from agent.compose import run as run_agent  # noqa: PLC0415

    run_agent(read(file, **flags))


@commands.command()
@settings_options
@click.option("--collector", "origin", required=True, metavar="URL", help="https://HOST[:PORT] of the collector.")
@click.option(
    "--token-file",
    type=click.File("r"),
    default="-",
    help="File with the enrollment token; standard input when left out. Never an argument: others can see those.",
)
@click.option("--wiper-dir", metavar="DIR", help="The wiper's own directory.")
@click.option("--ca-file", metavar="FILE", help="Private certificate authority of the collector.")
def enroll(file: Path | None, *, origin: str, token_file: Any, **flags: Any) -> None:
    """Make this machine known to a collector, with a token from its operator."""
    from agent.compose import enroll as enroll_machine  # noqa: PLC0415

    settings = read(file, **flags)
    if token_file is sys.stdin and sys.stdin.isatty():
        click.echo("Enrollment token:", err=True)
    pinned = enroll_machine(settings, origin, token_file.readline(1024))
    click.echo(pinned.hardware_id)
    click.echo(f"enrolled at {pinned.origin} for {pinned.customer_id}; now start it: rackproof-agent run", err=True)


@commands.command()
@settings_options
@click.option("--json", "as_json", is_flag=True, help="JSON.")
def status(file: Path | None, *, as_json: bool, **flags: Any) -> None:
    """Show whether the agent runs, and what the collector sees of it."""
    from agent.cli.status import show  # noqa: PLC0415

    sys.exit(show(read(file, **flags), as_json=as_json))


@commands.command()
@settings_options
@click.option("--json", "as_json", is_flag=True, help="JSON.")
def scan(file: Path | None, *, as_json: bool, **flags: Any) -> None:
    """Read every indicator once and show it; needs no enrollment, no root, and writes nothing."""
    from agent.cli.scan import scan as scan_machine  # noqa: PLC0415
    from agent.compose import local_host  # noqa: PLC0415

    read(file, **flags)
    sys.exit(scan_machine(local_host(), as_json=as_json))


@commands.command()
@settings_options
@click.option("--json", "as_json", is_flag=True, help="JSON.")
def doctor(file: Path | None, *, as_json: bool, **flags: Any) -> None:
    """Check this machine and say what to mend; needs no enrollment, no root, and writes nothing."""
    from agent.cli.doctor import doctor as check_machine  # noqa: PLC0415
    from agent.compose import local_host  # noqa: PLC0415

    sys.exit(check_machine(local_host(), read(file, **flags), as_json=as_json))


@commands.command()
@settings_options
@click.argument("names", nargs=-1, type=click.Choice(["cpu", "disk", "gpu", "network"]))
@click.option("--quick", is_flag=True, help="A short look; its figures are never compared.")
@click.option("--directory", "benchmark_dir", metavar="DIR", help="Where the disk is measured.")
@click.option("--server", metavar="URL", help="Measuring server for the network; with --ticket-file.")
@click.option("--ticket-file", type=click.Path(path_type=Path), help="The collector's ticket for it.")
@click.option("--iperf3-server", metavar="HOST:PORT", help="Measure the network with iperf3 instead.")
@click.option("--json", "as_json", is_flag=True, help="JSON.")
def bench(
    file: Path | None,
    *,
    names: tuple[str, ...],
    quick: bool,
    server: str | None,
    ticket_file: Path | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """
    Measure this machine: all benchmarks, or those named.

    Refused while a tenant has access, and ended when one comes. Exit 1 when a figure is missing; without names
    a missing GPU or measuring server is none.
    """
    import asyncio  # noqa: PLC0415

    from agent.cli.bench import bench as measure  # noqa: PLC0415
    from agent.cli.bench import request_of  # noqa: PLC0415

    if flags["iperf3_server"]:
        flags["network_tool"] = "iperf3"
    settings = read(file, **flags)
    request = request_of(settings, quick=quick, server=server, ticket_file=ticket_file)
    sys.exit(asyncio.run(measure(settings, names, request, as_json=as_json)))


@commands.command()
@settings_options
@click.option("--wiper-socket", metavar="FILE", help="Where the wiper listens.")
@click.option("--wiper-dir", metavar="DIR", help="The wiper's own directory.")
@click.option("--sandbox-dir", metavar="DIR", help="A tree that stands for the machine; for demonstrations.")
def resume(file: Path | None, **flags: Any) -> None:
    """Finish what a power cut interrupted; runs at boot, before anybody can log in."""
    from agent.cli.resume import resume as finish  # noqa: PLC0415

    sys.exit(finish(read(file, **flags)))


@commands.group()
def wipe() -> None:
    """Look at what a wipe would do; one is ordered by the platform only, never from here."""


@wipe.command()
@settings_options
@click.argument("username", metavar="USER")
@click.option(
    "--method",
    type=click.Choice(["ssh_key_removal", "home_directory_purge", "user_deletion"]),
    default="user_deletion",
    show_default=True,
    help="Of the wipe.",
)
@click.option("--wiper-dir", metavar="DIR", help="The wiper's own directory.")
@click.option("--policy-file", metavar="FILE", help="What this machine's provider allows (TOML).")
@click.option("--sandbox", "sandbox_dir", metavar="DIR", help="A tree that stands for the machine; needs no root.")
@click.option("--all", "everything", is_flag=True, help="Every item, not only the first of each place.")
@click.option("--json", "as_json", is_flag=True, help="JSON, an object a line; the last one is the summary.")
def plan(file: Path | None, *, username: str, method: str, everything: bool, as_json: bool, **flags: Any) -> None:
    """
    List what a wipe of a tenant's account would take away, what would stay, and why; changes nothing.

    Needs root. Exit code 0: it would be carried out and nothing would stay; 1: it would be refused, or something would.
    """
    from agent.cli.wipeplan import show  # noqa: PLC0415

    sys.exit(show(read(file, **flags), username, method, everything=everything, as_json=as_json))


@commands.group("config")
def config_() -> None:
    """Look at the settings."""


@config_.command("show")
@settings_options
def show_config(file: Path | None, **flags: Any) -> None:
    """Print the settings in force, as JSON."""
    import msgspec  # noqa: PLC0415

    click.echo(msgspec.json.format(msgspec.json.encode(read(file, **flags))).decode())
