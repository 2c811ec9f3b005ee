"""The agents' WebSockets: who is connected to this process, and the doors in and out."""

import asyncio

from aiohttp import web

from collector.links.peer import Peer
from collector.links.rooms import Rooms
from shared.codes import Code, Trouble
from shared.messages import MAX_MESSAGE_BYTES, SUBPROTOCOL
from shared.session import CloseCode


class Gateway:
    """
    All open links of this process.

    Args:
        rooms: What each of them needs, and where they count.
    """

    def __init__(self, rooms: Rooms) -> None:
        self.rooms = rooms
        self._peers: dict[str, Peer] = {}
        self._stopping = False

    @property
    def open_links(self) -> int:
        """How many machines are connected to this process."""
        return len(self._peers)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one WebSocket of an agent, from the challenge to the close."""
        if self._stopping:
            raise web.HTTPServiceUnavailable(headers={"Retry-After": "5"})
        socket = web.WebSocketResponse(
            protocols=(SUBPROTOCOL,), max_msg_size=MAX_MESSAGE_BYTES, compress=False, heartbeat=None, timeout=1.0
        )
        await socket.prepare(request)
        if socket.ws_protocol != SUBPROTOCOL:
            await socket.close(code=CloseCode.UPGRADE, message=b"subprotocol rackproof.v1 is needed")
            return socket
        peer = Peer(self.rooms, socket, request.remote or "")
        try:
            await peer.serve(self._enter)
        finally:
            if self._peers.get(peer.hardware_id) is peer:
                del self._peers[peer.hardware_id]
        return socket

    def ring(self, hardware_id: str) -> None:
        """Say that a command waits for this machine; nothing happens when it is not connected here."""
        if (peer := self._peers.get(hardware_id)) is not None:
            peer.ring()

    async def revoke(self, hardware_id: str) -> None:
        """Close a machine's link because its keys no longer count."""
        if (peer := self._peers.get(hardware_id)) is not None:
            await peer.close(CloseCode.REVOKED, Trouble(Code.REVOKED))

    async def stop(self) -> None:
        """Say goodbye on every link and close it; each agent is told another moment to come back."""
        self._stopping = True
        await asyncio.gather(*(peer.goodbye("the collector stops") for peer in list(self._peers.values())))

    async def _enter(self, peer: Peer) -> None:
        older = self._peers.get(peer.hardware_id)
        self._peers[peer.hardware_id] = peer
        if older is not None:
            # The newer one has just proven the key and the counter; the older is a dead path, or a copy.
            await older.close(CloseCode.DUPLICATE, Trouble(Code.DUPLICATE))
