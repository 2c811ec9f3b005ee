"""Health reports that are not yet acknowledged, on disk: kept over restarts, bounded, and dropped only in the open."""

import secrets
from datetime import datetime

import msgspec

from agent.database import Database
from shared.messages import Health, Indicators

CAPACITY = 20_000
"""Reports kept while the collector is away: three and a half days at one in 15 s, about 60 MB; then the oldest go."""

_indicators: msgspec.json.Decoder[Indicators] = msgspec.json.Decoder(Indicators)


class Outbox:
    """
    A queue of health reports whose sequence numbers never repeat.

    Args:
        database: The agent's file.
        capacity: The most reports kept.
    """

    def __init__(self, database: Database, capacity: int = CAPACITY) -> None:
        self._database = database
        self._capacity = capacity
        with database.transaction() as sql:
            sql.execute("INSERT OR IGNORE INTO meta VALUES ('outbox_id', ?)", (f"ob_{secrets.token_hex(8)}",))
            sql.execute("INSERT OR IGNORE INTO meta VALUES ('dropped', '0'), ('join_counter', '0')")
            self.outbox_id: str = sql.execute("SELECT value FROM meta WHERE name = 'outbox_id'").fetchone()[0]

    def add(self, boot_id: str, collected_at: datetime, indicators: Indicators) -> int:
        """
        Keep a report; past the capacity the oldest is dropped and counted.

        Returns:
            Its sequence number.

        Raises:
            Trouble: `state_unwritable`.
        """
        body = msgspec.json.encode(indicators)
        with self._database.transaction() as sql:
            row = sql.execute(
                "INSERT INTO sample (boot_id, collected_at, indicators) VALUES (?, ?, ?)",
                (boot_id, collected_at.isoformat(), body),
            )
            seq = int(row.lastrowid or 0)
            gone = sql.execute(
                "DELETE FROM sample WHERE seq <= (SELECT max(seq) FROM sample) - ?", (self._capacity,)
            ).rowcount
            if gone:
                sql.execute("UPDATE meta SET value = value + ? WHERE name = 'dropped'", (gone,))
        return seq

    def after(self, seq: int, limit: int) -> list[Health]:
        """Return the next reports past a sequence number, oldest first."""
        with self._database.transaction() as sql:
            rows = sql.execute(
                "SELECT seq, boot_id, collected_at, indicators FROM sample WHERE seq > ? ORDER BY seq LIMIT ?",
                (seq, limit),
            ).fetchall()
        return [
            Health(
                seq=row[0],
                boot_id=row[1],
                collected_at=datetime.fromisoformat(row[2]),
                indicators=_indicators.decode(row[3]),
            )
            for row in rows
        ]

    def forget(self, up_to_seq: int) -> None:
        """Drop the reports that the collector has committed."""
        with self._database.transaction() as sql:
            sql.execute("DELETE FROM sample WHERE seq <= ?", (up_to_seq,))

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
