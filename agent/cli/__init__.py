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


json_option = click.option("--json", "as_json", is_flag=True, help="JSON, for scripts.")


def read(file: Path | None, **flags: Any) -> Any:
    """Return the settings for a command."""
    from agent.config import read_settings  # noqa: PLC0415 - `--help` must not wait for it

    return read_settings(file, os.environ, flags)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="rackproof")
def commands() -> None:
    """
    Report this machine's health, benchmark it, and wipe it between tenants, as its collector orders.

    New here: doctor says whether all is ready, scan shows what would be reported; both need no root and write nothing.
    Then enroll makes the machine known, and run reports.

    Exit codes: 0 fine, 1 found a problem, 2 usage, 69 collector unreachable, 70 internal, 73 cannot create, 75 busy,
    77 no permission, 78 configuration. Data is on stdout, all else on stderr; NO_COLOR is heeded.
    """


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


@commands.command(short_help="Make this machine known to a collector.")
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


@commands.command(short_help="Show whether it runs and is heard.")
@settings_options
@json_option
def status(file: Path | None, *, as_json: bool, **flags: Any) -> None:
    """
    Show whether the agent runs, and whether the collector hears it.

    Exit code 0: it runs and is online; 1: not enrolled, stopped, silent, or offline. Why, and what to do: doctor.
    """
    from agent.cli.status import show  # noqa: PLC0415

    sys.exit(show(read(file, **flags), as_json=as_json))


@commands.command(short_help="Read the machine's health and show it.")
@settings_options
@click.argument("names", metavar="[INDICATOR]...", nargs=-1)
@click.option("--once", is_flag=True, help="Look once: at once, and without rates and shares of time.")
@click.option(
    "--wait",
    "between_s",
    type=click.FloatRange(0.1, 60),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between the two looks that rates are made of.",
)
@json_option
def scan(
    file: Path | None, *, names: tuple[str, ...], once: bool, between_s: float, as_json: bool, **flags: Any
) -> None:
    """
    Read this machine's health as it would be reported, and show it.

    All indicators, or those named; `rackproof-agent indicators` lists them. Needs no enrollment and no root, sends and
    writes nothing. Root sees some sensors that others do not; the service sees what its user sees.

    Exit code 0: all could be read; 1: an indicator failed. One whose subject this machine does not have did not fail.
    """
    from agent.cli.scan import scan as scan_machine  # noqa: PLC0415
    from agent.compose import local_host  # noqa: PLC0415

    settings = read(file, **flags)
    sys.exit(
        scan_machine(
            local_host(settings.expected_gpus), settings, names, between_s=0 if once else between_s, as_json=as_json
        )
    )


@commands.command(short_help="List what is read, with its units.")
@click.argument("names", metavar="[INDICATOR]...", nargs=-1)
@click.option("--markdown", is_flag=True, help="As the reference page of the source code.")
@json_option
def indicators(*, names: tuple[str, ...], markdown: bool, as_json: bool) -> None:
    """List every reading of a health report: its unit, what it is, and where it comes from."""
    from agent.cli import reference  # noqa: PLC0415

    found = reference.subjects(names)
    if as_json:
        click.echo(reference.in_json(found))
    elif markdown:
        click.echo(reference.in_markdown(found), nl=False)
    else:
        click.echo(reference.as_text(found), color=True)


@commands.command(short_help="Say what to mend, and how.")
@settings_options
@click.argument("names", metavar="[CHECK]...", nargs=-1)
@click.option("--collector", "origin", metavar="URL", help="Try the way to this collector, before enrolling there.")
@click.option("--ca-file", metavar="FILE", help="Private certificate authority of the collector.")
@json_option
def doctor(file: Path | None, *, names: tuple[str, ...], origin: str | None, as_json: bool, **flags: Any) -> None:
    """
    Check whether the agent can do its work here, and say what to mend and how.

    All checks, or those named: a name stands in each line of --json. Needs no enrollment and no root, and writes
    nothing; root may look everywhere.

    \b
    ✓ fine   ! works, could be better   ✕ to be mended   - does not apply, or cannot be told

    Exit code 0: nothing has to be mended; 1: something has.
    """  # noqa: D301 - the sign itself, which has click keep the line as it is
    from agent.cli.doctor import doctor as check_machine  # noqa: PLC0415
    from agent.cli.doctor import scene_of  # noqa: PLC0415
    from agent.compose import local_host  # noqa: PLC0415

    if origin is not None:
        from agent.enrollment import checked_origin  # noqa: PLC0415

        origin = checked_origin(origin)
    host = local_host()
    sys.exit(check_machine(host, scene_of(host, file, origin, flags), names, as_json=as_json))


@commands.command("support-bundle", short_help="Write a file for whoever helps you.")
@settings_options
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Where to; rackproof-support-TIME.tar.gz here when left out. Never overwritten.",
)
@click.option("--list", "list_only", is_flag=True, help="Say what would be in it and what is taken out; write nothing.")
def support_bundle(file: Path | None, *, output: Path | None, list_only: bool, **flags: Any) -> None:
    """
    Write one file that shows whoever helps you what this machine looks like.

    It holds what the health report is made of (files of /proc and /sys, NVML's answers), the report, what doctor found,
    settings and versions. Serial numbers, hardware and IP addresses, host and user names, UUIDs and process names are
    replaced by made-up ones; keys, tenants' files and logs are never in it. Nothing is sent. As root it sees more.
    """
    from agent.cli.doctor import scene_of  # noqa: PLC0415
    from agent.cli.support import support_bundle as write_bundle  # noqa: PLC0415
    from agent.compose import local_host  # noqa: PLC0415

    host = local_host()
    sys.exit(write_bundle(host, scene_of(host, file, None, flags), output, list_only=list_only))


@commands.command(short_help="Measure this machine.")
@settings_options
@click.argument("names", nargs=-1, type=click.Choice(["cpu", "disk", "gpu", "network"]))
@click.option("--quick", is_flag=True, help="A short look; its figures are never compared.")
@click.option("--directory", "benchmark_dir", metavar="DIR", help="Where the disk is measured.")
@click.option("--server", metavar="URL", help="Measuring server for the network; with --ticket-file.")
@click.option("--ticket-file", type=click.Path(path_type=Path), help="The collector's ticket for it.")
@click.option("--iperf3-server", metavar="HOST:PORT", help="Measure the network with iperf3 instead.")
@json_option
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


@commands.command(short_help="Finish what a power cut interrupted.")
@settings_options
@click.option("--wiper-socket", metavar="FILE", help="Where the wiper listens.")
@click.option("--wiper-dir", metavar="DIR", help="The wiper's own directory.")
@click.option("--sandbox-dir", metavar="DIR", help="A tree that stands for the machine; for demonstrations.")
def resume(file: Path | None, **flags: Any) -> None:
    """Finish what a power cut interrupted; runs at boot, before anybody can log in."""
    from agent.cli.resume import resume as finish  # noqa: PLC0415

    sys.exit(finish(read(file, **flags)))


@commands.group(short_help="Look at what a wipe would do.")
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
