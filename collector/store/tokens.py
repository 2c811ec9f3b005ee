"""API tokens: only digests of their secrets are kept."""

from datetime import datetime

from msgspec import Struct, structs
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.store.tables import api_token


class ApiToken(Struct, frozen=True, kw_only=True):
    """A token of the API, for one role. `customer_id`: whose machines a provider's token shows; null for the others."""

    token_id: str
    secret_sha256: str
    name: str
    role: str
    customer_id: str | None = None
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


async def create(conn: AsyncConnection, token: ApiToken) -> None:
    """Keep a new token."""
    await conn.execute(api_token.insert().values(**structs.asdict(token)))


async def find(conn: AsyncConnection, token_id: str) -> ApiToken | None:
    """Return a token by its id, valid or not."""
    row = (await conn.execute(select(api_token).where(api_token.c.token_id == token_id))).mappings().first()
    return ApiToken(**row) if row is not None else None


async def all_tokens(conn: AsyncConnection) -> list[ApiToken]:
    """Return every token, oldest first."""
    return [
        ApiToken(**row) for row in (await conn.execute(select(api_token).order_by(api_token.c.created_at))).mappings()
    ]


async def touch(conn: AsyncConnection, token_id: str, now: datetime) -> None:
    """Note a use."""
    await conn.execute(update(api_token).where(api_token.c.token_id == token_id).values(last_used_at=now))


async def revoke(conn: AsyncConnection, token_id: str, now: datetime) -> bool:
    """Stop a token from working; return whether one did."""
    valid = api_token.c.token_id == token_id, api_token.c.revoked_at.is_(None)
    return (await conn.execute(update(api_token).where(*valid).values(revoked_at=now))).rowcount == 1
