"""The chain of each machine's certificates, as the rows of its wipes tell it."""

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.chain import Link
from collector.store.tables import data_wipe


async def near(conn: AsyncConnection, link: Link) -> list[Link]:
    """Return the stored certificates of the same chain that a certificate touches: before, beside and after it."""
    column = data_wipe.c
    beside = column.previous_sha256 == link.previous if link.previous else column.previous_sha256.is_(None)
    touching = or_(beside, column.evidence_sha256 == link.previous, column.previous_sha256 == link.digest)
    query = (
        select(column.evidence_sha256, column.hardware_id, column.signed_by, column.previous_sha256)
        .where(column.hardware_id == link.hardware_id, column.signed_by == link.signed_by, touching)
        .distinct()
    )
    return [
        Link(digest=digest, hardware_id=hardware_id, signed_by=signed_by, previous=previous)
        for digest, hardware_id, signed_by, previous in await conn.execute(query)
    ]


async def mark(conn: AsyncConnection, digest: str, *, chain_gap: bool) -> None:
    """Note on a certificate's rows whether its place in the chain is in doubt."""
    await conn.execute(update(data_wipe).where(data_wipe.c.evidence_sha256 == digest).values(chain_gap=chain_gap))
