"""What surrounds every request: an id, authentication, idempotency, and one shape for every error."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import msgspec
import structlog
from aiohttp import web

from collector.api.records import key_in
from collector.api.routing import ANYBODY, JSON, OF_A_MACHINE, Answer, Caller, Role, Route
from collector.store import fleet, idempotency, tokens
from collector.store.engine import Database
from collector.tokens import split
from shared.codes import Code, Trouble
from shared.problems import CONTENT_TYPE, problem_of

Next = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_BODY_BYTES = 262_144
TOUCH_EVERY = timedelta(minutes=1)
"""A token's last use is written at most this often: a write for each read would cost more than the reads."""
_KEY = re.compile(r"[\x21-\x7e]{1,200}\Z")

log = structlog.get_logger()


@web.middleware
async def problems(request: web.Request, handler: Next) -> web.StreamResponse:
    """Give the request an id, and turn whatever goes wrong into a problem document."""
    request_id = f"req_{secrets.token_hex(8)}"
    with structlog.contextvars.bound_contextvars(request_id=request_id):
        try:
            response = await handler(request)
        except Trouble as trouble:
            response = problem_response(trouble, request_id)
        except web.HTTPException as error:
            if error.status < 400 or error.status == 503:
                raise
            response = problem_response(_of_http(error, request), request_id)
        except Exception:
            log.exception("request.broke", method=request.method, path=request.path)
            response = problem_response(Trouble(Code.INTERNAL), request_id)
    if not response.prepared:
        response.headers["X-Request-Id"] = request_id
    return response


def problem_response(trouble: Trouble, request_id: str) -> web.Response:
    """Return the answer for some trouble."""
    problem = problem_of(trouble, request_id)
    headers = {"Retry-After": "5"} if problem.status in {429, 503} else {}
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="rackproof"'
    return web.Response(
        body=msgspec.json.encode(problem), status=problem.status, content_type=CONTENT_TYPE, headers=headers
    )


def _of_http(error: web.HTTPException, request: web.Request) -> Trouble:
    match error.status:
        case 404:
            return Trouble(Code.NOT_FOUND, f"nothing is at {request.path[:200]}")
        case 405:
            return Trouble(Code.METHOD_NOT_ALLOWED, f"{request.method} {request.path[:200]}")
        case 413:
            return Trouble(Code.TOO_LARGE, f"a body has at most {MAX_BODY_BYTES} bytes")
        case _:
            return Trouble(Code.INVALID, error.reason)


class Doorkeeper:
    """
    Serves the routes of the table: who asks, may they, have they asked before.

    Args:
        database: Where tokens and earlier answers are.
        now: The clock.
    """

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def serve(self, route: Route) -> Next:
        """Return the aiohttp handler of a route."""

        async def handle(request: web.Request) -> web.StreamResponse:
            caller = ANYBODY if route.roles is None else await self._known(request)
            if route.roles is not None and caller.role not in route.roles:
                raise Trouble(Code.FORBIDDEN, f"the role {caller.role} may not {route.method} {route.path}")
            if caller.customer_id is not None and route.path.startswith(OF_A_MACHINE):
                await self._own(key_in(request), caller.customer_id)
            key = request.headers.get("Idempotency-Key")
            if key is not None and route.secret:
                words = "this answer holds a secret, so it is not kept: leave Idempotency-Key out"
                raise Trouble(Code.INVALID, words)
            if key is not None and route.keyed:
                return await self._once(request, route, caller, key)
            answer = await route.handler(request, caller)
            return await answer.stream() if answer.stream is not None else await _committed(answer)

        return handle

    async def _own(self, hardware_id: str, customer_id: str) -> None:
        """Refuse another provider's machine as if there were none."""
        async with self._database.read() as conn:
            if await fleet.owner(conn, hardware_id) != customer_id:
                raise Trouble(Code.NOT_FOUND, f"no machine {hardware_id}")

    async def _known(self, request: web.Request) -> Caller:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        token_id, given = split(token)
        if scheme.lower() != "bearer" or not token_id:
            raise Trouble(Code.UNAUTHENTICATED, "send Authorization: Bearer rps_…")
        async with self._database.read() as conn:
            found = await tokens.find(conn, token_id)
        now = self._now()
        if (
            found is None
            or not hmac.compare_digest(found.secret_sha256, given)
            or found.revoked_at is not None
            or (found.expires_at is not None and found.expires_at <= now)
        ):
            raise Trouble(Code.UNAUTHENTICATED, "the API token is unknown, expired or revoked")
        if found.last_used_at is None or now - found.last_used_at > TOUCH_EVERY:
            async with self._database.write() as conn:
                await tokens.touch(conn, token_id, now)
        return Caller(
            token_id=found.token_id,
            name=found.name,
            role=Role(found.role),
            address=request.remote or "",
            customer_id=found.customer_id,
        )

    async def _once(self, request: web.Request, route: Route, caller: Caller, key: str) -> web.Response:
        """Answer a repeated POST with the first one's answer."""
        if not _KEY.match(key):
            raise Trouble(Code.INVALID, "an Idempotency-Key is 1 to 200 visible ASCII characters")
        raw = await request.read()
        digest = hashlib.sha256(f"{request.method} {request.path_qs}\n".encode() + raw).hexdigest()
        # One transaction: a crash keeps both the work and the answer that a repetition gets, or neither; and of two
        # requests at once the second waits for the first one's answer.
        async with self._database.together() as conn:
            first = await idempotency.claim(
                conn, actor=caller.token_id, key=key, request_sha256=digest, now=self._now()
            )
            if first.request_sha256 != digest:
                raise Trouble(Code.IDEMPOTENCY_MISMATCH)
            if first.status is not None:
                return web.Response(
                    text=first.body,
                    status=first.status,
                    content_type=JSON,
                    headers={"Idempotency-Replayed": "true"},
                )
            answer = await route.handler(request, caller)
            body = _bytes(answer).decode()
            await idempotency.answer(conn, actor=caller.token_id, key=key, status=answer.status, body=body)
        return await _committed(answer)


async def _committed(answer: Answer) -> web.Response:
    """Do what comes after the commit, and make the response."""
    if answer.after is not None:
        await answer.after()
    response = web.Response(body=_bytes(answer), status=answer.status, headers=dict(answer.headers))
    response.content_type = answer.content_type
    if answer.content_type.startswith("text/"):
        response.charset = "utf-8"
    return response


def _bytes(answer: Answer) -> bytes:
    return answer.body if isinstance(answer.body, bytes) else msgspec.json.encode(answer.body)
