"""
What the wiper took on, did and answered, on disk before the next act: the truth after a crash.

Entries are never changed. Each carries a digest over the one before and itself, so that a damaged or edited journal is
noticed, and the last digest stands for the whole.
"""

import hashlib
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from agent.wiper.blocks.treated import Treated
from agent.wiper.tenant.accounts import Tenant
from shared.codes import Code, Trouble
from shared.documents import Medium, PlaceReport, Verification
from shared.envelope import Envelope
from shared.records import Moment


class OrderTaken(Struct, frozen=True, kw_only=True, tag=True):
    """
    An order passed every check; from here on it is carried out, over crashes too.

    `envelope`: the order as it came, so that a machine whose power was cut goes on before anybody asks again.
    """

    command_id: str
    sha256: str
    envelope: Envelope
    seq: int
    kind: str
    generation: str | None = None


class AttemptStarted(Struct, frozen=True, kw_only=True, tag=True):
    """A process began to carry an order out; one without `AttemptEnded` was cut off."""

    command_id: str
    boot_id: str


class StepIntended(Struct, frozen=True, kw_only=True, tag=True):
    """
    What a step found, written before it removes anything.

    `findings`: facts whose proof it may destroy; `meant`: marks of what it could not tell for the tenant's again.
    """

    command_id: str
    step: str
    found: int
    findings: tuple[str, ...] = ()
    meant: tuple[str, ...] = ()


class StepDone(Struct, frozen=True, kw_only=True, tag=True):
    """What a step removed and did to the blocks below, or why it was left out."""

    command_id: str
    step: str
    removed: int = 0
    took_ms: int = 0
    notes: tuple[str, ...] = ()
    skipped: str | None = None
    treated: tuple[Treated, ...] = ()


class Noticed(Struct, frozen=True, kw_only=True, tag=True):
    """A finding that a step came upon while it worked, written before the proof goes."""

    command_id: str
    finding: str


class Verified(Struct, frozen=True, kw_only=True, tag=True):
    """
    What the look at the whole machine found after the steps of one attempt, how far it went, and over what media.

    `limits`: what it cannot say, in words.
    """

    command_id: str
    places: tuple[PlaceReport, ...]
    scope: Verification | None = None
    media: tuple[Medium, ...] = ()
    limits: tuple[str, ...] = ()


class AttemptEnded(Struct, frozen=True, kw_only=True, tag=True):
    """The attempt came to its end."""

    command_id: str


class TenantRecorded(Struct, frozen=True, kw_only=True, tag=True):
    """The newest state of a tenant's record."""

    tenant: Tenant


class Answered(Struct, frozen=True, kw_only=True, tag=True):
    """
    The final word on a command: a result or a refusal, as sent; it is repeated byte by byte.

    `certificate`: the digest of the wipe's evidence in it; the next certificate of this machine names it.
    """

    command_id: str
    sha256: str
    message: bytes
    certificate: str | None = None


Fact = (
    OrderTaken
    | AttemptStarted
    | StepIntended
    | Noticed
    | StepDone
    | Verified
    | AttemptEnded
    | TenantRecorded
    | Answered
)


class Entry(Struct, frozen=True, kw_only=True):
    """One fact, when it was written, and the digest of the journal up to and with it."""

    number: int
    at: Moment
    fact: Fact
    chain: str


_decoder: msgspec.json.Decoder[Fact] = msgspec.json.Decoder(Fact)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
    number INTEGER PRIMARY KEY, at TEXT NOT NULL, fact BLOB NOT NULL, chain TEXT NOT NULL
) STRICT
"""
START = hashlib.sha256(b"rackproof wiper journal 1").hexdigest()


def chained(before: str, number: int, at: str, fact: bytes) -> str:
    """Return the digest of the journal with one more entry."""
    return hashlib.sha256(b"%b %d %b %b" % (before.encode(), number, at.encode(), fact)).hexdigest()


class Journal:
    """
    The journal in its file; every entry is on the disk when `append` returns.

    Args:
        path: The SQLite file; made where there is none.

    Raises:
        Trouble: `journal_unwritable` or `state_corrupt`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._db = sqlite3.connect(path, timeout=10, isolation_level=None)
            # EXTRA also flushes the directory after the roll-back journal is gone: a commit cannot come undone.
            self._db.execute("PRAGMA journal_mode = DELETE")
            self._db.execute("PRAGMA synchronous = EXTRA")
            self._db.execute("PRAGMA trusted_schema = OFF")
            self._db.execute(_SCHEMA)
            self.entries = _read(self._db, path)
        except sqlite3.OperationalError as error:
            raise Trouble(Code.JOURNAL_UNWRITABLE, f"{path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise Trouble(Code.STATE_CORRUPT, f"{path}: {error}") from error

    @property
    def head(self) -> str:
        """The digest of the whole journal, hex."""
        return self.entries[-1].chain if self.entries else START

    def append(self, at: datetime, *facts: Fact) -> None:
        """
        Write facts, all or none.

        Raises:
            Trouble: `journal_unwritable`; nothing was written, and nothing may be done.
        """
        before, rows, entries = self.head, [], []
        for number, fact in enumerate(facts, len(self.entries) + 1):
            raw, when = msgspec.json.encode(fact), at.isoformat()
            before = chained(before, number, when, raw)
            rows.append((number, when, raw, before))
            entries.append(Entry(number=number, at=at, fact=fact, chain=before))
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany("INSERT INTO entry VALUES (?, ?, ?, ?)", rows)
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise Trouble(Code.JOURNAL_UNWRITABLE, f"{self._path}: {error}") from error
        self.entries.extend(entries)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


def entries_of(path: Path) -> list[Entry]:
    """
    Return what a journal's file holds, which is only read; nothing where there is none.

    Raises:
        Trouble: `busy`: an entry is half written, by a process at work or one that was cut off; `state_corrupt`.
    """
    if not path.exists():
        return []
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as db:
            db.execute("PRAGMA trusted_schema = OFF")
            return _read(db, path)
    except sqlite3.OperationalError as error:
        remedy = "try again; if nothing is at work, rackproof-agent resume mends it"
        raise Trouble(Code.BUSY, f"{path}: {error}", remedy) from error
    except sqlite3.DatabaseError as error:
        raise Trouble(Code.STATE_CORRUPT, f"{path}: {error}") from error


def _read(db: sqlite3.Connection, path: Path) -> list[Entry]:
    entries: list[Entry] = []
    before = START
    for number, at, raw, chain in db.execute("SELECT number, at, fact, chain FROM entry ORDER BY number"):
        if number != len(entries) + 1 or chain != chained(before, number, at, raw):
            raise Trouble(Code.STATE_CORRUPT, f"{path}: entry {number} was changed")
        try:
            fact = _decoder.decode(raw)
            entries.append(Entry(number=number, at=datetime.fromisoformat(at), fact=fact, chain=chain))
        except (msgspec.MsgspecError, ValueError) as error:
            raise Trouble(Code.STATE_CORRUPT, f"{path}: entry {number}: {error}") from error
        before = chain
    return entries
