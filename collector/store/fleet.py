"""The whole fleet at a glance: counts and a sorted, narrowed list of what holds now."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import ColumnElement, Select, and_, case, func, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.links.presence import Presence
from collector.store.tables import live, machine
from collector.verdict import HealthState

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands for never where a list is sorted by time."""


class FleetRow(Struct, frozen=True, kw_only=True):
    """One machine as it is now."""

    hardware_id: str
    customer_id: str
    gpu_model: str | None
    cpu_model: str | None
    os: str | None
    presence: str
    presence_since: datetime
    last_received_at: datetime | None
    health_state: str
    health_since: datetime
    health_reasons: Any
    gpus_expected: int | None
    agent_version: str | None
    clock_skew_ms: int | None


class Wanted(Struct, frozen=True, kw_only=True):
    """
    Which machines are wanted; what is empty or None narrows nothing.

    `q`: part of an id or of a model, in any case.
    """

    presence: tuple[str, ...] = ()
    health_state: tuple[str, ...] = ()
    customer_id: str | None = None
    gpu_model: str | None = None
    q: str = ""


class Summary(Struct, frozen=True, kw_only=True):
    """How many machines there are, by presence and by health."""

    machines: int
    presence: dict[str, int]
    health_state: dict[str, int]


_MACHINES = ("hardware_id", "customer_id", "gpu_model", "cpu_model", "os")
_COLUMNS = [(machine if name in _MACHINES else live).c[name] for name in FleetRow.__struct_fields__]


def _searched() -> ColumnElement[str]:
    """One text, so that each row is looked through once; no line of it can be searched over its end."""
    text: ColumnElement[str] = machine.c.hardware_id
    for name in _MACHINES[1:]:
        text = text + "\n" + func.coalesce(machine.c[name], "")
    return func.lower(text)


_SEARCHED = _searched()


def _ranked(column: ColumnElement[Any], order: Sequence[str]) -> ColumnElement[Any]:
    return case({word: place for place, word in enumerate(order)}, value=column, else_=len(order))


SORTS: dict[str, ColumnElement[Any]] = {
    "hardware_id": live.c.hardware_id,
    "customer_id": machine.c.customer_id,
    "gpu_model": func.coalesce(machine.c.gpu_model, ""),
    # From what needs a look to what does not.
    "presence": _ranked(
        live.c.presence, (Presence.OVERDUE, Presence.OFFLINE, Presence.STALE, Presence.NEVER, Presence.ONLINE)
    ),
    "presence_since": live.c.presence_since,
    "last_received_at": func.coalesce(live.c.last_received_at, literal(LONG_AGO, live.c.last_received_at.type)),
    "health_state": _ranked(
        live.c.health_state,
        (HealthState.UNHEALTHY, HealthState.DEGRADED, HealthState.UNKNOWN, HealthState.HEALTHY),
    ),
    "health_since": live.c.health_since,
}
"""By what a list can be sorted."""


async def summary(conn: AsyncConnection, wanted: Wanted) -> Summary:
    """Count the wanted machines, in whichever presence and health they are."""
    query = select(live.c.presence, live.c.health_state, func.count().label("machines")).group_by(
        live.c.presence, live.c.health_state
    )
    conditions = _of_machine(wanted)
    if conditions:
        query = query.join(machine, machine.c.hardware_id == live.c.hardware_id).where(*conditions)
    presences, states = dict.fromkeys(map(str, Presence), 0), dict.fromkeys(map(str, HealthState), 0)
    for row in await conn.execute(query):
        presences[row.presence] += row.machines
        states[row.health_state] += row.machines
    return Summary(machines=sum(presences.values()), presence=presences, health_state=states)


async def page(
    conn: AsyncConnection, wanted: Wanted, sort: str, after: tuple[Any, str] | None, limit: int, *, reverse: bool
) -> list[tuple[FleetRow, Any]]:
    """
    Return machines in an order, each with the value it is sorted by.

    Args:
        conn: Where.
        wanted: Which.
        sort: One of `SORTS`; equal ones follow each other by their ids.
        after: Value and id after which to start; None for the first page.
        limit: The most rows.
        reverse: The last first.
    """
    value, key = SORTS[sort], live.c.hardware_id
    conditions = _of_machine(wanted)
    query: Select[Any] = select(key, value.label("sorted_by")).where(*conditions)
    if conditions or sort in _MACHINES[1:]:
        query = query.join(machine, machine.c.hardware_id == key)
    if wanted.presence:
        query = query.where(live.c.presence.in_(wanted.presence))
    if wanted.health_state:
        query = query.where(live.c.health_state.in_(wanted.health_state))
    if after is not None:
        at, of = after
        beyond, later = (value < at, key < of) if reverse else (value > at, key > of)
        query = query.where(or_(beyond, and_(value == at, later)))
    # The page's ids first, and only then what stands in its rows: the others' are never read.
    chosen = query.order_by(*_order(value, key, reverse=reverse)).limit(limit).subquery()
    whole: Select[Any] = (
        select(*_COLUMNS, chosen.c.sorted_by)
        .join(machine, machine.c.hardware_id == live.c.hardware_id)
        .join(chosen, chosen.c.hardware_id == live.c.hardware_id)
        .order_by(*_order(chosen.c.sorted_by, chosen.c.hardware_id, reverse=reverse))
    )
    rows = (await conn.execute(whole)).mappings()
    return [(FleetRow(**{name: row[name] for name in FleetRow.__struct_fields__}), row["sorted_by"]) for row in rows]


def _order(value: ColumnElement[Any], key: ColumnElement[Any], *, reverse: bool) -> tuple[ColumnElement[Any], ...]:
    return (value.desc(), key.desc()) if reverse else (value, key)


async def owner(conn: AsyncConnection, hardware_id: str) -> str | None:
    """Return whose a machine is; None where there is no such machine."""
    query = select(machine.c.customer_id).where(machine.c.hardware_id == hardware_id)
    return (await conn.execute(query)).scalar()


def _of_machine(wanted: Wanted) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.customer_id is not None:
        conditions.append(machine.c.customer_id == wanted.customer_id)
    if wanted.gpu_model is not None:
        conditions.append(machine.c.gpu_model == wanted.gpu_model)
    if wanted.q:
        conditions.append(_SEARCHED.contains(wanted.q.lower(), autoescape=True))
    return conditions
