"""How machines become known: tokens for providers, and the one request a machine makes before it has a link."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct, structs

from collector.api.auditing import note
from collector.api.records import key_in
from collector.api.routing import ADMINS, WRITERS, Answer, Caller, Route, body_of
from collector.keyring import Keyring
from collector.links.gateway import Gateway
from collector.links.presence import Cause
from collector.links.watching import Watching
from collector.store import audit, enrollment, links, records
from collector.store.engine import Connection, Database
from collector.store.enrollment import EnrollmentToken
from collector.tokens import new_token, split
from shared.codes import Code, Trouble
from shared.documents import EnrollmentClaim, EnrollmentReply, EnrollmentRequest, open_signed, read
from shared.envelope import Envelope, public_key
from shared.records import Machine, Moment, RecordId, User

TOKEN_LIFE_S = 3600


class TokenAsked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    Ask for an enrollment token.

    `hardware_id`: lets this known machine enroll again with new keys, after a reinstall; its old keys stop counting.
    """

    customer_id: RecordId
    hardware_id: RecordId | None = None
    expires_in_s: Annotated[int, Meta(ge=60, le=7 * 86_400)] = TOKEN_LIFE_S


class TokenMade(Struct, frozen=True, kw_only=True):
    """An enrollment token; `token` is shown this once."""

    token_id: RecordId
    token: str
    customer_id: RecordId
    expires_at: Moment


class Enrollment:
    """
    Serves enrollment.

    Args:
        database: Where machines and tokens are.
        keyring: What machines pin.
        origins: Addresses that a machine may mean.
        watching: Told of each new machine.
        gateway: Told of each revocation.
        now: The clock.
    """

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        origins: frozenset[str],
        watching: Watching,
        gateway: Gateway,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._origins = origins
        self._watching = watching
        self._gateway = gateway
        self._now = now

    def routes(self) -> list[Route]:
        """Return the operations of enrollment."""
        return [
            Route(
                method="POST",
                path="/v1/enrollment_tokens",
                handler=self.make_token,
                roles=WRITERS,
                body=TokenAsked,
                answers=TokenMade,
                success=201,
                secret=True,
                summary="Make a token with which one machine of a customer can enroll, once.",
            ),
            Route(
                method="POST",
                path="/v1/agent/enroll",
                handler=self.enroll,
                roles=None,
                body=EnrollmentRequest,
                answers=EnrollmentReply,
                summary="Enroll a machine; called by the agent.",
            ),
            Route(
                method="POST",
                path="/v1/machines/{key}/revoke",
                handler=self.revoke,
                roles=ADMINS,
                answers=Machine,
                summary="Stop trusting a machine's keys, at once; it can come back by enrolling again.",
            ),
        ]

    async def make_token(self, request: web.Request, caller: Caller) -> Answer:
        """Make an enrollment token."""
        asked = await body_of(request, TokenAsked)
        async with self._database.write() as conn:
            made = await issue_token(conn, asked, caller.token_id, self._now())
            await note(conn, caller, self._now(), "make enrollment token", made.token_id)
        return Answer(body=made, status=201)

    async def enroll(self, request: web.Request, _caller: Caller) -> Answer:
        """Enroll a machine that proves both of its keys."""
        asked = await body_of(request, EnrollmentRequest)
        claim = proven(asked.claim)
        token_id, secret_sha256 = split(asked.token)
        if claim.token_id != token_id:
            raise Trouble(Code.TOKEN_UNKNOWN, "the claim was signed for another token")
        if claim.origin not in self._origins:
            raise Trouble(Code.WRONG_ORIGIN, f"the machine means {claim.origin!r}")
        machine = Machine(hardware_id=claim.hardware_id, customer_id="-", **structs.asdict(claim.facts))
        async with self._database.write() as conn:
            customer_id = await enrollment.enroll(
                conn,
                token_id=token_id,
                secret_sha256=secret_sha256,
                machine=machine,
                agent_public_key=claim.agent_public_key,
                wiper_public_key=claim.wiper_public_key,
                now=self._now(),
            )
            await audit.append(
                conn,
                at=self._now(),
                actor=token_id,
                role="machine",
                address=request.remote or "",
                action="enroll",
                object=claim.hardware_id,
            )
        self._watching.add(claim.hardware_id)
        # A link that the machine's former keys opened ends here; a machine that is new has none.
        await self._gateway.revoke(claim.hardware_id)
        reply = EnrollmentReply(
            hardware_id=claim.hardware_id, customer_id=customer_id, origin=claim.origin, trust=self._keyring.trust
        )
        return Answer(body=reply)

    async def revoke(self, request: web.Request, caller: Caller) -> Answer:
        """Revoke a machine's keys and close its link."""
        key = key_in(request)
        async with self._database.write() as conn:
            machine = await records.get(conn, Machine, key)
            if machine is None:
                raise Trouble(Code.NOT_FOUND, f"no machine {key}")
            await links.revoke_keys(conn, key, self._now())
            await note(conn, caller, self._now(), "revoke", key)
        return Answer(body=machine, after=lambda: self._cut(key, caller.name))

    async def _cut(self, hardware_id: str, by: str) -> None:
        self._watching.ended(hardware_id, Cause.REVOKED, f"its keys were revoked by {by}")
        await self._gateway.revoke(hardware_id)


async def issue_token(conn: Connection, asked: TokenAsked, created_by: str, now: datetime) -> TokenMade:
    """
    Make an enrollment token in the caller's transaction.

    Raises:
        Trouble: `reference_missing`: no such customer.
    """
    if await records.get(conn, User, asked.customer_id) is None:
        raise Trouble(Code.REFERENCE_MISSING, f"no user {asked.customer_id}", "register the provider first")
    token = new_token("rpe")
    row = EnrollmentToken(
        token_id=token.token_id,
        secret_sha256=token.secret_sha256,
        customer_id=asked.customer_id,
        hardware_id=asked.hardware_id,
        created_at=now,
        created_by=created_by,
        expires_at=now + timedelta(seconds=asked.expires_in_s),
    )
    await enrollment.create_token(conn, row)
    return TokenMade(
        token_id=token.token_id, token=token.shown, customer_id=asked.customer_id, expires_at=row.expires_at
    )


def proven(envelope: Envelope) -> EnrollmentClaim:
    """
    Return a claim that is signed by both of the keys in it.

    Raises:
        Trouble: `wrong_document`, `weak_key`, `bad_signature` or `malformed`.
    """
    if envelope.payloadType != EnrollmentClaim.PAYLOAD_TYPE:
        raise Trouble(Code.WRONG_DOCUMENT, f"expected an enrollment claim, got {envelope.payloadType}")
    unproven = read(envelope.payload, EnrollmentClaim)
    if unproven.agent_public_key == unproven.wiper_public_key:
        raise Trouble(Code.WEAK_KEY, "the agent's and the wiper's key must differ")
    for raw in (unproven.agent_public_key, unproven.wiper_public_key):
        public_key(raw)
    return open_signed(envelope, EnrollmentClaim, unproven.agent_public_key, unproven.wiper_public_key)
