"""What a caller changed, for the audit trail."""

from datetime import datetime
from typing import Any

from collector.api.routing import Caller
from collector.store import audit
from collector.store.engine import Connection


async def note(
    conn: Connection, caller: Caller, at: datetime, action: str, key: str, *, before: Any = None, after: Any = None
) -> None:
    """Note that a caller did something to the object named `key`, in the transaction of the change."""
    await audit.append(
        conn,
        at=at,
        actor=caller.token_id,
        role=caller.role,
        address=caller.address,
        action=action,
        object=key,
        before=before,
        after=after,
    )
