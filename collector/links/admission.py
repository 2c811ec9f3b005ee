"""Who may join with which counter: how a copied disk is told from a lost welcome."""

from msgspec import Struct

from shared.codes import Code, Trouble


class Counters(Struct, frozen=True, kw_only=True):
    """
    What the collector knows of a machine's join counter.

    `confirmed`: the machine has shown that it holds this one. `offered`: the last one given in a welcome; until the
    machine shows it, the welcome may have been lost.
    """

    confirmed: int
    offered: int


def join(known: Counters, presented: int) -> Counters:
    """
    Decide on a hello's counter.

    A machine presents the counter of its last welcome. It holds the offered one (the welcome arrived) or still the
    confirmed one (the welcome was lost, or power failed before it was on disk). Anything else comes from a copy: the
    original has moved on since.

    Returns:
        The counters to store before the welcome; the welcome gives `offered`.

    Raises:
        Trouble: `clone`.
    """
    if presented == known.offered:
        return Counters(confirmed=presented, offered=presented + 1)
    if presented == known.confirmed:
        return known
    words = f"counter {presented} presented, {known.confirmed} or {known.offered} expected"
    raise Trouble(Code.CLONE, words, "if this is the original, enroll it again with a token for this machine")
