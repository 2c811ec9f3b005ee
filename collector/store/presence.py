"""Presence: each machine's state now, and the ledger of its changes."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from sqlalchemy import bindparam, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.links.presence import Presence
from collector.links.uptime import Entry
from collector.store.tables import live, machine, presence_event


class LiveRow(Struct, frozen=True, kw_only=True):
    """What is known of a machine's link now. `presence_since`: since when by the ledger, which knows no staleness."""

    hardware_id: str
    presence: str
    presence_since: datetime
    last_received_at: datetime | None
    boot_id: str | None
    run_id: str | None
    agent_version: str | None
    clock_skew_ms: int | None


class Transition(Struct, frozen=True, kw_only=True):
    """
    A change of presence; `status` is the machine record's word for the new state.

    `entered`: whether the ledger gets it; if not, it is only what holds now.
    """

    hardware_id: str
    at: datetime
    told_at: datetime
    from_state: str
    to_state: str
    status: str
    cause: str
    words: str = ""
    entered: bool = True


class LedgerEntry(Struct, frozen=True, kw_only=True):
    """An entry of the ledger: when it was so in truth, and when that was decided."""

    event_id: int
    at: datetime
    told_at: datetime
    from_state: str
    to_state: str
    cause: str
    words: str


_COLUMNS = [live.c[name] for name in LiveRow.__struct_fields__]
_NAMES = LedgerEntry.__struct_fields__
_ENTRY = [presence_event.c[name] for name in _NAMES]


async def all_live(conn: AsyncConnection) -> list[LiveRow]:
    """Return every machine's state."""
    return [LiveRow(**row) for row in (await conn.execute(select(*_COLUMNS))).mappings()]


async def find(conn: AsyncConnection, hardware_id: str) -> LiveRow | None:
    """Return one machine's state."""
    row = (await conn.execute(select(*_COLUMNS).where(live.c.hardware_id == hardware_id))).mappings().first()
    return LiveRow(**row) if row is not None else None


async def outages(conn: AsyncConnection) -> dict[str, LedgerEntry]:
    """Return the ledger's newest entry of each machine that is silent now, by its id."""
    newest = (
        select(func.max(presence_event.c.event_id))
        .where(presence_event.c.hardware_id == live.c.hardware_id)
        .correlate(live)
        .scalar_subquery()
    )
    query = (
        select(live.c.hardware_id, *_ENTRY)
        .join(presence_event, presence_event.c.event_id == newest)
        .where(live.c.presence.in_([Presence.STALE, Presence.OFFLINE]))
    )
    rows = (await conn.execute(query)).mappings()
    return {row["hardware_id"]: LedgerEntry(**{name: row[name] for name in _NAMES}) for row in rows}


async def record(conn: AsyncConnection, transitions: Sequence[Transition]) -> None:
    """Write changes, in their order, to the ledger, the live rows and the machine records."""
    entered = [_row(one) for one in transitions if one.entered]
    if entered:
        await conn.execute(_EVENT, entered)
    latest = {one.hardware_id: one for one in transitions}
    # A restart too short to be an outage is in the ledger, and changes nothing since when the machine is there.
    since = {one.hardware_id: _row(one) for one in transitions if one.entered and one.from_state != one.to_state}
    if since:
        await conn.execute(_SINCE, list(since.values()))
    if latest:
        await conn.execute(_LIVE, [_row(one) for one in latest.values()])
        await conn.execute(_MACHINE, [_row(one) for one in latest.values()])


async def write_skews(conn: AsyncConnection, skews_ms: Sequence[tuple[str, int]]) -> None:
    """Store by how many milliseconds machines' clocks are ahead."""
    if skews_ms:
        await conn.execute(_SKEW, [{"of": hardware_id, "ahead": ahead_ms} for hardware_id, ahead_ms in skews_ms])


def _row(one: Transition) -> dict[str, object]:
    return {
        "of": one.hardware_id,
        "moment": one.at,
        "told": one.told_at,
        "before": one.from_state,
        "now": one.to_state,
        "word": one.status,
        "why": one.cause,
        "say": one.words,
    }


_EVENT = presence_event.insert().values(
    hardware_id=bindparam("of"),
    at=bindparam("moment"),
    told_at=bindparam("told"),
    from_state=bindparam("before"),
    to_state=bindparam("now"),
    cause=bindparam("why"),
    words=bindparam("say"),
)
_LIVE = update(live).where(live.c.hardware_id == bindparam("of")).values(presence=bindparam("now"))
_SINCE = update(live).where(live.c.hardware_id == bindparam("of")).values(presence_since=bindparam("moment"))
_SKEW = update(live).where(live.c.hardware_id == bindparam("of")).values(clock_skew_ms=bindparam("ahead"))
_MACHINE = (
    update(machine).where(machine.c.hardware_id == bindparam("of")).values(provider_agent_status=bindparam("word"))
)


async def events(
    conn: AsyncConnection,
    hardware_id: str,
    limit: int,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    before: int | None = None,
) -> list[LedgerEntry]:
    """
    Return a machine's ledger, newest first.

    Args:
        conn: Where.
        hardware_id: Whose.
        limit: The most entries.
        since: None before this.
        until: None at or after this.
        before: Only entries older than the one with this number.
    """
    query = select(*_ENTRY).where(presence_event.c.hardware_id == hardware_id)
    if since is not None:
        query = query.where(presence_event.c.at >= since)
    if until is not None:
        query = query.where(presence_event.c.at < until)
    if before is not None:
        query = query.where(presence_event.c.event_id < before)
    query = query.order_by(presence_event.c.event_id.desc()).limit(limit)
    return [LedgerEntry(**row) for row in (await conn.execute(query)).mappings()]


async def ledger(conn: AsyncConnection, hardware_id: str, since: datetime, until: datetime) -> list[Entry]:
    """Return a machine's states of a time in their order, beginning with the one that held at its start."""
    mine = presence_event.c.hardware_id == hardware_id
    first = select(func.max(presence_event.c.event_id)).where(mine, presence_event.c.at <= since).scalar_subquery()
    query = (
        select(presence_event.c.at, presence_event.c.to_state)
        .where(mine, presence_event.c.event_id >= func.coalesce(first, 0), presence_event.c.at < until)
        .order_by(presence_event.c.event_id)
    )
    rows = (await conn.execute(query)).mappings()
    return [Entry(at=row["at"], to_state=Presence(row["to_state"])) for row in rows]
