"""`rackproof-agent wipe plan`: what the wiper says it would do, for people or as it comes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click
import msgspec

from agent.config import Settings
from agent.privileged import environment, plan_argv
from shared.codes import Code, Trouble
from shared.command_line import Exit

FEW = 5
"""Items of a place that are shown where not all are asked for."""
WIDTH = 160
"""Characters of a name that are shown to people: one may be megabytes long."""

CODES = frozenset(Code)


def show(settings: Settings, username: str, method: str, *, everything: bool, as_json: bool) -> int:
    """
    Print the plan; return 0 when a wipe would be carried out and nothing would stay, else 1.

    Raises:
        Trouble: `forbidden` without root; `wiper_unavailable`; what the wiper says is in its way.
    """
    if os.geteuid() != 0 and not settings.sandbox_dir:
        words = "only root may read the wiper's records and look everywhere"
        raise Trouble(Code.FORBIDDEN, words, f"try: sudo rackproof-agent wipe plan {username}")
    # Whoever reads may have seen enough.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    page = Page(everything=everything)
    summary: Mapping[str, Any] | None = None
    for raw in _said(plan_argv(settings, username, method)):
        line = msgspec.json.decode(raw)
        if line["type"] == "trouble":
            code = line["code"]
            raise Trouble(Code(code) if code in CODES else Code.INTERNAL, line["detail"], line["remedy"])
        if line["type"] == "summary":
            summary = line
        if as_json:
            sys.stdout.buffer.write(raw)
        elif line["type"] == "item":
            page.item(line)
    if summary is None:
        raise Trouble(Code.WIPER_UNAVAILABLE, "the wiper ended without a summary")
    if as_json:
        sys.stdout.buffer.flush()
    else:
        page.end(summary)
    return Exit.FINE if comes_to_nothing_left(summary) else Exit.FOUND_A_PROBLEM


def comes_to_nothing_left(summary: Mapping[str, Any]) -> bool:
    """Return whether a wipe would be carried out, nothing would stay, and every place can be looked at."""
    left = any(one.get("stays") or one.get("blind") for one in summary["places"].values())
    return summary["would_be"] == "carried_out" and not left


class Page:
    """
    Shows a plan as it comes: the places in their order, each with its first items.

    Args:
        everything: Show all items.
    """

    def __init__(self, *, everything: bool) -> None:
        self._everything = everything
        self._place = ""
        self._shown: dict[bool, int] = {}
        self._untold: dict[bool, int] = {}

    def item(self, item: Mapping[str, Any]) -> None:
        """Show an item, or count it where enough were shown: the first few that go, and the first few that stay."""
        if item["place"] != self._place:
            self._close()
            self._place = item["place"]
            click.echo(self._place)
        goes = item["goes"]
        if not self._everything and self._shown.get(goes, 0) >= FEW:
            self._untold[goes] = self._untold.get(goes, 0) + 1
            return
        self._shown[goes] = self._shown.get(goes, 0) + 1
        why = f"\n           {item['why']}" if item.get("why") else ""
        click.echo(f"  {'goes ' if goes else 'STAYS'}  {item['what']}: {short(item['where'])}{why}")

    def end(self, summary: Mapping[str, Any]) -> None:
        """Show the counts and what would become of the order."""
        self._close()
        for name, count in summary["places"].items():
            blind = f"; {count['blind']}" if count.get("blind") else ""
            click.echo(f"{name:<12}  {count.get('goes', 0):>9} go  {count.get('stays', 0):>6} stay{blind}")
        if summary["left_alone"]:
            click.echo(f"{summary['method']} does not look at: {', '.join(summary['left_alone'])}")
        if summary["would_be"] == "carried_out":
            click.echo(f"an order to wipe {summary['username']} would be carried out; nothing was changed now")
            return
        click.echo(f"an order to wipe {summary['username']} would be refused: {summary['code']}: {summary['detail']}")
        click.echo(f"  {summary['meaning']}")
        if summary["remedy"]:
            click.echo(f"  {summary['remedy']}")

    def _close(self) -> None:
        for goes, count in self._untold.items():
            click.echo(f"         … and {count} more that {'go' if goes else 'stay'}")
        self._shown, self._untold = {}, {}


def short(name: str) -> str:
    """Return a name that fits a screen: of a long one the beginning and the end."""
    return name if len(name) <= WIDTH else f"{name[: WIDTH // 2]}…{name[-WIDTH // 2 :]}"


def _said(argv: tuple[str, ...]) -> Iterator[bytes]:
    """
    Give the wiper's lines as it says them.

    Raises:
        Trouble: `wiper_unavailable`.
    """
    try:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd="/", env=environment())
    except OSError as error:
        raise Trouble(Code.WIPER_UNAVAILABLE, f"{argv[0]}: {error.strerror}") from error
    with child:
        assert child.stdout is not None
        yield from child.stdout
    if child.returncode:
        raise Trouble(Code.WIPER_UNAVAILABLE, f"the wiper ended with exit code {child.returncode}")
