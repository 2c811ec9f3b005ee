"""Who may measure now: so few at once that the server's own link is nobody's limit."""

import math
from collections.abc import Sequence

from msgspec import Struct

from shared.codes import Code, Trouble

ROOM = 0.6
"""Share of the server's link that slots may claim together: what is left keeps the figures of each their own."""
UNKNOWN = 0.25
"""Share that a machine claims which does not know its link's speed."""
GRACE_S = 25.0
"""For connecting, twice, and for asking for the witness; a slot that is not given back ends after it."""


class Held(Struct, frozen=True, kw_only=True):
    """A slot that is held: what it claims, and when it ends by itself."""

    claim_bit_s: int
    ends_s: float


class Full(Trouble):
    """`slow_down`, with the seconds after which there will be room."""

    def __init__(self, wait_s: int) -> None:
        super().__init__(Code.SLOW_DOWN, f"every slot is taken; there is room in {wait_s} s at the latest")
        self.wait_s = wait_s


def claim_bit_s(link_bit_s: int | None, capacity_bit_s: int) -> int:
    """
    Return what a machine's slot claims: its link's speed, but never more than there is when nobody else measures.

    A machine with a link like the server's own, or a faster one, so measures alone, and its figure is a lower bound.
    """
    wanted = capacity_bit_s * UNKNOWN if not link_bit_s else float(link_bit_s)
    return round(min(wanted, capacity_bit_s * ROOM))


def wait_s(held: Sequence[Held], claim: int, capacity_bit_s: int, now_s: float) -> int:
    """Return 0 where there is room for this claim, else in how many whole seconds there will be at the latest."""
    room = round(capacity_bit_s * ROOM) - sum(one.claim_bit_s for one in held)
    if claim <= room:
        return 0
    for one in sorted(held, key=lambda one: one.ends_s):
        room += one.claim_bit_s
        if claim <= room:
            return max(1, math.ceil(one.ends_s - now_s))
    raise AssertionError("a claim never exceeds an empty server's room")
