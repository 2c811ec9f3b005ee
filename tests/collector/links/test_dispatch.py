"""A command's states and what may follow what."""

import pytest

from collector.links.dispatch import DONE, FROM, OPEN, State, state_after
from shared.documents import BenchmarkName, BenchmarkOutcome, Component
from tests.collector.known import NOW

ENDS = DONE | {State.REFUSED, State.EXPIRED, State.CANCELED}


def test_every_state_can_be_reached_from_queued():
    """No state of the table is dead."""
    reached = {State.QUEUED}
    while more := {to for to, origins in FROM.items() if origins & reached} - reached:
        reached |= more
    assert reached == set(State)


def test_a_result_is_final():
    """What was done stays done, whatever comes after."""
    for state in DONE | {State.REFUSED, State.CANCELED}:
        assert not [to for to, origins in FROM.items() if state in origins]


def test_a_late_result_wins_over_unknown_and_expired():
    """It is the truth about what happened."""
    for state in DONE:
        assert {State.UNKNOWN, State.EXPIRED} <= FROM[state]


def test_what_a_machine_may_have_cannot_be_canceled_and_what_it_accepted_cannot_expire():
    """Cancel only from queued; expire only before acceptance."""
    assert FROM[State.CANCELED] == {State.QUEUED}
    assert not FROM[State.EXPIRED] & {State.ACCEPTED, State.RUNNING, State.UNKNOWN}


def test_open_and_ended_states_part_the_table():
    """Every state is one or the other."""
    assert set(State) == OPEN | ENDS
    assert not OPEN & ENDS


@pytest.mark.parametrize(
    ("figures", "state"),
    [
        (({"cpu_score": 1.0}, {"disk_read_mb_s": 2.0}), State.SUCCEEDED),
        (({"cpu_score": 1.0}, {}), State.PARTIAL),
        (({}, {}), State.FAILED),
    ],
)
def test_a_benchmark_succeeds_if_every_component_has_a_figure(figures, state):
    """Some is partial, none is failed: never "succeeded" with nothing measured."""
    components = tuple(
        Component(
            name=name,
            method_version="x",
            figures=one,
            code=None if one else "disturbed",
            reason=None if one else "busy",
        )
        for name, one in zip((BenchmarkName.CPU, BenchmarkName.DISK), figures, strict=True)
    )
    outcome = BenchmarkOutcome(
        hardware_id="hw_1",
        command_id="cmd_1",
        order_sha256="0" * 64,
        started_at=NOW,
        collected_at=NOW,
        components=components,
        agent_version="1",
        boot_id="b",
    )
    assert state_after(outcome) is state
