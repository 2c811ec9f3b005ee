"""
The steps of a wipe, one file a place. Each finds, erases and verifies; only `verify` may say that a place is clean.

`find` and `verify` change nothing. `erase` can be cut off anywhere and run again.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

from msgspec import Struct

from agent.wiper.blocks.treated import Treated
from agent.wiper.policy import Policy
from agent.wiper.root.baseline import Baseline
from agent.wiper.system.ground import Ground
from agent.wiper.tenant.accounts import Tenant
from shared.documents import Verification

Tell = Callable[[int, int], None]
"""Reports how far a step is: done, of."""

CLEAN, RESIDUE, NOT_EXAMINED, NOT_APPLICABLE = "clean", "residue", "not_examined", "not_applicable"
"""The states of a place. Source: `shared.documents.PlaceReport`."""


class Subject(NamedTuple):
    """
    Whose traces, and where: all that a step is told. Nothing of it comes from an order's text.

    `policy`: the provider's. `baseline`: what only root writes, at the grant; None where that is not on record.
    `tenants`: the names of all accounts that were ever made for tenants here. `meant`: marks of things that an earlier
    attempt knew to be the tenant's, see `Found`. `alive`: called by a step that takes long, whenever it gets on.
    `alert`: puts a finding, as `Found` has them, on record at once: for a step that comes upon one while it erases.
    """

    ground: Ground
    tenant: Tenant
    policy: Policy = Policy()
    baseline: Baseline | None = None
    tenants: frozenset[str] = frozenset()
    meant: frozenset[str] = frozenset()
    alive: Callable[[], None] = lambda: None
    alert: Callable[[str], None] = lambda _: None


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
    """What erasing took away, and what stood in its way; `treated`: what it did to the blocks below."""

    removed: int
    notes: tuple[str, ...] = ()
    treated: tuple[Treated, ...] = ()


class Looked(Struct, frozen=True):
    """What verifying saw; `scope`: how far a look at the machine's files went; `limits`: what it cannot say."""

    state: str
    left: int = 0
    reason: str | None = None
    scope: Verification | None = None
    limits: tuple[str, ...] = ()


class Item(Struct, frozen=True):
    """
    One thing that a place holds, for the dry run.

    `what`: its kind, in words; `where`: its path or number, printable; `goes`: whether a wipe takes it away, and else
    `why` not.
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

    def list(self) -> Iterator[Item]:
        """
        Give what is there, one by one, and whether it would go; changes nothing.

        Raises:
            OSError: the place cannot be looked at (to its end).
        """


def printable(name: str) -> str:
    """Return a name that can be shown: what is not printable in it, or not UTF-8, is escaped, and so is the escape."""
    return "".join(
        one if one.isprintable() and one != "\\" else one.encode("unicode_escape").decode().replace("\\udc", "\\x")
        for one in name
    )


def in_lines(what: str, path: str, numbers: Iterable[int]) -> Iterator[Item]:
    """Give one item for each of these lines of a file."""
    return (Item(what, f"{printable(path)}, line {number}") for number in numbers)


def clean_or(left: int, what: str) -> Looked:
    """Return clean when nothing is left, else a residue with its reason."""
    return Looked(RESIDUE, left, f"{left} {what}") if left else Looked(CLEAN)
