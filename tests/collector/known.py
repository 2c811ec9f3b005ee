"""A provider and machines that the collector's tests start from."""

from datetime import UTC, datetime

from collector.store import records
from collector.store.enrollment import EnrollmentToken, create_token, enroll
from shared.records import Machine, User

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


async def add_machine(conn, hardware_id: str, *, agent: bytes = b"", wiper: bytes = b"") -> None:
    """Enroll a machine of usr_1, as the API does; without keys of its own it gets bytes that are none."""
    await records.upsert(conn, User(customer_id="usr_1", email="one@example.com", signup_date=NOW))
    token = EnrollmentToken(
        token_id=f"rpe_{hardware_id}",
        secret_sha256="0" * 64,
        customer_id="usr_1",
        created_at=NOW,
        created_by="tests",
        expires_at=NOW.replace(year=2027),
    )
    await create_token(conn, token)
    await enroll(
        conn,
        token_id=token.token_id,
        secret_sha256=token.secret_sha256,
        machine=Machine(hardware_id=hardware_id, customer_id="-"),
        agent_public_key=agent or f"agent {hardware_id}".encode().ljust(32, b"."),
        wiper_public_key=wiper or f"wiper {hardware_id}".encode().ljust(32, b"."),
        now=NOW,
    )
