"""What changes right now, for whoever watches: a bounded queue for each, and never a wait for the slowest."""

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

LONGEST_QUEUE = 1_000
"""Changes kept for a subscriber; one that falls behind by more is told to read everything anew."""


class ChangeKind(StrEnum):
    """What a change is about; the name of the server-sent event."""

    PRESENCE = "presence"
    HEALTH = "health"
    EVENT = "event"
    RESYNC = "resync"


class Change(Struct, frozen=True, kw_only=True):
    """
    One change of one machine. `body`: what is new, as the API shows it.

    A `resync` names no machine: changes were lost, and what was read before counts no more. `number`: the feed gives
    it, one more for each change.
    """

    kind: ChangeKind
    at: datetime
    hardware_id: str = ""
    body: Any = None
    number: int = 0


class Subscription:
    """One subscriber's queue."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Change | None] = asyncio.Queue()

    def put(self, change: Change) -> None:
        """Add a change; where too many wait, all of them become one `resync`."""
        if self._queue.qsize() >= LONGEST_QUEUE:
            while not self._queue.empty():
                self._queue.get_nowait()
            change = Change(kind=ChangeKind.RESYNC, at=change.at, number=change.number)
        self._queue.put_nowait(change)

    def end(self) -> None:
        """Tell the subscriber that nothing more comes."""
        self._queue.put_nowait(None)

    async def next(self) -> Change | None:
        """Return the next change; None when the feed has ended."""
        return await self._queue.get()


class Feed:
    """
    Passes changes on to those who subscribed in this process. Only the event loop's thread touches it.

    `number`: the newest change's.
    """

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()
        self._ended = False
        self.number = 0

    @property
    def subscribers(self) -> int:
        """How many watch."""
        return len(self._subscriptions)

    def publish(self, change: Change) -> None:
        """Pass a change on; it costs nothing when nobody watches."""
        self.number += 1
        numbered = replace(change, number=self.number)
        for one in self._subscriptions:
            one.put(numbered)

    @contextlib.contextmanager
    def subscribed(self) -> Iterator[Subscription]:
        """Give a subscription for the length of a block; one that begins after the end ends at once."""
        one = Subscription()
        if self._ended:
            one.end()
        self._subscriptions.add(one)
        try:
            yield one
        finally:
            self._subscriptions.discard(one)

    def end(self) -> None:
        """End every subscription: an open stream would hold up the process's stop."""
        self._ended = True
        for one in self._subscriptions:
            one.end()
