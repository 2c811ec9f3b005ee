"""`doctor`: the checks as lines, or as JSON."""

import msgspec

from agent.checks import Check, State

MARKS = {State.FINE: "✓", State.PROBLEM: "✕", State.UNKNOWN: "\N{EN DASH}"}


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
