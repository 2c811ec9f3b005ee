"""`scan`: one whole report of this machine, as tables or as JSON."""

import asyncio
import sys
from collections.abc import Sequence
from importlib.metadata import version

import click
import msgspec

from agent import indicators as indicator_files
from agent.cli.choosing import chosen
from agent.cli.screen import coloured, width
from agent.cli.units import NOTHING, label, shown, took
from agent.config import Settings, digest
from agent.health import Sampler
from agent.host import Host
from agent.host.linux import LinuxHost
from agent.indicators import Indicator
from agent.inventory import facts
from agent.plugins import load
from shared.command_line import Exit
from shared.messages import Absent, Facts, Failed, Indicators, Measured, Scalar, Values

FACT_WORDS = {
    "gpu_model": "GPU",
    "cpu_model": "CPU",
    "ram_gb": "memory (GB)",
    "disk_type": "disk",
    "disk_size_gb": "disk size (GB)",
    "network_bandwidth": "network",
    "os": "system",
}


def scan(host: LinuxHost, settings: Settings, names: Sequence[str], *, between_s: float, as_json: bool) -> int:
    """
    Read this machine and print it; return 0 when everything could be read, 1 otherwise.

    Args:
        host: The machine, closed at the end.
        settings: The provider's; their digest is one of the readings.
        names: Indicators to read; none for all of them, and the machine's facts.
        between_s: Time between the two looks; 0 for one look, without rates.
        as_json: As it would be sent.

    Raises:
        click.UsageError: there is no indicator of this name.
    """
    own: Values = {"version": version("rackproof"), "configuration_hash": digest(settings)}
    try:
        subjects = chosen(load(indicator_files, "INDICATOR", Indicator), names, "indicator")
        # First, as it waits for GPUs that take their time; then they are there, as they are for the running agent.
        known = facts(host)
        found = asyncio.run(take_scan(host, subjects, own, between_s))
    finally:
        host.close()
    if as_json:
        click.echo(in_json(None if names else known, found))
    else:
        click.echo(as_text(None if names else known, found, width(sys.stdout), colour=coloured(sys.stdout)), color=True)
    return Exit.FOUND_A_PROBLEM if any(isinstance(outcome, Failed) for outcome in found.values()) else Exit.FINE


async def take_scan(host: Host, subjects: Sequence[Indicator], own: Values, between_s: float) -> Indicators:
    """
    Look at this machine twice and return a whole report.

    Args:
        host: The machine.
        subjects: What to read.
        own: What is known of the agent itself, such as its version.
        between_s: Time between the looks; 0 for one only.
    """
    sampler = Sampler(host, subjects, lambda: {"agent": own})
    if between_s > 0:
        await sampler.sample()
        await asyncio.sleep(between_s)
    return await sampler.sample(everything=True)


def in_json(facts: Facts | None, indicators: Indicators) -> str:
    """Return a report as the JSON that the collector gets: `indicators`, and `facts` where all was read."""
    whole = {"indicators": indicators} if facts is None else {"facts": facts, "indicators": indicators}
    return msgspec.json.format(msgspec.json.encode(whole), indent=2).decode()


def as_text(facts: Facts | None, indicators: Indicators, columns: int, *, colour: bool) -> str:
    """Return a report for a screen: a section an indicator, with what could not be read and why."""
    from agent.cli.tables import Page  # noqa: PLC0415 - only who draws a table pays for it

    page = Page(columns, colour=colour)
    if facts is not None:
        page.heading("machine")
        rows = [(words, getattr(facts, name)) for name, words in FACT_WORDS.items()]
        page.pairs([(words, NOTHING if value is None else str(value)) for words, value in rows])
        page.gap()
    for name, outcome in indicators.items():
        match outcome:
            case Absent(reason=reason):
                page.heading(name, f"{NOTHING} {reason}, {took(outcome.took_ms)}")
            case Failed(error=error):
                page.heading(name, f"after {took(outcome.took_ms)}", style="bold red" if colour else "")
                page.line(f"✕ failed: {error}", style="red" if colour else "")
            case Measured(values=values):
                page.heading(name, took(outcome.took_ms))
                single = [
                    (label(key), shown(key, value)) for key, value in values.items() if not isinstance(value, dict)
                ]
                if single:
                    page.pairs(single)
                for group in grouped(values):
                    page.items(group)
        page.gap()
    return page.text().rstrip()


def grouped(values: Values) -> list[dict[str, dict[str, Scalar]]]:
    """Return the readings by item, those about the same items together: mounts apart from devices."""
    groups: list[dict[str, dict[str, Scalar]]] = []
    for key, value in values.items():
        if not isinstance(value, dict):
            continue
        for group in groups:
            if any(not set(value).isdisjoint(other) for other in group.values()):
                group[key] = value
                break
        else:
            groups.append({key: value})
    return groups
