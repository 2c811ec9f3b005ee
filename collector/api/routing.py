"""What a route is: the one table from which requests are served, permissions checked and the OpenAPI document made."""

import difflib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar

import msgspec
from aiohttp import web
from msgspec import Struct

from shared.codes import Code, Trouble

B = TypeVar("B")
T = TypeVar("T")

JSON = "application/json"


class Role(StrEnum):
    """Who an API token speaks for. A provider's sees only what is his, and only where a route says so."""

    ADMIN = "admin"
    PLATFORM = "platform"
    AUDITOR = "auditor"
    PROVIDER = "provider"


READERS = frozenset({Role.ADMIN, Role.PLATFORM, Role.AUDITOR})
OWNERS = READERS | {Role.PROVIDER}
"""Those, and a provider for what is his: the door sees to that of one machine, the handler of the rest."""
OF_A_MACHINE = "/v1/machines/{key}/"
"""How the path of a route of one machine begins."""
WRITERS = frozenset({Role.ADMIN, Role.PLATFORM})
ADMINS = frozenset({Role.ADMIN})


@dataclass(frozen=True, kw_only=True)
class Caller:
    """
    Who asks: the token's id and name, its role, and the address it is used from.

    `customer_id`: whose machines a provider sees; None for everybody's.
    """

    token_id: str
    name: str
    role: Role
    address: str = ""
    customer_id: str | None = None


ANYBODY = Caller(token_id="", name="anonymous", role=Role.AUDITOR)
"""Stands for who calls a route that needs no token."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """
    A handler's answer: a Struct or plain values as JSON, or bytes as they are.

    `after`: what is done once everything the handler wrote is committed. `stream`: gives the response itself, for an
    answer that goes on; then the rest is not used.
    """

    body: Any
    status: int = 200
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    after: Callable[[], Awaitable[None]] | None = None
    stream: Callable[[], Awaitable[web.StreamResponse]] | None = None


class Page(Struct, Generic[T], frozen=True, kw_only=True):
    """One page of a list. `next`: the cursor of the page after, null on the last one."""

    items: tuple[T, ...]
    next: str | None


Handler = Callable[[web.Request, Caller], Awaitable[Answer]]


@dataclass(frozen=True, kw_only=True)
class Route:
    """
    One operation of the API.

    Attributes:
        method: "GET", "POST" or "PUT".
        path: As aiohttp takes it, "/v1/machines/{key}".
        handler: Does it.
        summary: One sentence for the documentation.
        roles: Who may; None for anybody, without a token.
        body: The type of the request's JSON body, if it has one.
        answers: The type of the answer's body.
        query: Names and meanings of query parameters.
        success: The status of success.
        content_type: Of the answer's body.
        secret: Whether the answer holds a secret; then it is never kept for a repeated request.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    roles: frozenset[Role] | None = READERS
    body: Any = None
    answers: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    success: int = 200
    content_type: str = JSON
    secret: bool = False

    @property
    def keyed(self) -> bool:
        """Whether a repeat with the same Idempotency-Key gets the first answer again."""
        return self.method == "POST" and self.roles is not None and not self.secret


async def body_of(request: web.Request, kind: type[B]) -> B:
    """
    Read a JSON body.

    Raises:
        Trouble: `invalid`, with the place of the fault ("$.email"); `malformed` when it is not JSON.
    """
    raw = await request.read()
    try:
        body = msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise Trouble(Code.INVALID, str(error)[:300]) from error
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Trouble(Code.MALFORMED, str(error)[:300]) from error
    known = getattr(kind, "__struct_fields__", None)
    if known is not None:
        _refuse_unknown(msgspec.json.decode(raw), known)
    return body


def _refuse_unknown(plain: dict[str, Any], known: tuple[str, ...]) -> None:
    """A misspelt optional field would otherwise be dropped in silence and its default stored."""
    for name in plain:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise Trouble(Code.INVALID, f"$.{name[:60]} is not known", hint)


def whole(request: web.Request, name: str, usual: int, most: int) -> int:
    """
    Return a whole number of the query, 1 to `most`.

    Raises:
        Trouble: `invalid`.
    """
    text = request.query.get(name, str(usual))
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= most):
        raise Trouble(Code.INVALID, f"{name} is a whole number from 1 to {most}")
    return int(text)


def truth(request: web.Request, name: str) -> bool:
    """
    Return whether the query says "true"; "false" where it says nothing.

    Raises:
        Trouble: `invalid`.
    """
    text = request.query.get(name, "false")
    if text not in {"true", "false"}:
        raise Trouble(Code.INVALID, f"{name} is true or false")
    return text == "true"
