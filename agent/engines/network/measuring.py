"""A measurement against the platform's server, from the ticket to the witness."""

import socket
import ssl
import time
from collections.abc import Callable, Sequence

from msgspec import Struct

from agent.engines.network.interface import link_bit_s
from agent.engines.network.moving import Stream, move
from agent.engines.network.planning import Plan, plan
from agent.engines.network.wire import Busy, Server
from shared.bandwidth import SLOTS, WITNESS, Seen, SeenRequest, Slot, SlotRequest, Way, way
from shared.codes import Code, Trouble
from shared.documents import BandwidthTicket, BandwidthWitness, MeasuringServer, open_signed, read

LEAST_SLICES = 4
"""Fewer are left where a link is much faster than was thought and the budget ends a direction."""
MOST_WAIT_S = 50
"""How long a full server is waited for, once: a slot for a full run that has just begun is held for 45 s at most."""
MORE_THAN_SENT, MORE_THAN_LINK = 1.25, 1.05
"""What a server may claim, of the best slice that was sent and of its own link, before it is not believed."""

Progress = Callable[[str, int, int], None]


class Socket(Struct, frozen=True, kw_only=True):
    """What carried the streams: no address, only its kind."""

    family: str
    congestion_control: str
    tls: str | None
    cipher: str | None


class Measured(Struct, frozen=True, kw_only=True):
    """
    What both ends saw.

    `down`: as this machine received it. `sent_up`: as this machine sent it, with its kernel's account. `seen`: by the
    server: up as it received it, down with its kernel's account.
    """

    plan: Plan
    link_bit_s: int | None
    capacity_bit_s: int
    down: Way
    sent_up: Way
    seen: Seen
    socket: Socket | None
    moved_bytes: int


class Measurement:
    """
    One measurement; `moved_bytes` tells at any time what it has cost.

    Args:
        server: Where, and the ticket for it.
        ca_file: A private certificate authority; empty for the system's.
        progress: Told how far it is.
    """

    def __init__(self, server: MeasuringServer, ca_file: str, progress: Progress) -> None:
        self.moved_bytes = 0
        self._ticket = server.ticket
        self._server = Server(server.url, ca_file)
        self._progress = progress
        self._socket: Socket | None = None

    def measure(self, *, quick: bool, budget_bytes: int | None) -> Measured:
        """
        Measure down, then up.

        Raises:
            Trouble: `no_server`, `over_budget`, `benchmark_failed`; `malformed`: the ticket is none.
        """
        ticket_id = read(self._ticket.payload, BandwidthTicket).ticket_id
        link = link_bit_s(self._server.host, self._server.port)
        planned = plan(quick=quick, link_bit_s=link, budget_bytes=budget_bytes)
        request = SlotRequest(
            ticket=self._ticket, seconds=planned.seconds, link_bit_s=link, most_bytes=planned.most_bytes
        )
        slot = self._admitted(request)
        down = self._direction("down", slot, planned)
        up = self._direction("up", slot, planned)
        received, sent = _way(down, planned), _way(up, planned)
        seen = self._server.ask(WITNESS, SeenRequest(up=sent.sending, down_unread=received.unread), Seen, slot.token)
        believed(seen, slot, ticket_id, sent)
        return Measured(
            plan=planned,
            link_bit_s=link,
            capacity_bit_s=slot.capacity_bit_s,
            down=received,
            sent_up=sent,
            seen=seen,
            socket=self._socket,
            moved_bytes=self.moved_bytes,
        )

    def _admitted(self, request: SlotRequest) -> Slot:
        try:
            return self._server.ask(SLOTS, request, Slot)
        except Busy as busy:
            if not 0 < busy.wait_s <= MOST_WAIT_S:
                raise
            self._progress("waiting for a slot", 0, 1)
            time.sleep(busy.wait_s)
            return self._server.ask(SLOTS, request, Slot)

    def _direction(self, direction: str, slot: Slot, planned: Plan) -> list[Stream]:
        before = self.moved_bytes

        def seen(passed_s: float, streams: Sequence[Stream]) -> None:
            self.moved_bytes = before + sum(one.moved for one in streams)
            self._progress(
                direction, min(round(passed_s * 10), round(planned.seconds * 10)), round(planned.seconds * 10)
            )

        def connect() -> socket.socket:
            sock = self._server.open_stream(direction, slot.token)
            self._socket = _told(sock)
            return sock

        return move(connect, direction, planned, seen)


def _way(streams: Sequence[Stream], planned: Plan) -> Way:
    found = way([one.series for one in streams], planned.seconds)
    if found is None or found.slices < LEAST_SLICES:
        raise Trouble(Code.OVER_BUDGET, "the data left this month were moved before anything could be measured")
    return found


def believed(seen: Seen, slot: Slot, ticket_id: str, sent: Way) -> None:
    """
    Pass if what a server says can be true, and its signature is under the same.

    Raises:
        Trouble: `benchmark_failed`, `bad_signature`, `wrong_document` or `malformed`.
    """
    if seen.up.bit_s > min(slot.capacity_bit_s * MORE_THAN_LINK, sent.most_bit_s * MORE_THAN_SENT):
        words = f"the server says {seen.up.bit_s / 1e9:.2f} Gbit/s arrived, more than was sent or than its link carries"
        raise Trouble(Code.BENCHMARK_FAILED, words)
    if seen.witness is None:
        return
    witness = open_signed(seen.witness, BandwidthWitness, slot.public_key)
    if (witness.ticket_id, witness.up_bit_s, witness.down_bit_s) != (ticket_id, seen.up.bit_s, seen.down.bit_s):
        raise Trouble(Code.BENCHMARK_FAILED, "the server's witness is not about this measurement")


def _told(sock: socket.socket) -> Socket:
    cipher = sock.cipher() if isinstance(sock, ssl.SSLSocket) else None
    return Socket(
        family="ipv6" if sock.family == socket.AF_INET6 else "ipv4",
        congestion_control=sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode(),
        tls=sock.version() if isinstance(sock, ssl.SSLSocket) else None,
        cipher=cipher[0] if cipher else None,
    )
