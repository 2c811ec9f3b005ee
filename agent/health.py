"""One health report: what is due is read in threads, and no indicator waits for one that is held up."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from threading import Thread
from typing import Any

import msgspec

from agent.host import Host
from agent.indicators import Indicator, NotHere, Reading
from shared.messages import Absent, Failed, Indicators, Measured, Outcome, Values

HELD_UP_S = 0.1
"""A read that takes longer gets company. Most take well below 1 ms, and a thread for each costs four times as much."""

_MOST_WORDS = 300


class _Slot:
    """One indicator's state between reports. Only the event loop's thread touches it."""

    def __init__(self, indicator: Indicator) -> None:
        self.indicator = indicator
        self.kept: Any = None
        self.outcome: Outcome | None = None
        self.due_at_s = 0.0
        self.began_s = 0.0
        self.began_at = datetime.min.replace(tzinfo=UTC)
        self.answer: asyncio.Future[tuple[Outcome, Any]] | None = None
        self.late = False


class Sampler:
    """
    Reads the machine's health.

    Args:
        host: The machine.
        indicators: What to read.
        own: What the daemon itself counts, by the name of the indicator that it is added to.
    """

    def __init__(self, host: Host, indicators: Sequence[Indicator], own: Callable[[], Mapping[str, Values]]) -> None:
        self._host = host
        self._own = own
        self._slots = tuple(_Slot(indicator) for indicator in indicators)

    async def sample(self, *, everything: bool = False) -> Indicators:
        """
        Return the newest outcome of every indicator, after reading those that are due.

        An indicator that does not answer within its deadline is reported as failed, and not started again until its
        thread comes back; the others are not held up. A first report is whole: everything is due.

        Args:
            everything: Read all of them, due or not.
        """
        now_s = time.monotonic()
        line: deque[Callable[[], None]] = deque()
        for slot in self._slots:
            if slot.late and slot.answer is not None and slot.answer.done():
                _settle(slot, slot.answer)
            if slot.answer is None and (everything or now_s >= slot.due_at_s):
                line.append(self._queued(slot, now_s))
        await _work_off(line)
        for slot in sorted(self._slots, key=lambda slot: slot.began_s + slot.indicator.deadline_s):
            await _await_answer(slot)
        own = self._own()
        return {slot.indicator.name: _shown(slot, own.get(slot.indicator.name)) for slot in self._slots}

    def _queued(self, slot: _Slot, now_s: float) -> Callable[[], None]:
        """Return the work of reading one indicator, to be done in any thread."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[Outcome, Any]] = loop.create_future()
        slot.answer, slot.late, slot.began_s, slot.began_at = answer, False, now_s, datetime.now(UTC)
        slot.due_at_s = now_s + slot.indicator.interval_s
        kept = slot.kept

        def work() -> None:
            found = read_one(slot.indicator, self._host, kept)
            try:
                loop.call_soon_threadsafe(_deliver, answer, found)
            except RuntimeError:
                return  # the loop is closed: nobody waits for this answer any more

        return work


def _shown(slot: _Slot, own: Values | None) -> Outcome:
    """Return an indicator's outcome, with what the daemon itself counts."""
    assert slot.outcome is not None
    if own and isinstance(slot.outcome, Measured):
        return msgspec.structs.replace(slot.outcome, values={**slot.outcome.values, **own})
    return slot.outcome


async def _work_off(line: "deque[Callable[[], None]]") -> None:
    """
    Start all the work in a line: by one thread as long as it gets on, by one more for each that is held up.

    The threads are daemons: a pool's would be waited for at exit, hung ones for ever.
    """
    loop = asyncio.get_running_loop()
    while line:
        empty = loop.create_future()
        Thread(target=_worker, args=(line, loop, empty), name="indicators", daemon=True).start()
        await asyncio.wait((empty,), timeout=HELD_UP_S)


def _worker(line: "deque[Callable[[], None]]", loop: asyncio.AbstractEventLoop, empty: "asyncio.Future[None]") -> None:
    """Do what stands in line, and tell when nothing does."""
    while line:
        try:
            work = line.popleft()
        except IndexError:
            break  # another thread took the last
        work()
    try:
        loop.call_soon_threadsafe(_deliver, empty, None)
    except RuntimeError:
        return  # the loop is closed


def read_one(indicator: Indicator, host: Host, kept: Any) -> tuple[Outcome, Any]:
    """Read one indicator; return its outcome and what it keeps for its next read. It never raises."""
    began_s = time.perf_counter()

    def took_ms() -> float:
        return round((time.perf_counter() - began_s) * 1000, 2)

    try:
        found: Reading | NotHere = indicator.read(host, kept)
        if isinstance(found, NotHere):
            return Absent(reason=found.reason, took_ms=took_ms()), None
        return Measured(values=found.values, took_ms=took_ms()), found.kept
    except Exception as error:  # noqa: BLE001 - whatever breaks in one indicator is that indicator's failure
        return Failed(error=_words(error), took_ms=took_ms()), kept


def _words(error: Exception) -> str:
    """Say what happened, with the kind of error where the text alone is too little."""
    plain = str(error).replace("\0", "").strip()
    known = isinstance(error, OSError) or type(error).__module__.startswith("agent.")
    return (plain if plain and known else f"{type(error).__name__}: {plain}")[:_MOST_WORDS]


def _deliver(answer: "asyncio.Future[Any]", found: Any) -> None:
    """Hand over what a thread found, on the loop's own thread."""
    if not answer.done():
        answer.set_result(found)


async def _await_answer(slot: _Slot) -> None:
    """Wait for a running indicator until its deadline, and settle what came of it."""
    if slot.answer is None:
        return
    answer, deadline_s = slot.answer, slot.indicator.deadline_s
    left_s = slot.began_s + deadline_s - time.monotonic()
    if not answer.done() and left_s > 0:
        await asyncio.wait((answer,), timeout=left_s)
    if not answer.done():
        slot.late = True
        since = slot.began_at.strftime("%Y-%m-%d %H:%M:%S UTC")
        passed_ms = round((time.monotonic() - slot.began_s) * 1000, 2)
        slot.outcome = Failed(error=f"no answer within {deadline_s:g} s, asked at {since}", took_ms=passed_ms)
        return
    _settle(slot, answer)


def _settle(slot: _Slot, answer: "asyncio.Future[tuple[Outcome, Any]]") -> None:
    """Take an answer: one that came too late is not shown as fresh, but it makes room for the next read."""
    slot.answer = None
    outcome, slot.kept = answer.result()
    if slot.late:
        slot.due_at_s = 0.0
    else:
        slot.outcome = outcome
