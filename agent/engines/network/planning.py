"""How long a measurement may take, decided before a byte is moved."""

from msgspec import Struct

from shared.codes import Code, Trouble

QUICK_S, FULL_S = 3.0, 10.0
"""Of each direction."""
LEAST_S = 2.0
"""A shorter direction is all ramp."""
ASSUMED_BIT_S = 10**9
"""Of a link that does not tell its speed, for the budget's sake."""


class Plan(Struct, frozen=True, kw_only=True):
    """Seconds of each direction, and the bytes at which one ends all the same; None for no limit."""

    seconds: float
    most_bytes: int | None = None


def plan(*, quick: bool, link_bit_s: int | None, budget_bytes: int | None) -> Plan:
    """
    Return what the budget allows.

    Args:
        quick: A short look.
        link_bit_s: Of this machine; None where it is not known.
        budget_bytes: For both directions together; None for no limit.

    Raises:
        Trouble: `over_budget`: not even the least run can be afforded.
    """
    wanted = QUICK_S if quick else FULL_S
    if budget_bytes is None:
        return Plan(seconds=wanted)
    assumed = link_bit_s or ASSUMED_BIT_S
    affordable_s = budget_bytes * 8 / 2 / assumed
    if affordable_s < LEAST_S:
        needed = round(LEAST_S * 2 * assumed / 8)
        words = f"{max(0, budget_bytes) / 1e9:.1f} GB of the month's data are left; {needed / 1e9:.1f} GB are needed"
        raise Trouble(Code.OVER_BUDGET, words)
    return Plan(seconds=round(min(wanted, affordable_s), 1), most_bytes=budget_bytes // 2)
