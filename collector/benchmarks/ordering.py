"""Ordering benchmarks: with a fresh challenge, and a ticket to the measuring server; never at a tenant's cost."""

from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct

from collector.benchmarks.challenges import Mode, new_challenge
from collector.identifiers import new_id
from collector.orders import LIFETIME, Orders
from collector.store import benchmarks
from collector.store.commands import CommandRow
from collector.store.engine import Connection
from shared.codes import Code, Trouble
from shared.documents import BandwidthTicket, BenchmarkName, BenchmarkWork, MeasuringServer, sign
from shared.envelope import public_key

KEPT_FREE = timedelta(minutes=15)
"""A machine is not measured so shortly before a booking starts: the longest run takes less."""


class Measuring(Struct, frozen=True, kw_only=True):
    """The measuring server: its address, and the key that signs what it saw."""

    url: str
    public_key: bytes


def measuring(url: str, key: str) -> Measuring | None:
    """
    Return the measuring server of the settings, None when none is named.

    Args:
        url: Its address.
        key: Its Ed25519 public key, hex.

    Raises:
        Trouble: `bad_configuration` or `weak_key`.
    """
    if not url and not key:
        return None
    remedy = (
        "set both bandwidth_server and bandwidth_server_key; `rackproof bandwidth-server --show-key` prints the key"
    )
    if not url.startswith(("https://", "http://")) or not key:
        raise Trouble(Code.BAD_CONFIGURATION, f"bandwidth_server = {url!r} with key {key!r}", remedy)
    try:
        raw = bytes.fromhex(key)
    except ValueError as error:
        raise Trouble(Code.BAD_CONFIGURATION, "bandwidth_server_key is not hex", remedy) from error
    public_key(raw)
    return Measuring(url=url.rstrip("/"), public_key=raw)


class BenchmarkOrders:
    """
    Orders benchmarks.

    Args:
        orders: Signs and queues.
        key: The collector's link key, which signs tickets.
        now: The clock.
        mode: Whether machines are challenged.
        server: The measuring server; None when there is none.
    """

    def __init__(
        self,
        orders: Orders,
        key: Ed25519PrivateKey,
        now: Callable[[], datetime],
        mode: Mode,
        server: Measuring | None,
    ) -> None:
        self._orders = orders
        self._key = key
        self._now = now
        self._mode = mode
        self._server = server

    async def issue(
        self,
        conn: Connection,
        hardware_id: str,
        components: Collection[BenchmarkName],
        *,
        requested_by: str,
        quick: bool = False,
        lifetime: timedelta = LIFETIME,
    ) -> CommandRow:
        """
        Queue benchmarks in the caller's transaction.

        Raises:
            Trouble: `booked`: a tenant is on the machine, or soon will be; `not_found`: no such machine.
        """
        now = self._now()
        booking_id = await benchmarks.booked(conn, hardware_id, now + KEPT_FREE, now)
        if booking_id is not None:
            raise Trouble(Code.BOOKED, f"{hardware_id} is kept free for {booking_id}")
        server = None
        if self._server is not None and BenchmarkName.NETWORK in components:
            server = self._admitted(self._server, hardware_id, now, now + lifetime)
        work = BenchmarkWork(
            components=tuple(components),
            quick=quick,
            server=server,
            challenge=None if quick or self._mode is Mode.OFF else new_challenge(),
        )
        return await self._orders.issue(conn, hardware_id, work, requested_by=requested_by, lifetime=lifetime)

    def usual(self, *, has_gpu: bool) -> tuple[BenchmarkName, ...]:
        """Return what is measured when nobody says: all that this machine and this collector can."""
        there = {BenchmarkName.GPU: has_gpu, BenchmarkName.NETWORK: self._server is not None}
        return tuple(one for one in BenchmarkName if there.get(one, True))

    def _admitted(self, server: Measuring, hardware_id: str, now: datetime, until: datetime) -> MeasuringServer:
        ticket = BandwidthTicket(
            ticket_id=new_id("tkt", now), hardware_id=hardware_id, server=server.url, not_after=until
        )
        return MeasuringServer(url=server.url, ticket=sign(ticket, self._key))
