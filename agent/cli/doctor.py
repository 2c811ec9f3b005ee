"""`doctor`: the checks as lines, or as JSON."""

import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from agent import checks as check_files
from agent import identity
from agent.checking import Line, run_checks
from agent.checks import Check, Scene, State
from agent.cli.choosing import chosen
from agent.cli.screen import coloured
from agent.cli.units import printable
from agent.config import DEFAULT_FILE, Settings, read_settings
from agent.host.linux import LinuxHost
from agent.plugins import load
from shared.codes import Trouble
from shared.command_line import Exit

MARKS = {State.FINE: "✓", State.ADVICE: "!", State.PROBLEM: "✕", State.UNKNOWN: "\N{EN DASH}"}
COLOURS = {State.FINE: "green", State.ADVICE: "yellow", State.PROBLEM: "red", State.UNKNOWN: "bright_black"}


def doctor(host: LinuxHost, scene: Scene, names: Sequence[str], *, as_json: bool) -> int:
    """
    Check this machine and print what was found; return 0 when nothing needs mending, 1 otherwise.

    Args:
        host: The machine, closed at the end.
        scene: What may be looked at.
        names: Checks to make; none for all of them.
        as_json: For scripts.

    Raises:
        click.UsageError: there is no check of this name.
    """
    try:
        lines = run_checks(chosen(load(check_files, "CHECK", Check), names, "check"), scene)
    finally:
        host.close()
    click.echo(as_text(lines, colour=coloured(sys.stdout)) if not as_json else in_json(lines), color=True)
    return Exit.FOUND_A_PROBLEM if found_problem(lines) else Exit.FINE


def scene_of(host: LinuxHost, file: Path | None, origin: str | None, flags: Mapping[str, Any]) -> Scene:
    """
    Return what may be looked at; settings that cannot be read are a line of the report, not its end.

    Args:
        host: The machine.
        file: The settings file that was named.
        origin: A collector's address to try; None for the one of the enrollment.
        flags: Flags of the command line.
    """
    unreadable = None
    try:
        settings = read_settings(file, os.environ, flags)
    except Trouble as trouble:
        unreadable, settings = trouble, Settings(**{name: value for name, value in flags.items() if value is not None})
    return Scene(
        host=host,
        settings=settings,
        file=file or DEFAULT_FILE,
        unreadable=unreadable,
        origin=origin or _pinned_origin(settings),
        root=os.geteuid() == 0,
    )


def _pinned_origin(settings: Settings) -> str:
    try:
        return identity.load(settings.pinned_file).origin
    except Trouble:
        return ""  # the check of the enrollment says why


def found_problem(lines: Sequence[Line]) -> bool:
    """Return whether the command should end with "ran and found a problem"."""
    return any(line.state is State.PROBLEM for line in lines)


def in_json(lines: Sequence[Line]) -> str:
    """Return the lines as a JSON list."""
    return msgspec.json.format(msgspec.json.encode(lines), indent=2).decode()


def as_text(lines: Sequence[Line], *, colour: bool) -> str:
    """
    Return the lines for a screen, by group, with reason and remedy below what is wrong, and a summary.

    A mark stands before each line and the code below it, so that nothing depends on a colour or a font.
    """
    width = max((len(line.title) for line in lines), default=0)
    text: list[str] = []
    group = None
    for line in lines:
        if line.group is not group:
            group = line.group
            text += ["", _styled(str(group), colour, bold=True)] if text else [_styled(str(group), colour, bold=True)]
        text += _text(line, width, colour=colour)
    return "\n".join([*text, "", summary(lines)])


def _text(line: Line, width: int, *, colour: bool) -> Iterator[str]:
    wrong = line.state in {State.PROBLEM, State.ADVICE}
    mark = _styled(MARKS[line.state], colour, fg=COLOURS[line.state])
    limit = f"  (wanted: {line.limit})" if line.limit and wrong else ""
    yield f"  {mark} {line.title:<{width}}  {printable(line.value + limit)}"
    if wrong:
        yield f"      {_styled(line.code, colour, fg=COLOURS[line.state])}: {printable(line.reason)}"
        yield f"      {_styled('mend it:', colour, bold=True)} {printable(line.remedy)}"


def summary(lines: Sequence[Line]) -> str:
    """Return what was found in one line."""
    count = Counter(line.state for line in lines)
    words = (
        (count[State.PROBLEM], "to mend"),
        (count[State.ADVICE], "could be better"),
        (count[State.FINE], "fine"),
        (count[State.UNKNOWN], "not to be told here"),
    )
    return ", ".join(f"{number} {what}" for number, what in words if number)


def _styled(words: str, colour: bool, **style: Any) -> str:  # noqa: FBT001 - the whole question
    return click.style(words, **style) if colour else words
