"""Health reports that are not yet acknowledged, on disk: kept over restarts, bounded, and dropped only in the open."""

import secrets
import shutil
import sqlite3
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec

from agent.database import SCARCE_BYTES, Database
from agent.fitting import fitted
from agent.losses import Losses
from shared.codes import Trouble
from shared.messages import Health, Indicators, LossReason

CAPACITY = 20_000
"""Reports kept while the collector is away: three and a half days at one in 15 s, about 60 MB; then the oldest go."""

_indicators: msgspec.json.Decoder[Indicators] = msgspec.json.Decoder(Indicators)


def since_boot_s() -> float:
    """Return the seconds since the machine started, sleep included; nobody sets it. Source: clock_gettime(2)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Outbox:
    """
    A queue of health reports whose sequence numbers never repeat.

    Args:
        database: The agent's file.
        capacity: The most reports kept.
        boot_id: The boot that runs now; of its reports the age is known.
        clock: Seconds since the machine started.
    """

    def __init__(
        self,
        database: Database,
        capacity: int = CAPACITY,
        boot_id: str = "",
        clock: Callable[[], float] = since_boot_s,
    ) -> None:
        self._database = database
        self._capacity = capacity
        self._boot_id = boot_id
        self._clock = clock
        self._losses = Losses(database.path.with_name("losses"))
        with database.transaction() as sql:
            sql.execute("INSERT OR IGNORE INTO meta VALUES ('outbox_id', ?)", (f"ob_{secrets.token_hex(8)}",))
            sql.execute("INSERT OR IGNORE INTO meta VALUES ('dropped', '0'), ('join_counter', '0')")
            self.outbox_id: str = sql.execute("SELECT value FROM meta WHERE name = 'outbox_id'").fetchone()[0]
            given = sql.execute("SELECT seq FROM sqlite_sequence WHERE name = 'sample'").fetchone()
        self._last_seq = max(int(given[0]) if given else 0, self._losses.last)

    def add(self, boot_id: str, collected_at: datetime, indicators: Indicators) -> int:
        """
        Keep a report, in a form that can be sent; past the capacity the oldest is dropped, counted and told.

        Returns:
            Its sequence number.

        Raises:
            Trouble: `state_unwritable`; `lose` then gives its number away.
        """
        body = fitted(indicators)
        seq = self._last_seq + 1
        with self._database.transaction() as sql:
            sql.execute(
                "INSERT INTO sample (seq, boot_id, collected_at, since_boot_s, indicators) VALUES (?, ?, ?, ?, ?)",
                (seq, boot_id, collected_at.isoformat(), self._clock(), body),
            )
            gone = self._make_room(sql, seq - self._capacity)
        self._last_seq = seq
        if gone:
            self._losses.add(gone[0], gone[-1], LossReason.OUTBOX_FULL)
        return seq

    def _make_room(self, sql: sqlite3.Connection, up_to_seq: int) -> list[int]:
        """Drop the reports up to a number; return theirs."""
        gone = [row[0] for row in sql.execute("SELECT seq FROM sample WHERE seq <= ? ORDER BY seq", (up_to_seq,))]
        if gone:
            sql.execute("DELETE FROM sample WHERE seq <= ?", (up_to_seq,))
            sql.execute("UPDATE meta SET value = value + ? WHERE name = 'dropped'", (len(gone),))
        return gone

    def lose(self, trouble: Trouble) -> int:
        """Give a number to a report that could not be kept, so that it is missed; return the number."""
        self._last_seq += 1
        scarce = "full" in trouble.detail or _is_full(self._database.path.parent)
        self._losses.add(self._last_seq, self._last_seq, LossReason.DISK_FULL if scarce else LossReason.DISK_FAILED)
        return self._last_seq

    def after(self, seq: int, limit: int) -> list[Health]:
        """Return the next reports past a sequence number, oldest first, with their age at this moment."""
        with self._database.transaction() as sql:
            rows = sql.execute(
                "SELECT seq, boot_id, collected_at, since_boot_s, indicators FROM sample WHERE seq > ? ORDER BY seq"
                " LIMIT ?",
                (seq, limit),
            ).fetchall()
        now_s = self._clock()
        return [
            Health(
                seq=row[0],
                boot_id=row[1],
                collected_at=datetime.fromisoformat(row[2]),
                indicators=_indicators.decode(row[4]),
                age_s=round(max(0.0, now_s - row[3]), 3) if row[1] == self._boot_id else None,
                lost=self._losses.before(row[0]),
            )
            for row in rows
        ]

    def forget(self, up_to_seq: int) -> None:
        """Drop the reports that the collector has committed, and what was told with them."""
        with self._database.transaction() as sql:
            sql.execute("DELETE FROM sample WHERE seq <= ?", (up_to_seq,))
        self._losses.forget(up_to_seq)

    def depth(self) -> int:
        """Return how many reports wait."""
        with self._database.transaction() as sql:
            return int(sql.execute("SELECT count(*) FROM sample").fetchone()[0])

    def dropped(self) -> int:
        """Return how many reports were dropped for want of room, ever."""
        return self._number("dropped")

    def join_counter(self) -> int:
        """Return the counter of the last welcome, 0 before the first."""
        return self._number("join_counter")

    def joined(self, join_counter: int) -> None:
        """Keep the counter of a welcome; on the disk when this returns."""
        with self._database.transaction() as sql:
            sql.execute("UPDATE meta SET value = ? WHERE name = 'join_counter'", (str(join_counter),))

    def _number(self, name: str) -> int:
        with self._database.transaction() as sql:
            return int(sql.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()[0])


def _is_full(folder: Path) -> bool:
    """Return whether a file system has no room; one that does not even tell has other troubles."""
    try:
        return shutil.disk_usage(folder).free < SCARCE_BYTES
    except OSError:
        return False
