"""
The steps of a wipe, one file a place. Each finds, erases and verifies; only `verify` may say that a place is clean.

`find` and `verify` change nothing. `erase` can be cut off anywhere and run again.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from msgspec import Struct

from agent.wiper.accounts import Tenant
from agent.wiper.ground import Ground
from agent.wiper.policy import Policy
from shared.documents import Verification

Tell = Callable[[int, int], None]
"""Reports how far a step is: done, of."""

CLEAN, RESIDUE, NOT_EXAMINED, NOT_APPLICABLE = "clean", "residue", "not_examined", "not_applicable"
"""The states of a place. Source: `shared.documents.PlaceReport`."""


class Subject(NamedTuple):
    """Whose traces, where, and what the provider wants: all that a step is told. Nothing comes from an order's text."""

    ground: Ground
    tenant: Tenant
    policy: Policy = Policy()


class Found(Struct, frozen=True):
    """
    What a look found: how many items, and facts whose proof the erasing may destroy (they never go away).

    A finding that the tenant had or could become root has the word "root" in it: `agent.wiper.status` asks for it.
    """

    items: int
    findings: tuple[str, ...] = ()


class Erased(Struct, frozen=True):
    """What erasing took away, and what stood in its way."""

    removed: int
    notes: tuple[str, ...] = ()


class Looked(Struct, frozen=True):
    """What verifying saw; `scope`: how far a look at the machine's files went; `limits`: what it cannot say."""

    state: str
    left: int = 0
    reason: str | None = None
    scope: Verification | None = None
    limits: tuple[str, ...] = ()


class Item(Struct, frozen=True):
    """
    One thing that a dry run tells of.

    `what`: its kind, in words; `where`: path or id, printable; `goes`: whether a wipe would take it, else `why` not.
    """

    what: str
    where: str
    goes: bool = True
    why: str | None = None


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
