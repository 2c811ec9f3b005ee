"""
The steps of a wipe, one file a place. Each finds, erases and verifies; only `verify` may say that a place is clean.

`find` and `verify` change nothing. `erase` can be cut off anywhere and run again.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from msgspec import Struct

from agent.wiper.accounts import Tenant
from agent.wiper.ground import Ground
from shared.documents import Verification

Tell = Callable[[int, int], None]
"""Reports how far a step is: done, of."""

CLEAN, RESIDUE, NOT_EXAMINED, NOT_APPLICABLE = "clean", "residue", "not_examined", "not_applicable"
"""The states of a place. Source: `shared.documents.PlaceReport`."""


class Subject(NamedTuple):
    """
    Whose traces, and where: all that a step is told. Nothing of it comes from an order's text.

    `meant`: marks of things that an earlier attempt knew to be the tenant's, see `Found`.
    """

    ground: Ground
    tenant: Tenant
    meant: frozenset[str] = frozenset()


class Item(Struct, frozen=True):
    """
    One thing for the dry run: its kind in words, and where it is.

    `goes`: whether a wipe takes it away; `why`: why it would stay.
    """

    what: str
    where: str
    goes: bool = True
    why: str | None = None


class Found(Struct, frozen=True):
    """
    What a look found: how many items, and facts whose proof the erasing may destroy (they never go away).

    A finding that the tenant had or could become root has the word "root" in it: `agent.wiper.status` asks for it.
    `meant`: marks of things that are known for his only as long as others of his stand; the next attempt gets them.
    """

    items: int
    findings: tuple[str, ...] = ()
    meant: tuple[str, ...] = ()


class Erased(Struct, frozen=True):
    """What erasing took away, and what stood in its way."""

    removed: int
    notes: tuple[str, ...] = ()


class Looked(Struct, frozen=True):
    """What verifying saw; `scope`: how far a look at the machine's files went."""

    state: str
    left: int = 0
    reason: str | None = None
    scope: Verification | None = None


class Step(Protocol):
    """One place of the machine."""

    name: str

    def find(self) -> Found:
        """
        Count what is there, for the journal, before anything is erased.

        Raises:
            OSError: the place cannot be looked at.
        """

    def erase(self, tell: Tell) -> Erased:
        """
        Take away what is the tenant's.

        Raises:
            OSError: it had to stop; what it took away stays away.
        """

    def verify(self) -> Looked:
        """
        Look again, from the start.

        Raises:
            OSError: the place cannot be looked at.
        """


def clean_or(left: int, what: str) -> Looked:
    """Return clean when nothing is left, else a residue with its reason."""
    return Looked(RESIDUE, left, f"{left} {what}") if left else Looked(CLEAN)
