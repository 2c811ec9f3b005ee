"""Presence over what happens to the collector's own clock."""

from datetime import timedelta

import pytest

from collector.feed import Feed
from collector.links.presence import OFFLINE_AFTER, Presence
from collector.links.watching import Watching
from tests.collector.known import NOW

BEAT = timedelta(seconds=15)
STEP = timedelta(hours=1)


class Clock:
    """A collector's clock that can be set, and its watching; looks every two seconds as it does."""

    def __init__(self, database) -> None:
        self.now = NOW
        self.watching = Watching(database, Feed(), lambda: self.now, frozenset())

    async def pass_by(self, length: timedelta, *alive: str) -> None:
        for second in range(0, int(length.total_seconds()), 2):
            self.now += timedelta(seconds=2)
            if second % BEAT.total_seconds() < 2:
                for one in alive:
                    self.watching.heard(one, self.now, 0.0)
            await self.watching.look()

    def presence(self, hardware_id: str) -> Presence:
        found = self.watching.snapshot(hardware_id)
        assert found is not None
        return found.presence


@pytest.fixture
async def clock(with_machine):
    made = Clock(with_machine)
    await made.watching.load()
    return made


@pytest.mark.parametrize("step", [STEP, -STEP], ids=["forwards", "backwards"])
async def test_a_clock_that_is_set_calls_nobody_offline(clock, step):
    """By an hour, as a time service may do at a start."""
    await clock.pass_by(timedelta(minutes=2), "hw_1")
    clock.now += step
    await clock.pass_by(timedelta(minutes=3), "hw_1")
    assert clock.presence("hw_1") is Presence.ONLINE


async def test_a_machine_that_falls_silent_after_a_clock_was_set_back_is_told_in_time(clock):
    """Not an hour later, when the clock has caught up with the last report."""
    await clock.pass_by(timedelta(minutes=2), "hw_1")
    clock.now -= STEP
    await clock.pass_by(OFFLINE_AFTER + timedelta(seconds=10))
    assert clock.presence("hw_1") is Presence.OFFLINE


async def test_a_collector_that_started_with_a_clock_ahead_listens_from_its_right_time_on(clock):
    """Its start would else lie in the future, and no silence before it would count."""
    clock.now -= STEP
    await clock.pass_by(timedelta(minutes=1), "hw_1")
    await clock.pass_by(OFFLINE_AFTER + timedelta(seconds=10))
    assert clock.presence("hw_1") is Presence.OFFLINE
