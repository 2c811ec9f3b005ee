"""What the workers share: slots, used tickets, streams' counts and figures, in one SQLite file beside the key."""

import hashlib
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from collector.bandwidth.slots import GRACE_S, Full, Held, claim_bit_s, wait_s
from shared.bandwidth import MOST_STREAMS, Sample, Series, SlotRequest
from shared.codes import Code, Trouble
from shared.documents import BandwidthTicket

_SCHEMA = """
CREATE TABLE IF NOT EXISTS ticket (ticket_id TEXT PRIMARY KEY, not_after REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS slot (
    slot_id TEXT PRIMARY KEY, ticket_id TEXT NOT NULL, hardware_id TEXT NOT NULL, claim_bit_s INTEGER NOT NULL,
    seconds REAL NOT NULL, most_bytes INTEGER NOT NULL, ends_s REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stream (
    stream_id INTEGER PRIMARY KEY, slot_id TEXT NOT NULL REFERENCES slot ON DELETE CASCADE,
    direction TEXT NOT NULL, ended INTEGER NOT NULL DEFAULT 0, series BLOB NOT NULL DEFAULT '[]');
CREATE INDEX IF NOT EXISTS stream_slot ON stream (slot_id);
CREATE TABLE IF NOT EXISTS figure (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""
_series = msgspec.json.Decoder(list[Sample])


class HeldSlot(Struct, frozen=True, kw_only=True):
    """A slot as it stands in the register; `ends_s` by the monotonic clock, which all processes share."""

    slot_id: str
    ticket_id: str
    hardware_id: str
    claim_bit_s: int
    seconds: float
    most_bytes: int
    ends_s: float


class Register:
    """
    The shared file, for the threads of one process. A process that is killed leaves whole transactions only.

    Args:
        path: Of the file; it outlives the server, so that a ticket does not work again after a restart.
    """

    def __init__(self, path: Path) -> None:
        # Nothing here needs to survive a power cut: a ticket is good for minutes.
        self._sql = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        self._sql.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA foreign_keys=ON; {_SCHEMA}")
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the file."""
        self._sql.close()

    def clear(self) -> None:
        """Forget slots of a server that ran before, and its figures; not the tickets."""
        with self._transaction() as sql:
            sql.execute("DELETE FROM slot")
            sql.execute("DELETE FROM figure")

    def admit(
        self, token: str, ticket: BandwidthTicket, request: SlotRequest, capacity_bit_s: int, *, now_s: float
    ) -> None:
        """
        Use up a ticket and hold a slot, both or neither.

        Args:
            token: The new slot's secret.
            ticket: Judged already.
            request: What is asked for.
            capacity_bit_s: The server's link.
            now_s: The monotonic clock.

        Raises:
            Trouble: `ticket_refused` when it has been used, `slow_down` when there is no room (it is still good then).
        """
        with self._transaction() as sql:
            sql.execute("DELETE FROM slot WHERE ends_s <= ?", (now_s,))
            if sql.execute("SELECT 1 FROM ticket WHERE ticket_id = ?", (ticket.ticket_id,)).fetchone():
                raise Trouble(Code.TICKET_REFUSED, "the ticket has been used")
            held = [
                Held(claim_bit_s=one, ends_s=end) for one, end in sql.execute("SELECT claim_bit_s, ends_s FROM slot")
            ]
            claim = claim_bit_s(request.link_bit_s, capacity_bit_s)
            wait = wait_s(held, claim, capacity_bit_s, now_s)
            if wait:
                raise Full(wait)
            sql.execute("INSERT INTO ticket VALUES (?, ?)", (ticket.ticket_id, ticket.not_after.timestamp()))
            # Of a link said to be slow, so that nobody claims a little and moves a lot beside others' measurements.
            most = round(request.seconds * min(request.link_bit_s or capacity_bit_s, capacity_bit_s) / 8)
            row = (
                _digest(token),
                ticket.ticket_id,
                ticket.hardware_id,
                claim,
                request.seconds,
                most if request.most_bytes is None else min(most, request.most_bytes),
                now_s + 2 * request.seconds + GRACE_S,
            )
            sql.execute("INSERT INTO slot VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def slot(self, token: str, now_s: float) -> HeldSlot:
        """
        Return the slot that a token opens.

        Raises:
            Trouble: `unauthenticated`.
        """
        with self._reading() as sql:
            row = sql.execute("SELECT * FROM slot WHERE slot_id = ? AND ends_s > ?", (_digest(token), now_s)).fetchone()
        if row is None:
            raise Trouble(Code.UNAUTHENTICATED, "no slot has this token, or its time is over")
        return HeldSlot(**dict(zip(HeldSlot.__struct_fields__, row, strict=True)))

    def open_stream(self, slot: HeldSlot, direction: str) -> int:
        """
        Return the number of a new stream.

        Raises:
            Trouble: `slow_down` when the slot has all that one may have.
        """
        with self._transaction() as sql:
            which = (slot.slot_id, direction)
            (there,) = sql.execute("SELECT count(*) FROM stream WHERE slot_id = ? AND direction = ?", which).fetchone()
            if there >= MOST_STREAMS:
                raise Trouble(Code.SLOW_DOWN, f"a slot has {MOST_STREAMS} streams {direction} at most")
            added = sql.execute("INSERT INTO stream (slot_id, direction) VALUES (?, ?) RETURNING stream_id", which)
            return int(added.fetchone()[0])

    def record(self, stream_id: int, series: Series, *, ended: bool) -> None:
        """Keep what a stream has carried so far; of one whose slot is over, nothing."""
        with self._transaction() as sql:
            row = (msgspec.json.encode(series), ended, stream_id)
            sql.execute("UPDATE stream SET series = ?, ended = ? WHERE stream_id = ?", row)

    def running(self, slot: HeldSlot) -> int:
        """Return how many streams of a slot have not ended."""
        with self._reading() as sql:
            which = (slot.slot_id,)
            return int(sql.execute("SELECT count(*) FROM stream WHERE slot_id = ? AND NOT ended", which).fetchone()[0])

    def finish(self, slot: HeldSlot) -> dict[str, list[Series]]:
        """
        End a slot and return the series of its streams by direction.

        Raises:
            Trouble: `unauthenticated` when somebody else has ended it meanwhile.
        """
        with self._transaction() as sql:
            rows = sql.execute("SELECT direction, series FROM stream WHERE slot_id = ?", (slot.slot_id,)).fetchall()
            if sql.execute("DELETE FROM slot WHERE slot_id = ?", (slot.slot_id,)).rowcount == 0:
                raise Trouble(Code.UNAUTHENTICATED, "the slot is over")
        found: dict[str, list[Series]] = {"down": [], "up": []}
        for direction, series in rows:
            found[direction].append(_series.decode(series))
        return found

    def add(self, figures: Mapping[str, int], now_s: float, wall_s: float) -> None:
        """Add to figures, and forget what time has ended."""
        with self._transaction() as sql:
            statement = (
                "INSERT INTO figure VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"
            )
            sql.executemany(statement, figures.items())
            sql.execute("DELETE FROM slot WHERE ends_s <= ?", (now_s,))
            sql.execute("DELETE FROM ticket WHERE not_after <= ?", (wall_s,))

    def figures(self) -> tuple[dict[str, int], int, int]:
        """Return all figures, how many slots are held, and what they claim in bit/s."""
        with self._reading() as sql:
            count, claimed = sql.execute("SELECT count(*), coalesce(sum(claim_bit_s), 0) FROM slot").fetchone()
            return dict(sql.execute("SELECT name, value FROM figure ORDER BY name").fetchall()), count, claimed

    def _reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """What only reads takes no lock from those who write: a stranger can ask as often as he likes."""
        return self._transaction("BEGIN")

    @contextmanager
    def _transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._sql.execute(begin)
            try:
                yield self._sql
                self._sql.execute("COMMIT")
            except BaseException:
                # Also where the commit failed: what stays open would keep every later transaction out.
                if self._sql.in_transaction:
                    self._sql.execute("ROLLBACK")
                raise


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "backslashreplace")).hexdigest()
