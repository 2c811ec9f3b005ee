"""What a measuring server answers: four addresses, and problem documents for everything else."""

import contextlib
import io
import secrets
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import SplitResult, parse_qs, urlsplit

import msgspec
import structlog

from collector.bandwidth import tickets
from collector.bandwidth.register import HeldSlot
from collector.bandwidth.slots import Full
from collector.bandwidth.stream import Stream
from collector.bandwidth.witnessing import witnessed
from shared.bandwidth import (
    BODY_BYTES,
    DIRECTIONS,
    PROTOCOL,
    SLOTS,
    STREAMS,
    WITNESS,
    SeenRequest,
    Slot,
    SlotRequest,
)
from shared.codes import Code, Trouble
from shared.problems import CONTENT_TYPE, problem_of

if TYPE_CHECKING:
    from collector.bandwidth.worker import Worker

HEAD_BYTES = 64 * 1024
"""The standard server would keep 6 MB of headers for every stranger."""
HEAD_S = 10.0
"""For the TLS handshake, the request and the answer together."""
LAST_S = 5.0
"""How much longer than asked for a stream may stand before it is cut off."""
SETTLE_S = 3.0
"""How long the witness waits for streams to end."""
READ_OFF_S = 0.5
"""How long a peer may be silent before a refused request is closed."""

T = TypeVar("T")
log = structlog.get_logger()


def _split(target: str) -> SplitResult:
    try:
        return urlsplit(target)
    except ValueError as error:
        raise Trouble(Code.MALFORMED, "that is no address") from error


class Head:
    """A request as it is read: its lines before the body are HEAD_BYTES together at the most."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file
        self._left = HEAD_BYTES
        self.read = file.read
        self.close = file.close

    def readline(self, size: int = -1) -> bytes:
        """Read a line; raises `HTTPException` when they are too many, which the standard server answers."""
        line = self._file.readline(size)
        self._left -= len(line)
        if self._left < 0 and len(line) < size:
            raise HTTPException("too long a head")
        return line


class Handler(BaseHTTPRequestHandler):
    """One connection: one request, and then perhaps a stream."""

    protocol_version = "HTTP/1.1"
    server_version = "rackproof"
    sys_version = ""
    server: "Worker"

    def setup(self) -> None:
        """Prepare the connection; its TLS handshake is this thread's doing, not the accepting one's."""
        if self.server.tls is not None:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True, do_handshake_on_connect=False)
        self.request.settimeout(HEAD_S)
        self.server.watch(self.request, HEAD_S)
        super().setup()
        self.rfile = cast("io.BufferedReader", Head(self.rfile))

    def handle(self) -> None:
        """Serve; a peer that goes away or does not speak TLS is no news."""
        try:
            if self.server.tls is not None:
                self.request.do_handshake()
            self.handle_one_request()
        except OSError as error:
            self.server.count('refusals_total{code="connection_lost"}')
            log.debug("bandwidth.lost", peer=self.client_address[0], detail=str(error))

    def finish(self) -> None:
        """Close."""
        self.server.unwatch(self.request)
        try:
            super().finish()
        except OSError:
            return  # what could not be sent to a peer that is gone
        finally:
            # The server closes the socket it accepted, which TLS has taken over.
            self.request.close()

    def do_GET(self) -> None:
        """Answer what reads."""
        routes = {"/healthz": self._health, "/metrics": self._metrics, STREAMS: self._stream}
        self._route(routes)

    def do_POST(self) -> None:
        """Answer what changes something."""
        self._route({SLOTS: self._slot, WITNESS: self._witness})

    def _route(self, routes: dict[str, Callable[[], None]]) -> None:
        self.close_connection = True
        try:
            path = _split(self.path).path
            if path not in routes:
                raise Trouble(Code.NOT_FOUND, "no such address, or not for this method")
            routes[path]()
        except Trouble as trouble:
            self._refuse(trouble)
        except OSError:
            raise
        except Exception:
            log.exception("bandwidth.crashed", peer=self.client_address[0])
            self._refuse(Trouble(Code.INTERNAL))

    def _health(self) -> None:
        self.server.register.figures()
        self._answer(HTTPStatus.OK, b'{"status":"ok"}')

    def _metrics(self) -> None:
        figures, held, claimed = self.server.register.figures()
        figures |= {"slots": held, "claimed_bit_s": claimed, "capacity_bit_s": self.server.rules.capacity_bit_s}
        text = "".join(f"rackproof_bandwidth_{name} {value}\n" for name, value in sorted(figures.items()))
        self._answer(HTTPStatus.OK, text.encode(), "text/plain; version=0.0.4")

    def _slot(self) -> None:
        rules = self.server.rules
        request = self._body(SlotRequest)
        ticket = tickets.judge(request.ticket, rules.collector_key, rules.origins, datetime.now(UTC))
        token = secrets.token_urlsafe(32)
        self.server.register.admit(token, ticket, request, rules.capacity_bit_s, now_s=time.monotonic())
        self.server.count("slots_total")
        log.info("slot.admitted", hardware_id=ticket.hardware_id, ticket_id=ticket.ticket_id, seconds=request.seconds)
        public = self.server.key.public_key().public_bytes_raw()
        slot = Slot(token=token, capacity_bit_s=rules.capacity_bit_s, public_key=public)
        self._answer(HTTPStatus.CREATED, msgspec.json.encode(slot))

    def _stream(self) -> None:
        direction = parse_qs(_split(self.path).query).get("direction", [""])[0]
        if direction not in DIRECTIONS or self.headers.get("Upgrade", "") != PROTOCOL:
            raise Trouble(Code.INVALID, f"wanted: direction=down or up, Upgrade: {PROTOCOL}")
        slot = self._bearer()
        number = self.server.register.open_stream(slot, direction)
        self.send_response(HTTPStatus.SWITCHING_PROTOCOLS)
        self.send_header("Upgrade", PROTOCOL)
        self.send_header("Connection", "Upgrade")
        self.end_headers()
        # From here on only the watching thread sets limits: a timeout would cost a poll for every block.
        self.server.watch(self.request, HEAD_S + slot.seconds + LAST_S)
        self.request.settimeout(None)
        stream = Stream(number, direction, self.request)
        self.server.begin(stream)
        try:
            move = stream.send if direction == "down" else stream.receive
            move(slot.seconds + LAST_S / 2, slot.most_bytes)
        except OSError as error:
            # The usual end of a stream down: the machine has seen enough and closes.
            log.debug("stream.ended", direction=direction, detail=str(error))
        finally:
            self.server.end(stream)

    def _witness(self) -> None:
        request, slot, register = self._body(SeenRequest), self._bearer(), self.server.register
        ends_s = time.monotonic() + SETTLE_S
        while register.running(slot) and time.monotonic() < ends_s:
            time.sleep(0.05)
        capacity = self.server.rules.capacity_bit_s
        seen = witnessed(slot, register.finish(slot), request, capacity, self.server.key, datetime.now(UTC))
        log.info("slot.witnessed", ticket_id=slot.ticket_id, up_bit_s=seen.up.bit_s, down_bit_s=seen.down.bit_s)
        self._answer(HTTPStatus.OK, msgspec.json.encode(seen))

    def _bearer(self) -> HeldSlot:
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        if kind != "Bearer":
            raise Trouble(Code.UNAUTHENTICATED, "a slot's token is needed")
        return self.server.register.slot(token.strip(), time.monotonic())

    def _body(self, kind: type[T]) -> T:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and len(length) < 10):
            raise Trouble(Code.MALFORMED, "a body with its Content-Length is needed")
        if int(length) > BODY_BYTES:
            raise Trouble(Code.TOO_LARGE, f"{length} bytes, at most {BODY_BYTES}")
        try:
            return msgspec.json.decode(self.rfile.read(int(length)), type=kind)
        except (ValueError, RecursionError) as error:
            raise Trouble(Code.MALFORMED, str(error)[:200]) from error

    def _refuse(self, trouble: Trouble) -> None:
        self.server.count(f'refusals_total{{code="{trouble.code}"}}')
        log.info("request.refused", peer=self.client_address[0], code=trouble.code, detail=trouble.detail[:200])
        problem = problem_of(trouble)
        wait = {"Retry-After": str(trouble.wait_s)} if isinstance(trouble, Full) else {}
        self._answer(HTTPStatus(problem.status), msgspec.json.encode(problem), CONTENT_TYPE, wait)
        self._read_off()

    def _read_off(self) -> None:
        """Take in some of what the peer still sends: closing over unread bytes would take the answer away from it."""
        left = 4 * BODY_BYTES
        # Refused already, and counted as such: how it goes away is no second refusal.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.request, socket.SHUT_WR)
            self.request.settimeout(READ_OFF_S)
            while left > 0 and (got := self.request.recv(BODY_BYTES)):
                left -= len(got)

    def _answer(
        self, status: HTTPStatus, body: bytes, kind: str = "application/json", headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        told = {"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close", **(headers or {})}
        for name, value in {**told, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Refuse what the standard server cannot even parse, in our words."""
        self.close_connection = True
        known = {
            HTTPStatus.NOT_IMPLEMENTED: Code.METHOD_NOT_ALLOWED,
            HTTPStatus.REQUEST_URI_TOO_LONG: Code.TOO_LARGE,
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: Code.TOO_LARGE,
        }
        # A request line that was not understood leaves no version to answer in.
        self.request_version = "HTTP/1.1"
        self._refuse(Trouble(known.get(HTTPStatus(code), Code.MALFORMED), "that is no request of this server's"))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard server's name
        """Say nothing: every request has a line of its own where it matters."""
