"""The link to the collector: the only module that opens a socket to it while the agent runs."""

import asyncio
import random
import ssl
from collections.abc import Callable
from pathlib import Path

import aiohttp
import structlog

from agent.backoff import wait_s
from agent.conversation import Conversation, Ends, Mail
from agent.path import NetworkPath
from shared.codes import Code, Trouble
from shared.messages import MAX_MESSAGE_BYTES, SUBPROTOCOL

CONNECT_S = 15.0
"""For the connection and TLS."""
PING_S = 20.0
"""A dead path is noticed after one and a half of these, well inside the 45 s after which a machine counts as stale."""

log = structlog.get_logger()


class Link:
    """
    One connection after another, for as long as the agent runs.

    Args:
        ends: What the link connects.
        mail: What wants to be sent.
        tls: How the collector's certificate is checked; None for the system's authorities.
        on_state: Takes the link's state in words: "online", or why not.
        path: Looks at the open connection.
    """

    def __init__(
        self, ends: Ends, mail: Mail, tls: ssl.SSLContext | None, on_state: Callable[[str], None], path: NetworkPath
    ) -> None:
        self._ends = ends
        self._mail = mail
        self._tls = tls
        self._on_state = on_state
        self._path = path

    async def run(self) -> None:
        """Connect, talk, wait, and again; ends only by cancellation."""
        failures = 0
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(sock_connect=CONNECT_S)) as http:
            while True:
                self._mail.passing.clear()
                asked_s, joined, trouble = await self._connection(http)
                failures = 1 if joined else failures + 1
                pause = wait_s(failures, random.random(), asked_s)  # noqa: S311 - spreads load, guards nothing
                self._on_state(f"{trouble.code}: {trouble.detail}")
                log.warning("link.down", code=trouble.code, detail=trouble.detail, retry_in_s=round(pause, 1))
                await asyncio.sleep(pause)

    async def _connection(self, http: aiohttp.ClientSession) -> tuple[float, bool, Trouble]:
        """Use one connection to its end; return the wait asked for, whether it ever joined, and why it ended."""
        talk = Conversation(self._ends, self._mail, lambda: self._on_state("online"))
        try:
            async with (
                asyncio.timeout(None) as limit,
                http.ws_connect(
                    link_url(self._ends.machine().origin),
                    protocols=(SUBPROTOCOL,),
                    max_msg_size=MAX_MESSAGE_BYTES,
                    heartbeat=PING_S,
                    compress=0,
                    ssl=self._tls if self._tls is not None else True,
                ) as socket,
            ):
                with self._path.over(socket.get_extra_info("socket")):
                    await talk.through(socket, limit)
        except aiohttp.WSServerHandshakeError as error:
            trouble = Trouble(Code.COLLECTOR_UNREACHABLE, f"HTTP {error.status} {error.message}"[:200])
            return (
                retry_after_s(error.headers.get("Retry-After", "") if error.headers is not None else ""),
                False,
                trouble,
            )
        except Trouble as trouble:
            return talk.asked_s, talk.joined, trouble
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            words = f"{type(error).__name__}: {error}"[:200]
            return talk.asked_s, talk.joined, Trouble(Code.COLLECTOR_UNREACHABLE, words)
        return talk.asked_s, talk.joined, talk.ended


def link_url(origin: str) -> str:
    """Return the link's address below a collector's origin ("https://host[:port]")."""
    return f"{origin.rstrip('/')}/v1/agent/link"


def retry_after_s(header: str) -> float:
    """Return the seconds of a Retry-After header, bounded to an hour; 0 where it has none. Source: RFC 9110 10.2.3."""
    return min(float(header), 3600.0) if header.isascii() and header.isdigit() else 0.0


def tls_context(ca_file: str) -> ssl.SSLContext | None:
    """
    Return how certificates are checked: by a private authority's file, or None for the system's authorities.

    Raises:
        Trouble: `bad_configuration`.
    """
    if not ca_file:
        return None
    try:
        return ssl.create_default_context(cafile=str(Path(ca_file)))
    except (OSError, ssl.SSLError) as error:
        raise Trouble(Code.BAD_CONFIGURATION, f"ca_file {ca_file}: {error}") from error
