"""`rackproof benchmarks`: what waits for a decision, and the decision."""

from pathlib import Path
from typing import Any

import click

from collector.cli.options import read, settings_options


@click.group()
def benchmarks() -> None:
    """List, show, approve and reject benchmarks."""


@benchmarks.command("list")
@settings_options
@click.option("--status", type=click.Choice(["pending", "approved", "rejected"]), default="pending", show_default=True)
@click.option("--machine", "hardware_id", help="Only this machine's.")
@click.option("--flagged/--unflagged", default=None, help="Only those with flags that count, or without.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
def list_(
    file: Path | None,
    *,
    status: str,
    hardware_id: str | None,
    flagged: bool | None,
    limit: int,
    as_json: bool,
    **flags: Any,
) -> None:
    """List benchmarks, the newest first."""
    from collector.cli import verdicts  # noqa: PLC0415

    wanted = {"admin_verification_status": status, "hardware_id": hardware_id, "flagged": flagged}
    filters = {name: value for name, value in wanted.items() if value is not None}
    for line in verdicts.lines(read(file, **flags), filters, limit, as_json=as_json):
        click.echo(line)


@benchmarks.command("show")
@settings_options
@click.argument("benchmark_id")
@click.option("--json", "as_json", is_flag=True, help="The whole record.")
def show(file: Path | None, *, benchmark_id: str, as_json: bool, **flags: Any) -> None:
    """Show one benchmark: figures, why others are missing, marks and flags."""
    from collector.cli import verdicts  # noqa: PLC0415

    click.echo(verdicts.shown(read(file, **flags), benchmark_id, as_json=as_json))


@benchmarks.command("approve")
@settings_options
@click.argument("benchmark_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--despite-flags", is_flag=True, help="Also those that bear flags.")
def approve(file: Path | None, *, benchmark_ids: tuple[str, ...], despite_flags: bool, **flags: Any) -> None:
    """Approve benchmarks: all of them, or none when one cannot be."""
    from collector.cli import verdicts  # noqa: PLC0415

    verdicts.decide_all(read(file, **flags), benchmark_ids, "approved", None, despite_flags=despite_flags)
    click.echo(f"{len(benchmark_ids)} approved", err=True)


@benchmarks.command("reject")
@settings_options
@click.argument("benchmark_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--reason", required=True, help="The provider sees it.")
def reject(file: Path | None, *, benchmark_ids: tuple[str, ...], reason: str, **flags: Any) -> None:
    """Reject benchmarks: all of them, or none when one cannot be."""
    from collector.cli import verdicts  # noqa: PLC0415

    verdicts.decide_all(read(file, **flags), benchmark_ids, "rejected", reason)
    click.echo(f"{len(benchmark_ids)} rejected", err=True)
