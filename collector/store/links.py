"""What a link needs: a machine's keys and join counters, and the facts it tells."""

from datetime import datetime

from msgspec import Struct, structs
from sqlalchemy import case, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.store.tables import live, machine, machine_key
from shared.codes import Code, Trouble
from shared.messages import Facts


class LinkIdentity(Struct, frozen=True, kw_only=True):
    """A machine as its hello names it: its agent's key, and the state of its join counter."""

    public_key: bytes
    revoked: bool
    join_confirmed: int
    join_offered: int


async def identity(conn: AsyncConnection, hardware_id: str, key_id: str) -> LinkIdentity | None:
    """Return who a hello claims to be; None when no such machine has such an agent key."""
    query = (
        select(machine_key.c.public_key, machine_key.c.revoked_at, live.c.join_confirmed, live.c.join_offered)
        .join(live, live.c.hardware_id == machine_key.c.hardware_id)
        .where(machine_key.c.hardware_id == hardware_id, machine_key.c.key_id == key_id, machine_key.c.role == "agent")
    )
    row = (await conn.execute(query)).first()
    if row is None:
        return None
    return LinkIdentity(
        public_key=row.public_key,
        revoked=row.revoked_at is not None,
        join_confirmed=row.join_confirmed,
        join_offered=row.join_offered,
    )


async def machine_public_keys(conn: AsyncConnection, hardware_id: str) -> tuple[bytes, bytes]:
    """
    Return the agent's and the wiper's public key that count now.

    Raises:
        Trouble: `unknown_key`.
    """
    query = select(machine_key.c.role, machine_key.c.public_key).where(
        machine_key.c.hardware_id == hardware_id, machine_key.c.revoked_at.is_(None)
    )
    keys = {row.role: row.public_key for row in await conn.execute(query)}
    if set(keys) != {"agent", "wiper"}:
        raise Trouble(Code.UNKNOWN_KEY, f"{hardware_id} has no keys that count")
    return keys["agent"], keys["wiper"]


class MachineKey(Struct, frozen=True, kw_only=True):
    """
    One public key of a machine, hex; with the wiper's, evidence can be checked anywhere.

    `role`: "agent" or "wiper". A key that is revoked still proves what was signed before.
    """

    key_id: str
    role: str
    public_key: str
    created_at: datetime
    revoked_at: datetime | None


async def keys_of(conn: AsyncConnection, hardware_id: str) -> list[MachineKey]:
    """Return every key that a machine has or had, oldest first."""
    columns = machine_key.c
    query = (
        select(columns.key_id, columns.role, columns.public_key, columns.created_at, columns.revoked_at)
        .where(columns.hardware_id == hardware_id)
        .order_by(columns.created_at, columns.role)
    )
    rows = (await conn.execute(query)).mappings()
    return [MachineKey(**{**row, "public_key": row["public_key"].hex()}) for row in rows]


async def offer_join(
    conn: AsyncConnection,
    hardware_id: str,
    *,
    confirmed: int,
    offered: int,
    boot_id: str,
    run_id: str = "",
    outbox_id: str,
    agent_version: str,
    policy_hash: str,
    clock_skew_ms: int,
    facts: Facts,
) -> Facts:
    """Store what a proven hello says, and the counter that its welcome will offer; return the facts known before."""
    same = live.c.outbox_id == outbox_id
    await conn.execute(
        update(live)
        .where(live.c.hardware_id == hardware_id)
        .values(
            join_confirmed=confirmed,
            join_offered=offered,
            boot_id=boot_id,
            run_id=run_id,
            # Numbers of another outbox start anew; those of this one go on.
            last_seq=case((same, live.c.last_seq), else_=-1),
            outbox_id=outbox_id,
            agent_version=agent_version,
            policy_hash=policy_hash,
            clock_skew_ms=clock_skew_ms,
        )
    )
    return await update_facts(conn, hardware_id, facts)


async def confirm_join(conn: AsyncConnection, hardware_id: str, counter: int) -> None:
    """Store that the machine holds the offered counter."""
    statement = update(live).where(live.c.hardware_id == hardware_id, live.c.join_offered == counter)
    await conn.execute(statement.values(join_confirmed=counter))


async def update_facts(conn: AsyncConnection, hardware_id: str, facts: Facts) -> Facts:
    """Store what the machine says it is; return what it said before."""
    of = machine.c.hardware_id == hardware_id
    known = (await conn.execute(select(*_FACTS).where(of))).mappings().first()
    await conn.execute(update(machine).where(of).values(**structs.asdict(facts)))
    return Facts(**known) if known is not None else Facts()


_FACTS = [machine.c[name] for name in Facts.__struct_fields__]


async def revoke_keys(conn: AsyncConnection, hardware_id: str, now: datetime) -> None:
    """Stop both of a machine's keys from counting."""
    counting = machine_key.c.hardware_id == hardware_id, machine_key.c.revoked_at.is_(None)
    await conn.execute(update(machine_key).where(*counting).values(revoked_at=now))
