"""The agent's journal of commands: what was accepted, how it ended, and which answers the collector has not got yet."""

from collections.abc import Collection
from enum import StrEnum

import msgspec
from msgspec import Struct

from agent.database import Database
from shared.envelope import Envelope
from shared.messages import Refused, Result

KEPT = 5_000
"""Settled commands kept so that a late repeat is known: years of bookings on one machine, about 20 MB."""

Answer = Result | Refused
_answer: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)
_envelope: msgspec.json.Decoder[Envelope] = msgspec.json.Decoder(Envelope)


class State(StrEnum):
    """How far a command got here. answered: the answer is on disk; settled: the collector has it."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    ANSWERED = "answered"
    SETTLED = "settled"


class Entry(Struct, frozen=True, kw_only=True):
    """One command. `attempts`: how often its work was begun."""

    command_id: str
    order_sha256: str
    seq: int
    kind: str
    envelope: Envelope
    state: State
    attempts: int
    answer: Answer | None


_COLUMNS = "command_id, order_sha256, seq, kind, envelope, state, attempts, answer"


class Journal:
    """
    Commands on disk; every change is flushed before it is acted upon.

    Args:
        database: The agent's file.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, command_id: str) -> Entry | None:
        """Return a command by its id."""
        found = self._select("WHERE command_id = ?", command_id)
        return found[0] if found else None

    def accept(self, command_id: str, order_sha256: str, seq: int, kind: str, envelope: Envelope) -> None:
        """
        Write down a verified order before it is acknowledged.

        Raises:
            Trouble: `state_unwritable`: the order is then not accepted.
        """
        with self._database.transaction() as sql:
            sql.execute(
                "INSERT INTO command (command_id, order_sha256, seq, kind, envelope, state)"
                " VALUES (?, ?, ?, ?, ?, 'accepted')",
                (command_id, order_sha256, seq, kind, msgspec.json.encode(envelope)),
            )

    def begin(self, command_id: str) -> None:
        """Write down that the work starts now, once more."""
        with self._database.transaction() as sql:
            sql.execute(
                "UPDATE command SET state = 'running', attempts = attempts + 1 WHERE command_id = ?", (command_id,)
            )

    def answer(self, answer: Answer) -> None:
        """Keep the answer of a command; an answer once given is never replaced."""
        with self._database.transaction() as sql:
            sql.execute(
                "UPDATE command SET state = 'answered', answer = ? WHERE command_id = ? AND answer IS NULL",
                (msgspec.json.encode(answer), answer.command_id),
            )

    def settle(self, command_id: str) -> None:
        """Note that the collector has committed the answer; forget the oldest settled commands past the bound."""
        with self._database.transaction() as sql:
            sql.execute(
                "UPDATE command SET state = 'settled' WHERE command_id = ? AND answer IS NOT NULL", (command_id,)
            )
            sql.execute(
                "DELETE FROM command WHERE state = 'settled' AND seq <= (SELECT max(seq) FROM command) - ?", (KEPT,)
            )

    def unfinished(self) -> list[Entry]:
        """Return the commands to do, or to resume, in the order of their orders."""
        return self._select("WHERE state IN ('accepted', 'running') ORDER BY seq")

    def unsettled(self) -> list[Entry]:
        """Return the commands whose answer the collector has not confirmed."""
        return self._select("WHERE state = 'answered' ORDER BY seq")

    def of_kinds(self, kinds: Collection[str]) -> list[Entry]:
        """Return the commands of these kinds that are still kept, in the order of their orders."""
        marks = ", ".join("?" * len(kinds))
        return self._select(f"WHERE kind IN ({marks}) ORDER BY seq", *kinds)

    def _select(self, condition: str, *values: object) -> list[Entry]:
        with self._database.transaction() as sql:
            rows = sql.execute(f"SELECT {_COLUMNS} FROM command {condition}", values).fetchall()  # noqa: S608 - constants
        return [
            Entry(
                command_id=row[0],
                order_sha256=row[1],
                seq=row[2],
                kind=row[3],
                envelope=_envelope.decode(row[4]),
                state=State(row[5]),
                attempts=row[6],
                answer=_answer.decode(row[7]) if row[7] is not None else None,
            )
            for row in rows
        ]
