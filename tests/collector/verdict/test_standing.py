"""Hysteresis: nothing flaps, and nothing that lasts is missed."""

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.verdict import RANK, HealthState
from collector.verdict.judging import judge
from collector.verdict.memory import EVENTS_AN_HOUR, Memory
from collector.verdict.rulebook import rulebook
from collector.verdict.standing import Standing, over, step
from collector.verdict.thresholds import Test, Threshold
from tests.collector.known import NOW
from tests.collector.verdict.watched import WELL, Watched, as_indicators, with_changes

STATES = st.sampled_from([HealthState.HEALTHY, HealthState.DEGRADED, HealthState.UNHEALTHY])
GONE_S = 600.0
MOST_AN_HOUR = 20
"""Each fall of a state takes ten minutes of nothing nearer, so six an hour, each with at most two rises before it."""


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(1, 400), STATES), min_size=1, max_size=300), st.sampled_from([0.0, 60.0, 300.0]))
def test_no_series_makes_more_than_a_few_changes_an_hour(series, hold_s) -> None:
    """However a value swings around its limits, and however often it is looked at."""
    standing, now, changed = Standing(), 0.0, []
    for pause_s, seen in series:
        now += pause_s
        before = step(standing, seen, now, hold_s, GONE_S)
        if before is not None:
            assert before is not standing.state
            changed.append(now)
    for began in changed:
        assert sum(began <= at < began + 3600 for at in changed) <= MOST_AN_HOUR


@settings(max_examples=200)
@given(st.lists(STATES, min_size=1, max_size=40), STATES)
def test_what_lasts_is_told_in_the_end(past, lasting) -> None:
    """Whatever came before: a state that is seen for long enough is what is told."""
    standing, now = Standing(), 0.0
    for seen in past:
        now += 30
        step(standing, seen, now, 60.0, GONE_S)
    for _ in range(2 * int(GONE_S) // 30 + 4):
        now += 30
        step(standing, lasting, now, 60.0, GONE_S)
    assert standing.state is lasting
    assert over(standing) is (lasting is HealthState.HEALTHY)


@settings(max_examples=25)
@given(st.lists(st.floats(90, 100), min_size=50, max_size=240), st.integers(25, 120))
def test_a_disk_around_its_limit_makes_no_flood(values, every_s) -> None:
    """The same through the whole of judging: reasons and the machine's state together."""
    machine = Watched()
    for value in values:
        machine.report(with_changes({"disks.used_percent": {"/": value}}), after_s=every_s)
    for began in [event.at for event in machine.events]:
        within = [event for event in machine.events if began <= event.at < began + timedelta(hours=1)]
        assert len(within) <= 2 * MOST_AN_HOUR


def test_a_pause_in_the_reports_counts_neither_as_seen_nor_as_gone() -> None:
    """A machine that was away for an hour has not been too hot for an hour."""
    machine, hot = Watched(), with_changes({"gpu.slowdown_margin_celsius": {"GPU-00000000": 1}})
    machine.during(600, WELL)
    machine.report(hot)
    machine.report(hot, after_s=3600)
    assert machine.told() == {}
    machine.during(330, hot)
    assert ("gpu_temperature", "GPU-00000000") in machine.told()
    machine.report(WELL)
    machine.report(WELL, after_s=3600)
    assert ("gpu_temperature", "GPU-00000000") in machine.told()


def test_a_worse_state_must_last_too() -> None:
    """From degraded to unhealthy it takes as long as from healthy to degraded."""
    machine = Watched()
    machine.during(900, with_changes({"disks.used_percent": {"/": 96.0}}))
    machine.during(300, with_changes({"disks.used_percent": {"/": 98.0}}))
    assert machine.told()["disk_full", "/"].state is HealthState.DEGRADED
    machine.during(400, with_changes({"disks.used_percent": {"/": 98.0}}))
    assert machine.told()["disk_full", "/"].state is HealthState.UNHEALTHY


def test_a_machine_that_tells_too_much_is_cut_short_and_that_is_told() -> None:
    """However it lies, its events an hour are bounded; a machine that is well for an hour may tell again."""
    threshold = Threshold(
        code="disk_full",
        indicator="disks",
        reading="used_percent",
        test=Test.ABOVE,
        degraded=95,
        gone_s=60,
        words="{value}",
        remedy="r",
        source="s",
    )
    rules, memory, events = rulebook([threshold]), Memory(hardware_id="hw_1"), []
    for number in range(240):
        values = {"used_percent": {f"/{number}-{item}": 99 for item in range(50)}}
        at = NOW + timedelta(seconds=30 * number)
        events += judge(memory, as_indicators({"disks": values}), at, "b", 0.0, rules)
    for began in [event.at for event in events][::50]:
        within = [event for event in events if began <= event.at < began + timedelta(hours=1)]
        assert len(within) <= 2 * EVENTS_AN_HOUR + 240
    assert "events_left_out" in {event.code for event in events}


def test_worse_outranks_unknown_and_unknown_outranks_degraded() -> None:
    """What is known to be broken counts more than what is not known."""
    order = [HealthState.HEALTHY, HealthState.DEGRADED, HealthState.UNKNOWN, HealthState.UNHEALTHY]
    assert sorted(RANK, key=lambda state: RANK[state]) == order


def test_what_is_told_is_what_was_seen_all_the_time() -> None:
    """A state that swings above another is told as the lower one, and on its way back as the higher one."""
    well, degraded, unhealthy = HealthState.HEALTHY, HealthState.DEGRADED, HealthState.UNHEALTHY
    standing = Standing()
    for now, seen in ((0, unhealthy), (30, degraded), (60, unhealthy)):
        step(standing, seen, now, 60.0, GONE_S)
    assert standing.state is degraded
    standing = Standing(state=unhealthy)
    for now, seen in ((0, well), (300, degraded), (600, well)):
        step(standing, seen, now, 60.0, GONE_S)
    assert standing.state is degraded
