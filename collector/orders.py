"""Making orders: what the platform asks for becomes a signed, numbered, durable command."""

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from collector.identifiers import new_id
from collector.links.dispatch import FROM, State
from collector.store import accounts, commands, records
from collector.store.commands import CommandRow
from collector.store.engine import Connection
from shared.codes import Code, Trouble
from shared.documents import GrantWork, Order, Target, Work, kind_of, sha256_of, sign
from shared.records import Machine

LIFETIME = timedelta(days=7)
"""How long an order waits for a machine that is away, unless the caller says otherwise."""


class Orders:
    """
    Signs orders and queues them.

    Args:
        key: The platform's order key.
        now: The clock.
    """

    def __init__(self, key: Ed25519PrivateKey, now: Callable[[], datetime]) -> None:
        self._key = key
        self._now = now

    async def issue(
        self,
        conn: Connection,
        hardware_id: str,
        work: Work,
        *,
        requested_by: str,
        booking_id: str | None = None,
        lifetime: timedelta = LIFETIME,
    ) -> CommandRow:
        """
        Queue an order in the caller's transaction. One that lets a tenant in takes waiting benchmarks back.

        Raises:
            Trouble: `not_found`: no such machine.
        """
        if await records.get(conn, Machine, hardware_id) is None:
            raise Trouble(Code.NOT_FOUND, f"no machine {hardware_id}")
        now = self._now()
        order = Order(
            aud=hardware_id,
            command_id=new_id("cmd", now),
            seq=await commands.next_seq(conn, hardware_id),
            work=work,
            booking_id=booking_id,
            issued_at=now,
            expires_at=now + lifetime,
            requested_by=requested_by,
        )
        envelope = sign(order, self._key)
        row = CommandRow(
            command_id=order.command_id,
            hardware_id=hardware_id,
            kind=kind_of(work),
            state=State.QUEUED,
            seq=order.seq,
            booking_id=booking_id,
            requested_by=requested_by,
            envelope=msgspec.json.encode(envelope).decode(),
            order_sha256=sha256_of(envelope),
            created_at=now,
            expires_at=order.expires_at,
        )
        await commands.insert(conn, row)
        if isinstance(work, GrantWork):
            await commands.cancel_waiting(
                conn,
                hardware_id,
                "benchmark",
                FROM[State.CANCELED],
                finished_at=now,
                code=Code.BOOKED,
                detail=f"a tenant is let in by {row.command_id}",
            )
        return row


async def account_target(conn: Connection, hardware_id: str, username: str) -> Target:
    """
    Return the account that an order under a name means: the one granted last under it and not wiped since.

    Raises:
        Trouble: `unknown_account`: no tenant of this machine has that name; "root" and paths end here too.
    """
    account = await accounts.current(conn, hardware_id, username)
    if account is None:
        raise Trouble(Code.UNKNOWN_ACCOUNT, f"{hardware_id} has no tenant account {username[:64]!r}")
    return Target(username=account.username, uid=account.uid, generation=account.generation)
