"""Outbox: whether what the agent must not forget can be read back, and is on its way."""

import sqlite3
from contextlib import closing
from pathlib import Path

from msgspec import Struct

from agent.checks import Check, Finding, Group, Scene, advice, fine, problem, unknown

MOST_WAITING = 240
"""An hour of reports; a collector that is restarted is back within minutes."""


class Kept(Struct, frozen=True, kw_only=True):
    """What the agent's database holds: reports not yet acknowledged, reports ever dropped, answers not confirmed."""

    waiting: int
    dropped: int
    unsettled: int


def judge(file: str, found: Kept | str | None) -> Finding:
    """
    Judge the agent's database.

    Args:
        file: Where it is.
        found: What is in it, the words why it cannot be read, or None where there is none.
    """
    if found is None:
        return unknown("made at the agent's first start")
    limit = f"at most {MOST_WAITING} reports wait"
    if isinstance(found, str):
        remedy = f"stop the agent, move {file} away, start it: a fresh one is made; reports not yet sent are lost"
        return problem("outbox_unreadable", found, limit="can be read back", remedy=remedy)
    value = f"{found.waiting} reports wait, {found.unsettled} answers are not confirmed"
    if found.waiting > MOST_WAITING:
        remedy = "see the collector's lines; what waits is sent once it can be reached"
        return advice("outbox_backlog", value, limit=limit, remedy=remedy)
    if found.dropped:
        value = f"{value}; {found.dropped} were dropped for want of room, ever"
    return fine(value, limit)


def look(scene: Scene) -> Finding:
    """Read the database beside the running agent, without a lock."""
    file = scene.settings.state_file
    try:
        if not file.exists():
            return judge(str(file), None)
    except PermissionError:
        return unknown("only root and the agent's user may look")
    return judge(str(file), _read(file))


def _read(file: Path) -> Kept | str:
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=2.0)) as sql:
            (verdict,) = sql.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                return f"{file}: {verdict}"
            return Kept(
                waiting=sql.execute("SELECT count(*) FROM sample").fetchone()[0],
                dropped=int(
                    sql.execute("SELECT coalesce(max(value), 0) FROM meta WHERE name = 'dropped'").fetchone()[0]
                ),
                unsettled=sql.execute("SELECT count(*) FROM command WHERE state = 'answered'").fetchone()[0],
            )
    except sqlite3.Error as error:
        return f"{file}: {error}"


CHECK = Check(
    name="outbox",
    title="outbox and journal",
    group=Group.STATE,
    look=look,
    codes={
        "outbox_unreadable": "The agent does not start where it cannot read what it had promised to do.",
        "outbox_backlog": "The collector has not heard from this machine for a while.",
    },
)
