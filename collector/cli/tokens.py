"""What the command line does to the database directly: the first tokens and users, before there is an API to ask."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TypeVar

import msgspec

from collector.api.enrollment import TokenAsked, issue_token
from collector.api.routing import Role
from collector.compose import utc_now
from collector.config import Settings
from collector.store import audit, migrate, records, tokens
from collector.store.engine import Connection, open_database
from collector.store.tokens import ApiToken
from collector.tokens import new_token
from shared.codes import Code, Trouble
from shared.records import User

T = TypeVar("T")

ACTOR = "command line"


def create(settings: Settings, role: str, name: str, days: int, customer_id: str | None = None) -> str:
    """
    Make an API token; return what is shown once.

    Raises:
        Trouble: `invalid`: a provider's token names its customer, and no other does.
    """
    if (role == Role.PROVIDER) != (customer_id is not None):
        raise Trouble(Code.INVALID, "a provider's token names its customer with --customer, and no other does")
    token = new_token("rps")

    async def work(conn: Connection) -> str:
        now = utc_now()
        row = ApiToken(
            token_id=token.token_id,
            secret_sha256=token.secret_sha256,
            name=name,
            role=role,
            customer_id=customer_id,
            created_at=now,
            expires_at=now + timedelta(days=days),
        )
        await tokens.create(conn, row)
        await _audit(conn, f"make {role} token", token.token_id)
        return token.shown

    return on_database(settings, work)


def enrollment(settings: Settings, customer_id: str, hardware_id: str | None, minutes: int) -> str:
    """Make an enrollment token; return what is shown once."""
    asked = _checked({"customer_id": customer_id, "hardware_id": hardware_id, "expires_in_s": minutes * 60}, TokenAsked)

    async def work(conn: Connection) -> str:
        made = await issue_token(conn, asked, ACTOR, utc_now())
        await _audit(conn, "make enrollment token", made.token_id)
        return made.token

    return on_database(settings, work)


def lines(settings: Settings, *, as_json: bool) -> list[str]:
    """Return a line for each API token."""

    async def work(conn: Connection) -> list[ApiToken]:
        return await tokens.all_tokens(conn)

    shown = []
    for row in on_database(settings, work):
        state = (
            "revoked" if row.revoked_at else "expired" if row.expires_at and row.expires_at <= utc_now() else "valid"
        )
        if as_json:
            plain = {**msgspec.to_builtins(row), "state": state}
            plain.pop("secret_sha256")
            shown.append(json.dumps(plain))
        else:
            shown.append(f"{row.token_id}  {row.role:8}  {state:7}  {row.name}")
    return shown


def revoke(settings: Settings, token_id: str) -> None:
    """
    Revoke an API token.

    Raises:
        Trouble: `not_found`.
    """

    async def work(conn: Connection) -> None:
        if not await tokens.revoke(conn, token_id, utc_now()):
            raise Trouble(Code.NOT_FOUND, f"no API token {token_id} that is still valid")
        await _audit(conn, "revoke token", token_id)

    on_database(settings, work)


def add_user(settings: Settings, customer_id: str, email: str, organization: str | None) -> None:
    """Register a user, or replace one with the same id."""
    now = utc_now()
    plain = {"customer_id": customer_id, "email": email, "organization_name": organization, "signup_date": now}
    record = _checked(plain, User)

    async def work(conn: Connection) -> None:
        await records.upsert(conn, record)
        await _audit(conn, "put User", customer_id)

    on_database(settings, work)


def _checked(plain: Mapping[str, object], kind: type[T]) -> T:
    try:
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        raise Trouble(Code.INVALID, str(error)) from error


async def _audit(conn: Connection, action: str, subject: str) -> None:
    await audit.append(conn, at=utc_now(), actor=ACTOR, role="operator", address="", action=action, object=subject)


def on_database(settings: Settings, work: Callable[[Connection], Awaitable[T]]) -> T:
    """
    Do some work in one transaction.

    Raises:
        Trouble: what the database says, or the work.
    """
    migrate.check(settings.database_url)

    async def run() -> T:
        database = open_database(settings.database_url)
        try:
            async with database.write() as conn:
                return await work(conn)
        finally:
            await database.close()

    return asyncio.run(run())
