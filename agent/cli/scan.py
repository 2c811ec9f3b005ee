"""`scan`: one whole report of this machine, as tables or as JSON."""

import asyncio
import shutil
from importlib.metadata import version
from io import StringIO
from typing import TYPE_CHECKING

import click
import msgspec

from agent import indicators as indicator_files
from agent.health import Sampler
from agent.host import Host
from agent.host.linux import LinuxHost
from agent.indicators import Indicator
from agent.inventory import facts
from agent.plugins import load
from shared.command_line import Exit
from shared.messages import Absent, Facts, Failed, Indicators, Measured, Scalar, Values

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

BETWEEN_LOOKS_S = 1.0
"""Rates need two looks; a second shows a load without making anybody wait."""

NOTHING = "\N{EN DASH}"
_LEAST_WIDTH = 80
_FACT_WORDS = {
    "gpu_model": "GPU",
    "cpu_model": "CPU",
    "ram_gb": "memory (GB)",
    "disk_type": "disk",
    "disk_size_gb": "disk size (GB)",
    "network_bandwidth": "network",
    "os": "system",
}


def scan(host: LinuxHost, *, as_json: bool) -> int:
    """Read this machine and print it; return 0 when everything could be read, 1 otherwise."""
    try:
        known, found = asyncio.run(take_scan(host, {"version": version("rackproof")}))
    finally:
        host.close()
    click.echo(render_scan(known, found, json=as_json))
    return Exit.FOUND_A_PROBLEM if any(isinstance(outcome, Failed) for outcome in found.values()) else Exit.FINE


async def take_scan(host: Host, own: Values) -> tuple[Facts, Indicators]:
    """
    Look at this machine twice, a second apart, and return its facts and a whole report.

    Args:
        host: The machine.
        own: What is known of the agent itself, such as its version.
    """
    sampler = Sampler(host, load(indicator_files, "INDICATOR", Indicator), lambda: {"agent": own})
    await sampler.sample()
    known = await asyncio.to_thread(facts, host)
    await asyncio.sleep(BETWEEN_LOOKS_S)
    return known, await sampler.sample(everything=True)


def render_scan(facts: Facts, indicators: Indicators, *, json: bool) -> str:
    """Return a report for the screen, or as the JSON the collector gets: `facts` and `indicators`."""
    if json:
        text = msgspec.json.encode({"facts": facts, "indicators": indicators})
        return msgspec.json.format(text, indent=2).decode()
    # rich takes 50 ms and 10 MB: only who draws a table pays for it.
    from rich.console import Console  # noqa: PLC0415

    screen = StringIO()
    console = Console(file=screen, width=max(_LEAST_WIDTH, shutil.get_terminal_size().columns), color_system=None)
    console.print(_facts_table(facts))
    for name, outcome in indicators.items():
        _draw(console, name, outcome)
    return "\n".join(line.rstrip() for line in screen.getvalue().splitlines())


def _table(title: str, *columns: str) -> "Table":
    """Return an empty table with a title to its left."""
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    return Table(*columns, title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)


def _facts_table(facts: Facts) -> "Table":
    """Return the machine's facts as a table."""
    table = _table("machine", "", "")
    table.show_header = False
    for name, words in _FACT_WORDS.items():
        value = getattr(facts, name)
        table.add_row(words, NOTHING if value is None else str(value))
    return table


def _draw(console: "Console", name: str, outcome: Measured | Absent | Failed) -> None:
    """Draw one indicator: its readings, or why there are none."""
    if isinstance(outcome, Absent):
        console.print(f" {name}: {NOTHING} {outcome.reason}", markup=False)
    elif isinstance(outcome, Failed):
        console.print(f" {name}: ✕ failed: {outcome.error}", markup=False)
    else:
        single = {key: value for key, value in outcome.values.items() if not isinstance(value, dict)}
        if single:
            table = _table(name, "reading", "value")
            for key, value in single.items():
                table.add_row(*shown(key, value))
            console.print(table)
        for group in grouped(outcome.values):
            console.print(_item_table(name, group))


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


def _item_table(name: str, group: dict[str, dict[str, Scalar]]) -> "Table":
    """Return a table with a row for each item and a column for each reading."""
    items = sorted({item for value in group.values() for item in value})
    table = _table(name, "", *(shown(key, None)[0] for key in group))
    for item in items:
        table.add_row(item, *(shown(key, value[item])[1] if item in value else NOTHING for key, value in group.items()))
    return table


def shown(key: str, value: Scalar) -> tuple[str, str]:
    """Return a reading's name and value as people read them: its unit out of the name, bytes as GB or MB."""
    for suffix, unit in (("_percent", "%"), ("_celsius", "°C"), ("_mb_s", "MB/s"), ("_mbit_s", "Mbit/s")):
        if key.endswith(suffix):
            return key.removesuffix(suffix).replace("_", " "), f"{value} {unit}"
    if key.endswith("_bytes") and not isinstance(value, str):
        return key.removesuffix("_bytes").replace("_", " "), _size(float(value or 0))
    words = {None: NOTHING, True: "yes", False: "no"}
    return key.replace("_", " "), words[value] if value is None or isinstance(value, bool) else str(value)


def _size(size_bytes: float) -> str:
    """Return a size in GB or MB, powers of ten."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"
