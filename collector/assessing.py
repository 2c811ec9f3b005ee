"""Judging machines as their reports come in: the decisions are in `verdict`, their memory and their ledger here."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

import msgspec
import structlog

from collector.feed import Change, ChangeKind, Feed
from collector.store import verdicts
from collector.store.engine import AWAY, Database
from collector.store.health import Report
from collector.store.verdicts import EventRow
from collector.verdict import Event, HealthState, HealthVerdict
from collector.verdict.conclusion import restored, verdict
from collector.verdict.facts import changes
from collector.verdict.judging import judge, rebase, silence, tell
from collector.verdict.memory import Memory
from shared.codes import Trouble
from shared.messages import Facts, Indicators

JUDGE_EVERY = timedelta(seconds=25)
"""A machine's reports are judged this often: every second one of a heartbeat of 15 s. Judging costs as much as taking a
report in, and a fault that comes and goes within half a minute shows in counts and shares, which miss nothing."""
WRITE_EVERY_S = 1.0
LOOK_EVERY_S = 5.0
"""How late it may be told that a machine is offline; presence itself is told sooner."""
WORDS_EVERY = timedelta(minutes=10)
"""How old the words of a reason may be that goes on, such as how full a disk is."""
LARGEST_GROUP = 500
MOST_WAITING = 20_000
"""Events that wait for a database that is away; past it nothing is judged, and what stays so is judged later."""

log = structlog.get_logger()


class Assessing:
    """
    Every machine's verdict.

    Args:
        database: Where verdicts and events are kept.
        feed: Told of every change.
        now: The collector's clock.
        gone: Whether a machine is offline, by presence.
        ahead_s: By how many seconds a machine's clock is ahead, by presence.
    """

    def __init__(
        self,
        database: Database,
        feed: Feed,
        now: Callable[[], datetime],
        gone: Callable[[str], bool],
        ahead_s: Callable[[str], float],
    ) -> None:
        self._database = database
        self._feed = feed
        self._now = now
        self._gone = gone
        self._ahead_s = ahead_s
        self._machines: dict[str, Memory] = {}
        self._events: list[Event] = []
        self._changed: set[str] = set()
        self._worded: dict[str, datetime] = {}
        self._flushing = asyncio.Lock()

    async def load(self) -> None:
        """Read what the last process told, and what it had counted: neither is told again."""
        async with self._database.read() as conn:
            async for kept in verdicts.kept(conn):
                memory = restored(kept.verdict)
                self._machines[memory.hardware_id] = memory
                try:
                    rebase(memory, msgspec.convert(kept.indicators or {}, Indicators), kept.boot_id)
                except msgspec.ValidationError as error:
                    # A report of another version's form: counts are taken as known from the next one on.
                    log.warning("report.not_read", hardware_id=memory.hardware_id, detail=str(error))

    def counts(self) -> dict[str, int]:
        """Return how many machines are in each state."""
        states = [one.state for one in self._machines.values()]
        return {state.value: states.count(state) for state in HealthState}

    def changed(self, hardware_id: str, before: Facts, facts: Facts) -> None:
        """Take what a machine says it is; another hardware than before is told."""
        said = changes(before, facts)
        if said:
            self._take_in(hardware_id, tell(self._memory(hardware_id), "hardware_changed", said, self._now()))

    def take(self, report: Report, indicators: Indicators) -> None:
        """Take a report that is about to be committed; judge it unless the machine's last one is recent."""
        memory = self._memory(report.hardware_id)
        at, judged_at = report.at, memory.judged_at
        # A clock that went back by more than that is a new beginning.
        if -JUDGE_EVERY.total_seconds() < at.timestamp() - judged_at < JUDGE_EVERY.total_seconds():
            return
        if len(self._events) >= MOST_WAITING or at.timestamp() < judged_at <= report.received_at.timestamp():
            return
        expected = memory.gpus_expected
        events = judge(memory, indicators, at, report.boot_id, self._ahead_s(report.hardware_id))
        self._take_in(report.hardware_id, events)
        if memory.gpus_expected != expected or (memory.standings and self._stale(report.hardware_id, at)):
            self._changed.add(report.hardware_id)

    def expect_gpus(self, hardware_id: str, count: int) -> None:
        """Take an admin's word for how many GPUs a machine has; it is kept with the next verdict."""
        memory = self._memory(hardware_id)
        memory.gpus_expected, memory.gpus_more = count, None
        self._changed.add(hardware_id)

    async def run(self, write_every_s: float = WRITE_EVERY_S, look_every_s: float = LOOK_EVERY_S) -> None:
        """Write what changed, and look who is offline, until cancelled."""
        looked = 0.0
        while True:
            await asyncio.sleep(write_every_s)
            looked += write_every_s
            if looked >= look_every_s:
                looked = 0.0
                self.look()
            try:
                await self.flush()
            except Trouble as trouble:
                log.error("verdicts.not_kept", code=trouble.code, detail=trouble.detail, events=len(self._events))

    def look(self) -> None:
        """Tell whose state is not known any more, and whose is again."""
        now = self._now()
        for hardware_id, memory in self._machines.items():
            if self._gone(hardware_id) is not memory.silent:
                self._take_in(hardware_id, silence(memory, now, silent=not memory.silent))
                self._changed.add(hardware_id)

    async def flush(self) -> None:
        """
        Write everything that changed, in groups.

        Raises:
            Trouble: the database is away; what could not be written is kept.
        """
        async with self._flushing:
            while self._changed or self._events:
                now = [self._machines[one] for one in sorted(self._changed)[:LARGEST_GROUP]]
                group = [verdict(one) for one in now]
                events = self._events[:LARGEST_GROUP]
                # Taken out before the write: what changes during it is written the next time.
                self._changed.difference_update(one.hardware_id for one in group)
                try:
                    told = await self._keep(group, events)
                except Trouble:
                    self._changed.update(one.hardware_id for one in group)
                    raise
                del self._events[: len(events)]
                self._publish(group, told)

    async def _keep(self, group: Sequence[HealthVerdict], events: Sequence[Event]) -> list[EventRow]:
        """Write a group; where the database refuses something of it, all but that."""
        try:
            async with self._database.write() as conn:
                return await verdicts.keep(conn, group, events)
        except Trouble as trouble:
            if trouble.code in AWAY:
                raise
            if len(group) + len(events) <= 1:
                machines = [one.hardware_id for one in group] + [one.hardware_id for one in events]
                log.error("verdict.refused", machines=machines, code=trouble.code, detail=trouble.detail)
                return []
        told: list[EventRow] = []
        for one in group:
            await self._keep((one,), ())
        for event in events:
            told += await self._keep((), (event,))
        return told

    def _publish(self, group: Iterable[HealthVerdict], told: Iterable[EventRow]) -> None:
        if not self._feed.subscribers:
            return
        now = self._now()
        for one in group:
            self._feed.publish(Change(kind=ChangeKind.HEALTH, at=now, hardware_id=one.hardware_id, body=one))
        for event in told:
            self._feed.publish(Change(kind=ChangeKind.EVENT, at=event.at, hardware_id=event.hardware_id, body=event))

    def _memory(self, hardware_id: str) -> Memory:
        memory = self._machines.get(hardware_id)
        if memory is None:
            memory = self._machines[hardware_id] = Memory(hardware_id=hardware_id, since=self._now().timestamp())
        return memory

    def _take_in(self, hardware_id: str, events: list[Event]) -> None:
        if events:
            self._events += events
            self._changed.add(hardware_id)
            self._worded[hardware_id] = events[-1].at

    def _stale(self, hardware_id: str, at: datetime) -> bool:
        """Return whether the words that are kept of a machine's reasons are old."""
        worded = self._worded.get(hardware_id)
        if worded is not None and at - worded < WORDS_EVERY:
            return False
        self._worded[hardware_id] = at
        return True
