"""What Prometheus asks for: every machine with its newest report, and how many commands are open."""

from collections.abc import Iterable

from sqlalchemy import Text, cast, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.exposition.machines import Machine
from collector.store.tables import command, live, machine

_NAMED = {
    "indicators": cast(machine.c.health_indicators, Text).label("indicators"),
    "reasons": cast(live.c.health_reasons, Text).label("reasons"),
}
"""JSON as text: it is read in another thread, and only what is shown of it."""

_COLUMNS = [
    _NAMED[name] if name in _NAMED else machine.c[name] if name in machine.c else live.c[name]
    for name in Machine.__struct_fields__
]


async def machines(conn: AsyncConnection, after: str, limit: int) -> list[Machine]:
    """Return the next machines in the order of their ids."""
    query = (
        select(*_COLUMNS)
        .join(live, live.c.hardware_id == machine.c.hardware_id)
        .where(machine.c.hardware_id > after)
        .order_by(machine.c.hardware_id)
        .limit(limit)
    )
    return [Machine(**row) for row in (await conn.execute(query)).mappings()]


async def commands_by_state(conn: AsyncConnection, states: Iterable[str]) -> dict[str, int]:
    """Return how many commands are in each of these states; an index answers it."""
    wanted = list(states)
    query = select(command.c.state, func.count()).where(command.c.state.in_(wanted)).group_by(command.c.state)
    found: dict[str, int] = {state: count for state, count in await conn.execute(query)}  # noqa: C416 - rows are no pairs to mypy
    return {state: found.get(state, 0) for state in wanted}
