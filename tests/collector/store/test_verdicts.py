"""Verdicts and their ledger, the same on both databases."""

from datetime import timedelta

from msgspec import structs

from collector.store import verdicts
from collector.verdict import Event, HealthState, HealthVerdict, Reason
from tests.collector.known import NOW, add_machine

REASON = Reason(
    code="disk_full",
    state=HealthState.DEGRADED,
    words='95.5 % used; "95 %" is the limit \u2028 ünï',
    item="/home",
    remedy="free space",
    since=NOW,
)
VERDICT = HealthVerdict(hardware_id="hw_1", state=HealthState.DEGRADED, since=NOW, reasons=(REASON,), gpus_expected=8)


def an_event(number: int, **changes) -> Event:
    usual = Event(
        hardware_id="hw_1",
        at=NOW + timedelta(minutes=number),
        code="disk_full",
        item="/home",
        from_state=HealthState.HEALTHY,
        to_state=HealthState.DEGRADED,
        words=f"seen for the {number}. time",
    )
    return structs.replace(usual, **changes)


async def found(database, **asked) -> list[str]:
    usual = {"since": None, "code": None, "before": None, "limit": 10}
    async with database.read() as conn:
        return [row.words for row in await verdicts.events(conn, "hw_1", **(usual | asked))]


async def test_a_verdict_comes_back_as_it_was_kept(with_machine):
    """With its reasons, times and texts; and a machine that nobody judged is unknown."""
    async with with_machine.write() as conn:
        await add_machine(conn, "hw_2")
        await verdicts.keep(conn, [VERDICT], [])
    async with with_machine.read() as conn:
        assert await verdicts.find(conn, "hw_1") == VERDICT
        other = await verdicts.find(conn, "hw_2")
        assert other is not None
        assert (other.state, other.reasons, other.gpus_expected) == (HealthState.UNKNOWN, (), None)
        assert await verdicts.find(conn, "hw_0") is None
        kept = {one.verdict.hardware_id: one async for one in verdicts.kept(conn)}
    assert set(kept) == {"hw_1", "hw_2"}
    assert kept["hw_1"].verdict == VERDICT
    assert (kept["hw_1"].indicators, kept["hw_1"].boot_id) == (None, "")


async def test_events_are_numbered_in_order_and_listed_newest_first(with_machine):
    """By time, by code and in pages; of one machine only."""
    async with with_machine.write() as conn:
        await add_machine(conn, "hw_2")
        told = await verdicts.keep(conn, [], [an_event(number) for number in range(1, 6)])
        await verdicts.keep(conn, [], [an_event(6, code="health"), an_event(7, hardware_id="hw_2")])
    numbers = [row.event_id for row in told]
    assert numbers == sorted(set(numbers))
    assert [row.words for row in told] == [f"seen for the {number}. time" for number in range(1, 6)]
    times = [f"seen for the {number}. time" for number in range(7)]
    assert await found(with_machine) == [times[number] for number in (6, 5, 4, 3, 2, 1)]
    assert await found(with_machine, code="health") == [times[6]]
    assert await found(with_machine, since=NOW + timedelta(minutes=5)) == [times[6], times[5]]
    assert await found(with_machine, before=told[2].event_id, limit=1) == [times[2]]


async def test_old_events_are_dropped(with_machine):
    """By the time at which they were seen."""
    async with with_machine.write() as conn:
        await verdicts.keep(conn, [], [an_event(number) for number in range(5)])
        assert await verdicts.drop_before(conn, NOW + timedelta(minutes=3)) == 3
    assert len(await found(with_machine)) == 2


async def test_an_admin_s_number_of_gpus_is_kept(with_machine):
    """Of a machine that exists."""
    async with with_machine.write() as conn:
        assert await verdicts.expect_gpus(conn, "hw_1", 7)
        assert not await verdicts.expect_gpus(conn, "hw_0", 7)
        known = await verdicts.find(conn, "hw_1")
    assert known is not None
    assert known.gpus_expected == 7
