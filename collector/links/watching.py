"""Keeping presence: beats in, transitions out to the ledger; the decisions are in `transitions`."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime

import structlog
from msgspec.structs import replace

from collector.feed import Change as Told
from collector.feed import ChangeKind, Feed
from collector.links import skew
from collector.links.presence import (
    GONE,
    STALE_AFTER,
    Cause,
    Change,
    Ending,
    Outlook,
    Presence,
    Watch,
    status,
)
from collector.links.transitions import after, hear, look, rewound
from collector.links.uptime import ALIVE_EVERY
from collector.store import commands, presence, runs
from collector.store.engine import Database
from collector.store.presence import LedgerEntry, LiveRow, Transition
from shared.codes import Trouble

LOOK_EVERY_S = 2.0
"""How late a transition may be told, at the most."""
AWAY_AFTER = STALE_AFTER
"""A process that did not look for so long was away itself: stopped, or its machine asleep."""
SKEW_STEP_MS = 250
"""A clock's skew is written down again when it has changed by this much."""

log = structlog.get_logger()


class Watching:
    """
    Every machine's presence, in memory, with its ledger in the database.

    What a moment changes is changed in memory at once and written at the next look; what cannot be written waits.

    Args:
        database: Where the ledger is.
        feed: Told of every transition, once it is written.
        now: The collector's clock.
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
        self._incarnations: dict[str, tuple[str, str]] = {}
        self._clocks: dict[str, skew.Clock] = {}
        self._skews_ms: dict[str, int | None] = {}
        self._untold: list[Change] = []
        self._outlook = Outlook(listening_since=now())
        self._looked_at = now()
        self._alive_at = now()
        self._run_id = 0
        self._slept: tuple[datetime, datetime] | None = None
        self._wake = asyncio.Event()

    async def load(self) -> None:
        """Read what the last process knew; from now on nobody's silence before this moment counts."""
        self._away(self._now())
        self._looked_at = self._alive_at = self._now()
        async with self._database.write() as conn:
            self._run_id = await runs.begin(conn, self._now())
            outages = await presence.outages(conn)
            for row in await presence.all_live(conn):
                self._incarnations[row.hardware_id] = (row.boot_id or "", row.run_id or "")
                self._skews_ms[row.hardware_id] = row.clock_skew_ms
                self._watches[row.hardware_id] = _watch(row, outages.get(row.hardware_id))

    def add(self, hardware_id: str) -> None:
        """Begin to watch a machine, unless it is watched already."""
        self._watches.setdefault(hardware_id, Watch(hardware_id=hardware_id))

    def joined(self, hardware_id: str, boot_id: str, run_id: str, clock: skew.Clock) -> None:
        """Note that a machine has proven who it is: in which boot, as which process, by which clock."""
        self.add(hardware_id)
        boot_before, run_before = self._incarnations.get(hardware_id, ("", ""))
        self._incarnations[hardware_id] = (boot_id, run_id)
        self._clocks[hardware_id] = clock
        self._skews_ms[hardware_id] = clock.ahead_ms
        watch = self._watches[hardware_id]
        if watch.heard_at is None:
            return
        if boot_before and boot_id != boot_before:
            self._watches[hardware_id] = replace(watch, came=Cause.REBOOTED)
        elif run_before and run_id and run_id != run_before:
            self._watches[hardware_id] = replace(watch, came=watch.came or Cause.AGENT_RESTARTED)

    def heard(self, hardware_id: str, collected_at: datetime, age_s: float | None) -> None:
        """
        Note that an authenticated report of this machine came in just now.

        Args:
            hardware_id: Whose.
            collected_at: When it was made by the machine's clock, which is trusted for nothing.
            age_s: How long it was kept before it was sent; None for another boot's, which says nothing of the clock.
        """
        now = self._now()
        if now - self._looked_at >= AWAY_AFTER:
            self._away(now)
        self.add(hardware_id)
        watch = self._watches[hardware_id]
        self._watches[hardware_id], told = hear(watch, now, self._outlook)
        if told:
            self._tell(told)
        if age_s is not None:
            self._clocks[hardware_id] = skew.reported(self._clocks.get(hardware_id), now, collected_at, age_s)

    def ended(self, hardware_id: str, cause: Cause, words: str) -> None:
        """Note what was seen of a link's end; a goodbye is not taken back by the close that follows it."""
        watch = self._watches.get(hardware_id)
        if watch is None or (watch.ending is not None and cause is Cause.LINK_CLOSED):
            return
        self._watches[hardware_id] = replace(watch, ending=Ending(cause=cause, at=self._now(), words=words))
        if cause is Cause.REVOKED:
            self._wake.set()

    def counts(self) -> dict[str, int]:
        """Return how many machines are in each state."""
        states = [one.presence for one in self._watches.values()]
        return {state.value: states.count(state) for state in Presence}

    def ahead_s(self, hardware_id: str) -> float:
        """Return by how many seconds a machine's clock is ahead; 0 where nothing is known of it."""
        clock = self._clocks.get(hardware_id)
        return (clock.ahead_ms if clock is not None else self._skews_ms.get(hardware_id) or 0) / 1000

    @property
    def mass_silence(self) -> bool:
        """Whether so many machines fell silent together that this collector suspects itself."""
        return self._outlook.held

    def snapshot(self, hardware_id: str) -> Watch | None:
        """Return what is known of one machine."""
        return self._watches.get(hardware_id)

    async def run(self) -> None:
        """Look at everybody every two seconds, and at once when a machine returns, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), LOOK_EVERY_S)
            self._wake.clear()
            await self.look()

    async def look(self) -> None:
        """Find every transition that is due, and write what is to be told; what cannot be written waits."""
        now = self._now()
        if now < self._looked_at:
            self._set_back(now)
        if now - self._looked_at >= AWAY_AFTER:
            self._slept = (self._slept[0] if self._slept else self._looked_at, now)
            self._away(now)
        self._looked_at = now
        due, outlook = look(self._watches.values(), now, self._outlook)
        if outlook.held and not self._outlook.held:
            words = "more than half of the fleet fell silent together; suspecting this collector"
            log.error("presence.mass_silence", words=words)
        self._outlook = outlook
        for change in due:
            self._watches[change.hardware_id] = after(self._watches[change.hardware_id], change)
        self._untold += due
        try:
            await self._write(now)
        except Trouble as trouble:
            log.error("presence.not_recorded", code=trouble.code, detail=trouble.detail, waiting=len(self._untold))

    async def end(self) -> None:
        """Write what waits, and that from now on nobody listens here."""
        now = self._now()
        try:
            await self._write(now)
            async with self._database.write() as conn:
                await runs.end(conn, self._run_id, now)
        except Trouble as trouble:
            log.error("presence.not_recorded", code=trouble.code, detail=trouble.detail, waiting=len(self._untold))

    def _away(self, now: datetime) -> None:
        """This process did not listen until now: nobody's silence before this moment counts."""
        if self._outlook.listening_since < now:
            self._outlook = replace(self._outlook, listening_since=now)

    def _set_back(self, now: datetime) -> None:
        """Go on after the clock was set back, by which nobody may seem to be heard until it has caught up."""
        log.warning("presence.clock_set_back", by_s=round((self._looked_at - now).total_seconds(), 3))
        self._watches = {one: rewound(watch, now) for one, watch in self._watches.items()}
        # A suspicion that would end in an hour of the new time begins anew, if there is cause for it.
        self._outlook = Outlook(listening_since=min(self._outlook.listening_since, now))
        self._looked_at = self._alive_at = now

    def _tell(self, told: Sequence[Change]) -> None:
        self._untold += told
        self._wake.set()

    async def _write(self, now: datetime) -> None:
        due, slept = list(self._untold), self._slept
        alive, run_id = now - self._alive_at >= ALIVE_EVERY, self._run_id
        skews = self._changed_skews() if alive else []
        if not (due or alive or slept):
            return
        async with self._database.write() as conn:
            if slept is not None:
                await runs.end(conn, run_id, slept[0])
                run_id = await runs.begin(conn, slept[1])
            await runs.alive(conn, run_id, now)
            await presence.write_skews(conn, skews)
            await presence.record(conn, [_transition(one) for one in due])
            for one in due:
                if one.to_state in GONE:
                    await commands.silence(conn, one.hardware_id, self._silence_from)
        self._alive_at, self._run_id, self._slept = now, run_id, None
        self._skews_ms.update(skews)
        del self._untold[: len(due)]
        for change in due:
            self._publish(change)

    def _changed_skews(self) -> list[tuple[str, int]]:
        found = []
        for hardware_id, clock in self._clocks.items():
            known_ms = self._skews_ms.get(hardware_id)
            if known_ms is None or abs(clock.ahead_ms - known_ms) >= SKEW_STEP_MS:
                found.append((hardware_id, clock.ahead_ms))
        return found

    def _publish(self, change: Change) -> None:
        told = Told(kind=ChangeKind.PRESENCE, at=change.told_at, hardware_id=change.hardware_id, body=change)
        self._feed.publish(told)
        log.info(
            "presence.changed",
            hardware_id=change.hardware_id,
            from_state=change.from_state,
            to_state=change.to_state,
            cause=change.cause,
            words=change.words,
        )


def _watch(row: LiveRow, outage: LedgerEntry | None) -> Watch:
    """Go on with what the last process knew of a machine; `outage` is its newest entry where it is silent."""
    state = Presence(row.presence)
    entered, ending = state, None
    if state is Presence.STALE:
        entered = Presence.STALE if outage is not None and outage.to_state == Presence.STALE else Presence.ONLINE
    elif outage is not None:
        ending = Ending(cause=Cause(outage.cause), at=outage.at, words=outage.words.partition(";")[0])
    return Watch(
        hardware_id=row.hardware_id,
        presence=state,
        entered=entered,
        since=row.presence_since,
        # A process that ended between telling of a report and committing it left no time of receipt.
        heard_at=row.last_received_at or (row.presence_since if state is not Presence.NEVER else None),
        ending=ending,
    )


def _transition(change: Change) -> Transition:
    return Transition(
        hardware_id=change.hardware_id,
        at=change.at,
        told_at=change.told_at,
        from_state=change.from_state,
        to_state=change.to_state,
        status=status(change.to_state),
        cause=change.cause,
        words=change.words[:500],
        entered=change.entered,
    )
