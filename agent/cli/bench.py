"""`rackproof-agent bench`: measure, and say what the figures mean."""

import asyncio
import contextlib
import sys
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from agent.benchmarking import account, network_of, run_benchmarks
from agent.benchmarks import Network, Request
from agent.cli.benchwords import in_words
from agent.config import Settings
from agent.exclusive import alone
from agent.status import read_status
from shared.codes import Code, Trouble
from shared.command_line import Exit
from shared.documents import BenchmarkName, Component, MeasuringServer

LOOK_EVERY_S = 0.5
NOT_HERE = frozenset({Code.NO_GPU, Code.NO_SERVER})
"""What stands in the way of a benchmark that a machine is not made for."""
T = TypeVar("T")


async def bench(
    settings: Settings,
    names: Sequence[str],
    request: Request,
    *,
    as_json: bool,
    everything: Sequence[str] = tuple(BenchmarkName),
) -> int:
    """
    Measure with progress on stderr and the result on stdout; return 1 when a figure is missing.

    Args:
        settings: The provider's.
        names: Which; none for all of them, and then what is not here to be measured is no problem.
        request: What is asked of each.
        as_json: Every detail.
        everything: What there is.

    Raises:
        Trouble: `booked`: a tenant is on the machine, as far as this user may know; `busy`: something else measures.
    """
    nobody_pays(settings.status_file)
    started_at = datetime.now(UTC)
    async with alone(settings.state_dir):
        components = await _unless_booked(settings.status_file, _measured(names or everything, request))
    click.echo(msgspec.json.format(msgspec.json.encode(components)).decode() if as_json else in_words(components))
    try:
        account(settings, components, started_at)
    except Trouble as trouble:
        # As before enrollment, when there is no state to keep it in; the figures are there all the same.
        click.echo(f"what was moved is not counted in the month's budget: {trouble.detail}", err=True)
    missing = {one.code for one in components if one.code is not None or not one.figures}
    return Exit.FINE if missing <= (frozenset() if names else NOT_HERE) else Exit.FOUND_A_PROBLEM


def request_of(settings: Settings, *, quick: bool, server: str | None, ticket_file: Path | None) -> Request:
    """
    Return what the command line asks for.

    Raises:
        Trouble: `bad_configuration`: a server without a ticket, or what is no ticket; `state_corrupt`.
    """
    if (server is None) != (ticket_file is None):
        raise Trouble(Code.BAD_CONFIGURATION, "--server and --ticket-file belong together")
    named = None
    if server is not None and ticket_file is not None:
        try:
            ticket = msgspec.json.decode(ticket_file.read_bytes())
            named = msgspec.convert({"url": server, "ticket": ticket}, MeasuringServer)
        except (OSError, ValueError) as error:
            words = f"{ticket_file} is no ticket, or {server} no server's address: {error}"
            raise Trouble(Code.BAD_CONFIGURATION, words[:300], "the ticket is in the collector's order") from error
    # Without either nothing is moved, and whoever may not read what was spent can still measure the rest.
    used = named is not None or settings.network_tool == "iperf3"
    network = network_of(settings, datetime.now(UTC)) if used else Network()
    return Request(quick=quick, directory=settings.benchmark_dir, server=named, network=network)


def nobody_pays(status_file: Path) -> None:
    """
    See that no tenant is on the machine, by what the running agent tells.

    Raises:
        Trouble: `booked`.
    """
    try:
        told = read_status(status_file)
    except Trouble as trouble:
        click.echo(f"whether a tenant is on the machine cannot be told: {trouble.detail}", err=True)
        return
    if told is not None and told.tenants:
        raise Trouble(Code.BOOKED, f"{told.tenants} of the machine's accounts are tenants'", "wait for the wipe")


async def _unless_booked(status_file: Path, work: Coroutine[None, None, T]) -> T:
    """
    Do the work, and end it within a second when a tenant comes.

    Raises:
        Trouble: `booked`.
    """
    measuring = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({measuring}, timeout=LOOK_EVERY_S))[0]:
            told = None
            with contextlib.suppress(Trouble):  # said once, at the beginning
                told = read_status(status_file)
            if told is not None and told.tenants:
                raise Trouble(Code.BOOKED, "a tenant got access meanwhile; the measurement was ended")
        return measuring.result()
    finally:
        measuring.cancel()
        await asyncio.wait({measuring})


async def _measured(names: Sequence[str], request: Request) -> tuple[Component, ...]:
    if sys.stderr.isatty():
        from rich.console import Console  # noqa: PLC0415 - half a second that only a person at a terminal pays
        from rich.progress import Progress  # noqa: PLC0415

        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("benchmarks", total=None)

            def draw(step: str, done: int, of: int) -> None:
                bar.update(task, description=step, completed=done, total=of or None)

            return await run_benchmarks(names, request, draw)
    steps: set[str] = set()

    def tell(step: str, _done: int, _of: int) -> None:
        if step not in steps:
            steps.add(step)
            click.echo(step, err=True)

    return await run_benchmarks(names, request, tell)
