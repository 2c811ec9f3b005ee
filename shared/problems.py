"""Problem documents: how HTTP answers say what went wrong."""

from http import HTTPStatus

from msgspec import Struct

from shared.codes import MEANING, Code, Trouble

CONTENT_TYPE = "application/problem+json"
"""Source: RFC 9457 section 3."""


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    One problem. `code` is the stable name, `title` its meaning, `detail` this occurrence, `request_id` for the log.

    Source: RFC 9457.
    """

    type: str
    title: str
    status: int
    code: str
    detail: str = ""
    remedy: str = ""
    request_id: str = ""


_STATUS: dict[Code, HTTPStatus] = {
    Code.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Code.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    Code.TOKEN_UNKNOWN: HTTPStatus.FORBIDDEN,
    Code.TOKEN_EXPIRED: HTTPStatus.FORBIDDEN,
    Code.TOKEN_USED: HTTPStatus.FORBIDDEN,
    Code.TOKEN_FOREIGN: HTTPStatus.FORBIDDEN,
    Code.TICKET_REFUSED: HTTPStatus.FORBIDDEN,
    Code.FORBIDDEN: HTTPStatus.FORBIDDEN,
    Code.REVOKED: HTTPStatus.FORBIDDEN,
    Code.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.METHOD_NOT_ALLOWED: HTTPStatus.METHOD_NOT_ALLOWED,
    Code.CONFLICT: HTTPStatus.CONFLICT,
    Code.IDENTITY_CONFLICT: HTTPStatus.CONFLICT,
    Code.ALREADY_ENROLLED: HTTPStatus.CONFLICT,
    Code.UNKNOWN_ACCOUNT: HTTPStatus.CONFLICT,
    Code.IDEMPOTENCY_MISMATCH: HTTPStatus.CONFLICT,
    Code.REFERENCE_MISSING: HTTPStatus.CONFLICT,
    Code.BUSY: HTTPStatus.CONFLICT,
    Code.BOOKED: HTTPStatus.CONFLICT,
    Code.SLOW_DOWN: HTTPStatus.TOO_MANY_REQUESTS,
    Code.STORE_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.DATABASE_LOCKED: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.DATABASE_UNREACHABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}


def problem_of(trouble: Trouble, request_id: str = "") -> Problem:
    """Return the problem document of some trouble; 400 where no other status fits better."""
    return Problem(
        type=f"urn:rackproof:problem:{trouble.code}",
        title=MEANING[trouble.code],
        status=_STATUS.get(trouble.code, HTTPStatus.BAD_REQUEST),
        code=trouble.code,
        detail=trouble.detail,
        remedy=trouble.remedy,
        request_id=request_id,
    )


def trouble_of(problem: Problem) -> Trouble:
    """Return the trouble behind a problem document; a code that this version does not know becomes `internal`."""
    try:
        code = Code(problem.code)
    except ValueError:
        return Trouble(Code.INTERNAL, f"{problem.code}: {problem.detail or problem.title}")
    return Trouble(code, problem.detail, problem.remedy)
