"""What a link needs of the collector."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from collector.assessing import Assessing
from collector.keyring import Keyring
from collector.links.pace import Paces
from collector.links.watching import Watching
from collector.reports import ReportWriter
from collector.results import Results
from collector.store.engine import AWAY, Database
from shared.codes import Code
from shared.messages import Intervals
from shared.session import CloseCode

_OUTCOMES = ("joined", Code.UNKNOWN_KEY, Code.BAD_SIGNATURE, Code.REVOKED, Code.CLONE)
"""What usually becomes of a hello; counted from 0, so that the first of a kind is seen to be one more."""
CLOSE_OF = {Code.REVOKED: CloseCode.REVOKED, Code.CLONE: CloseCode.DUPLICATE, Code.SLOW_DOWN: CloseCode.SLOW_DOWN}
"""How a link is closed on whoever is not let in; any other refusal is a matter of keys."""


@dataclass(frozen=True, kw_only=True)
class Rooms:
    """
    What a link needs of the collector; made once in the composition.

    `joins`, `closed` and `not_stored` count: hellos by what became of them, "joined" or the code of a refusal; links
    that this end closed, by code; messages that could not be stored, by code.
    """

    database: Database
    keyring: Keyring
    origins: frozenset[str]
    intervals: Intervals
    writer: ReportWriter
    watching: Watching
    assessing: Assessing
    results: Results
    now: Callable[[], datetime]
    paces: Paces = field(default_factory=Paces)
    joins: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(_OUTCOMES, 0)))
    closed: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(CLOSE_OF, 0)))
    not_stored: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(AWAY, 0)))
