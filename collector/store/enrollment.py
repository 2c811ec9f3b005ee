"""Enrollment tokens, and the one transaction in which a machine becomes known."""

import hashlib
import hmac
from datetime import datetime, timedelta

from msgspec import Struct, structs
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.links.presence import Presence
from collector.store import records, tables
from collector.store.tables import enrollment_token, live, machine_key
from collector.verdict import HealthState
from shared.codes import Code, Trouble
from shared.envelope import key_id
from shared.records import Machine, RecordId

REPLY_LOST_WITHIN = timedelta(minutes=15)
"""How long a machine that never got its answer may ask for it again, with the same token and keys."""


class EnrollmentToken(Struct, frozen=True, kw_only=True):
    """
    A token with which one machine can enroll, once.

    `hardware_id`: this known machine may come back with new keys. `used_with_keys`: digest of the keys that used it.
    """

    token_id: RecordId
    secret_sha256: str
    customer_id: RecordId
    hardware_id: RecordId | None = None
    created_at: datetime
    created_by: str
    expires_at: datetime
    used_at: datetime | None = None
    used_by: RecordId | None = None
    used_with_keys: str | None = None


async def create_token(conn: AsyncConnection, token: EnrollmentToken) -> None:
    """Keep a new token."""
    await conn.execute(enrollment_token.insert().values(**structs.asdict(token)))


async def find_token(conn: AsyncConnection, token_id: str) -> EnrollmentToken | None:
    """Return a token by its id."""
    query = enrollment_token.select().where(enrollment_token.c.token_id == token_id)
    row = (await conn.execute(query)).mappings().first()
    return EnrollmentToken(**row) if row is not None else None


async def enroll(
    conn: AsyncConnection,
    *,
    token_id: str,
    secret_sha256: str,
    machine: Machine,
    agent_public_key: bytes,
    wiper_public_key: bytes,
    now: datetime,
) -> str:
    """
    Consume a token and make a machine known, or its new keys, in the caller's transaction.

    Args:
        conn: A write transaction; when this raises it must be rolled back, and the token stays usable.
        token_id: The token's public part.
        secret_sha256: Digest of its secret part, as given.
        machine: What the machine says it is; its customer is the token's.
        agent_public_key: 32 bytes, proven.
        wiper_public_key: 32 bytes, proven.
        now: The collector's clock.

    Returns:
        The customer who owns the machine.

    Raises:
        Trouble: `token_unknown`, `token_expired`, `token_used`, `token_foreign` or `identity_conflict`.
    """
    token = await find_token(conn, token_id)
    if token is None or not hmac.compare_digest(token.secret_sha256, secret_sha256):
        raise Trouble(Code.TOKEN_UNKNOWN)
    keys = hashlib.sha256(agent_public_key + wiper_public_key).hexdigest()
    if token.used_at is not None:
        if (token.used_by, token.used_with_keys) == (
            machine.hardware_id,
            keys,
        ) and now - token.used_at < REPLY_LOST_WITHIN:
            return token.customer_id
        raise Trouble(Code.TOKEN_USED)
    if token.expires_at <= now:
        raise Trouble(Code.TOKEN_EXPIRED, f"the token expired at {token.expires_at.isoformat(timespec='seconds')}")
    if token.hardware_id not in {None, machine.hardware_id}:
        raise Trouble(Code.TOKEN_FOREIGN, f"the token is for {token.hardware_id}, this is {machine.hardware_id}")
    await _consume(conn, token_id, machine.hardware_id, keys, now)
    await _admit(conn, token, structs.replace(machine, customer_id=token.customer_id), now)
    for role, raw in (("agent", agent_public_key), ("wiper", wiper_public_key)):
        row = {"key_id": key_id(raw), "hardware_id": machine.hardware_id, "role": role, "public_key": raw}
        await conn.execute(machine_key.insert().values(**row, created_at=now))
    return token.customer_id


async def _consume(conn: AsyncConnection, token_id: str, hardware_id: str, keys: str, now: datetime) -> None:
    """One guarded statement: of two machines that race for a token, one gets it."""
    statement = (
        update(enrollment_token)
        .where(enrollment_token.c.token_id == token_id, enrollment_token.c.used_at.is_(None))
        .values(used_at=now, used_by=hardware_id, used_with_keys=keys)
    )
    if (await conn.execute(statement)).rowcount != 1:
        raise Trouble(Code.TOKEN_USED)


async def _admit(conn: AsyncConnection, token: EnrollmentToken, new: Machine, now: datetime) -> None:
    known = await records.get(conn, Machine, new.hardware_id)
    if known is None:
        await records.insert(conn, new)
        row = {"hardware_id": new.hardware_id, "presence": Presence.NEVER, "presence_since": now, "last_seq": -1}
        row |= {"join_confirmed": 0, "join_offered": 0, "order_seq": 0, "benchmark_due_at": now}
        row |= {"health_state": HealthState.UNKNOWN, "health_since": now, "health_reasons": []}
        await conn.execute(live.insert().values(**row))
        return
    if known.customer_id != token.customer_id:
        raise Trouble(Code.TOKEN_FOREIGN, f"{new.hardware_id} belongs to another customer")
    if token.hardware_id is None:
        remedy = "for a reinstalled machine make a token that names it: rackproof token enrollment --machine …"
        raise Trouble(Code.IDENTITY_CONFLICT, f"{new.hardware_id} is enrolled already", remedy)
    revoked = machine_key.c.hardware_id == new.hardware_id, machine_key.c.revoked_at.is_(None)
    await conn.execute(update(machine_key).where(*revoked).values(revoked_at=now))
    facts = structs.asdict(new)
    kept = ("hardware_id", "customer_id", "provider_agent_status", "health_indicators")
    changed = {name: value for name, value in facts.items() if name not in kept}
    await conn.execute(update(tables.machine).where(tables.machine.c.hardware_id == new.hardware_id).values(**changed))
    reset = update(live).where(live.c.hardware_id == new.hardware_id)
    await conn.execute(reset.values(join_confirmed=0, join_offered=0))
