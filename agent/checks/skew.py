"""Skew: whether this machine and its collector agree on the time."""

import http.client

from agent import reaching
from agent.checks import Check, Finding, Group, Scene, fine, problem, unknown
from shared.codes import Trouble

MOST_S = 5.0
"""Far more than a time service leaves and a long way adds; orders are good for minutes."""


def judge(ahead_s: float | None) -> Finding:
    """
    Judge two clocks.

    Args:
        ahead_s: By how much ours is ahead of the collector's; None where that could not be told.
    """
    if ahead_s is None:
        return unknown("the collector did not say what time it is")
    value = f"{abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} the collector's clock"
    limit = f"at most {MOST_S:.0f} s"
    if abs(ahead_s) <= MOST_S:
        return fine("the same time, to a second or two" if abs(ahead_s) <= 2 else value, limit)
    return problem(
        "clock_skewed", value, limit=limit, remedy="sudo timedatectl set-ntp true; then see: timedatectl status"
    )


def look(scene: Scene) -> Finding:
    """Ask the collector for the time."""
    if not scene.origin:
        return unknown("no collector is known yet")
    where = reaching.place(scene.origin)
    try:
        return judge(reaching.ask(where, scene.settings.ca_file).ahead_s)
    except (OSError, http.client.HTTPException, Trouble):
        return unknown("not tried: no answer")


CHECK = Check(
    name="skew",
    title="clocks agree",
    group=Group.COLLECTOR,
    look=look,
    rank=4,
    deadline_s=15.0,
    codes={
        "clock_skewed": "Orders carry times; one that comes too late by this machine's clock is refused as expired."
    },
)
