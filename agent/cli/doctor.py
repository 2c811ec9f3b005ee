"""`doctor`: the checks as lines, or as JSON."""

import asyncio
import time

import click
import msgspec

from agent import identity
from agent.checks import Check, State, run_checks
from agent.config import Settings
from agent.host.linux import LinuxHost
from shared.codes import Code, Trouble
from shared.command_line import Exit

REACH_S = 10.0
"""How long the collector may take to answer before it counts as unreachable."""

MARKS = {State.FINE: "✓", State.PROBLEM: "✕", State.UNKNOWN: "\N{EN DASH}"}


def doctor(host: LinuxHost, settings: Settings, *, as_json: bool) -> int:
    """
    Check this machine and print what was found; return 0 when nothing needs mending, 1 otherwise.

    Raises:
        Trouble: `state_corrupt` or `state_unwritable`: what enrollment pinned cannot be read.
    """
    try:
        collector = asyncio.run(_collector(settings))
        checks = run_checks(host, state_dir=settings.state_dir, collector=collector)
    finally:
        host.close()
    click.echo(render_checks(checks, json=as_json))
    return Exit.FOUND_A_PROBLEM if found_problem(checks) else Exit.FINE


async def _collector(settings: Settings) -> float | Trouble | None:
    """Return what trying to reach the collector gave; None before enrollment."""
    try:
        pinned = identity.load(settings.pinned_file)
    except Trouble as trouble:
        if trouble.code is Code.NOT_ENROLLED:
            return None
        raise
    return await reach(pinned.origin, settings.ca_file)


async def reach(origin: str, ca_file: str) -> float | Trouble:
    """Return how long the collector takes to answer anything at all, in ms, or why it cannot be reached."""
    import aiohttp  # noqa: PLC0415 - a machine that is not enrolled needs none of it

    from agent.link import tls_context  # noqa: PLC0415

    began_s = time.perf_counter()
    try:
        limit = aiohttp.ClientTimeout(total=REACH_S)
        tls = tls_context(ca_file)
        async with (
            aiohttp.ClientSession(timeout=limit) as http,
            http.get(f"{origin}/healthz", ssl=True if tls is None else tls, allow_redirects=False),
        ):
            return (time.perf_counter() - began_s) * 1000
    except TimeoutError:
        detail = f"{origin} gave no answer within {REACH_S:g} s"
    except (aiohttp.ClientError, OSError) as error:
        detail = f"{origin}: {error}"
    return Trouble(Code.COLLECTOR_UNREACHABLE, detail, "check DNS, firewall and certificate on the way to it")


def found_problem(checks: tuple[Check, ...]) -> bool:
    """Return whether the command should end with "ran and found a problem"."""
    return any(check.state is State.PROBLEM for check in checks)


def render_checks(checks: tuple[Check, ...], *, json: bool) -> str:
    """
    Return the checks for the screen, a line each and the remedy below a problem; or as a JSON list.

    The mark is followed by the code, so that nothing depends on a colour or a font.
    """
    if json:
        return msgspec.json.format(msgspec.json.encode(checks), indent=2).decode()
    width = max((len(check.name) for check in checks), default=0)
    return "\n".join(line for check in checks for line in _lines(check, width))


def _lines(check: Check, width: int) -> tuple[str, ...]:
    """Return one check's line, and the line of its remedy if it is a problem."""
    limit = f"  ({check.limit})" if check.limit and check.state is not State.UNKNOWN else ""
    line = f"{MARKS[check.state]} {check.name:<{width}}  {check.value}{limit}"
    if check.state is not State.PROBLEM:
        return (line,)
    remedy = f": {check.remedy}" if check.remedy else ""
    return (line, f"  {'':<{width}}  {check.code}{remedy}")
