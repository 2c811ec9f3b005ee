"""Keeping presence: beats in, transitions out to the ledger; the decisions are in `presence`."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from collector.feed import Change as Told
from collector.feed import ChangeKind, Feed
from collector.links.presence import GONE, Change, Presence, Watch, changes, status
from collector.store import commands, presence
from collector.store.engine import Database
from collector.store.presence import Transition
from shared.codes import Trouble

LOOK_EVERY_S = 2.0
"""How late a transition may be told, at the most."""

log = structlog.get_logger()


class Watching:
    """
    Every machine's presence, in memory, with its ledger in the database.

    Args:
        database: Where the ledger is.
        now: The collector's clock.
        feed: Told of every transition.
        silence_from: The command states that become "unknown" when a machine goes offline.
    """

    def __init__(
        self, database: Database, feed: Feed, now: Callable[[], datetime], silence_from: frozenset[str]
    ) -> None:
        self._database = database
        self._feed = feed
        self._now = now
        self._silence_from = silence_from
        self._watches: dict[str, Watch] = {}
        self._started_at = now()
        self._suspected_since: datetime | None = None
        self._look = asyncio.Event()

    async def load(self) -> None:
        """Read what the last process knew; from now on nobody's silence before this moment counts."""
        self._started_at = self._now()
        async with self._database.read() as conn:
            for row in await presence.all_live(conn):
                state = Presence(row.presence)
                # A process that ended between telling of a report and committing it left no time of receipt.
                heard = row.last_received_at or (row.presence_since if state is not Presence.NEVER else None)
                self.add(row.hardware_id, state, heard)

    def add(self, hardware_id: str, state: Presence = Presence.NEVER, heard_at: datetime | None = None) -> None:
        """Begin to watch a machine, unless it is watched already."""
        watch = Watch(hardware_id=hardware_id, presence=state, heard_at=heard_at, beats=0)
        self._watches.setdefault(hardware_id, watch)

    def heard(self, hardware_id: str) -> None:
        """Note that an authenticated report of this machine came in just now."""
        known = self._watches.get(hardware_id)
        state = known.presence if known else Presence.NEVER
        beats = known.beats + 1 if known else 1
        self._watches[hardware_id] = Watch(hardware_id=hardware_id, presence=state, heard_at=self._now(), beats=beats)
        if state is not Presence.ONLINE:
            self._look.set()

    def counts(self) -> dict[str, int]:
        """Return how many machines are in each state."""
        states = [one.presence for one in self._watches.values()]
        return {state.value: states.count(state) for state in Presence}

    @property
    def mass_silence(self) -> bool:
        """Whether so many machines fell silent together that this collector suspects itself."""
        return self._suspected_since is not None

    def snapshot(self, hardware_id: str) -> Watch | None:
        """Return what is known of one machine."""
        return self._watches.get(hardware_id)

    async def run(self) -> None:
        """Look at everybody every two seconds, and at once when a machine returns, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), LOOK_EVERY_S)
            self._look.clear()
            await self.look()

    async def look(self) -> None:
        """Tell every transition that is due; what cannot be written is told at the next look."""
        due, since = changes(self._watches.values(), self._now(), self._started_at, self._suspected_since)
        if since and not self._suspected_since:
            log.error(
                "presence.mass_silence",
                words="more than half of the fleet fell silent together; suspecting this collector",
            )
        self._suspected_since = since
        if not due:
            return
        try:
            await self._write(due)
        except Trouble as trouble:
            log.error("presence.not_recorded", code=trouble.code, detail=trouble.detail, transitions=len(due))
            return
        for change in due:
            self._apply(change)

    async def _write(self, due: Sequence[Change]) -> None:
        async with self._database.write() as conn:
            await presence.record(
                conn,
                [
                    Transition(
                        hardware_id=one.hardware_id,
                        at=one.at,
                        from_state=one.from_state,
                        to_state=one.to_state,
                        status=status(one.to_state),
                        cause=one.cause,
                    )
                    for one in due
                ],
            )
            for one in due:
                if one.to_state in GONE:
                    await commands.silence(conn, one.hardware_id, self._silence_from)

    def _apply(self, change: Change) -> None:
        watch = self._watches[change.hardware_id]
        beats = 0 if change.to_state in GONE else watch.beats
        self._watches[change.hardware_id] = Watch(
            hardware_id=watch.hardware_id, presence=change.to_state, heard_at=watch.heard_at, beats=beats
        )
        self._feed.publish(
            Told(kind=ChangeKind.PRESENCE, at=change.at, hardware_id=change.hardware_id, body=change),
        )
        log.info(
            "presence.changed",
            hardware_id=change.hardware_id,
            from_state=change.from_state,
            to_state=change.to_state,
            cause=change.cause,
        )
