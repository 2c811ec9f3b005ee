"""The one function that says what a wipe achieved."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wiper.plan import PROMISED, obstacle, plan
from agent.wiper.status import OPTIONAL_PLACES, judge
from shared.documents import PlaceReport
from shared.records import WipeMethod, WipeStatus

PURGE = WipeMethod.HOME_DIRECTORY_PURGE
PLACES = PROMISED[PURGE]
STATES = ("clean", "residue", "not_examined", "not_applicable")


def places(**states: str) -> dict[str, PlaceReport]:
    given_states = dict.fromkeys(PLACES, "clean") | states
    left = {"residue": 1}
    return {name: PlaceReport(name=name, state=state, left=left.get(state, 0)) for name, state in given_states.items()}


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({}, WipeStatus.SUCCESS),
        ({"containers": "not_applicable", "gpus": "not_applicable"}, WipeStatus.SUCCESS),
        ({"containers": "not_examined"}, WipeStatus.PARTIAL),
        ({"gpus": "not_examined"}, WipeStatus.PARTIAL),
        ({"copies": "not_applicable"}, WipeStatus.SUCCESS),
        ({"copies": "not_examined"}, WipeStatus.PARTIAL),
        ({"copies": "residue"}, WipeStatus.PARTIAL),
        ({"elsewhere": "residue"}, WipeStatus.PARTIAL),
        ({"elsewhere": "not_examined"}, WipeStatus.PARTIAL),
        ({"elsewhere": "not_applicable"}, WipeStatus.PARTIAL),
        ({"home": "residue"}, WipeStatus.PARTIAL),
        ({"mounts": "residue"}, WipeStatus.PARTIAL),
        ({"ipc": "residue"}, WipeStatus.PARTIAL),
        ({"access": "residue"}, WipeStatus.FAILED),
        ({"sshd": "residue"}, WipeStatus.FAILED),
        ({"sshd": "not_examined"}, WipeStatus.PARTIAL),
        ({"sshd": "not_applicable"}, WipeStatus.SUCCESS),
        ({"processes": "residue"}, WipeStatus.FAILED),
        ({"processes": "not_examined"}, WipeStatus.FAILED),
        ({"processes": "not_applicable"}, WipeStatus.FAILED),
        ({"processes": "residue", "elsewhere": "residue"}, WipeStatus.FAILED),
    ],
)
def test_each_state_of_a_place_leads_to_its_status(states: dict[str, str], expected: WipeStatus) -> None:
    """Access that may remain is a failure, anything unclean or unseen is partial, the rest success."""
    assert judge(PURGE, places(**states), simulated=False).status is expected


@pytest.mark.parametrize("missing", PLACES)
def test_a_place_nobody_reported_is_a_failure(missing: str) -> None:
    """A verification that did not run never counts for a clean one."""
    reports = {name: report for name, report in places().items() if name != missing}
    assert judge(PURGE, reports, simulated=False).status is WipeStatus.FAILED


def test_a_finding_of_any_attempt_stays() -> None:
    """Every place clean in the end does not undo what an earlier attempt found."""
    result = judge(PURGE, places(), simulated=False, findings=("the tenant had root",))
    assert result.status is WipeStatus.PARTIAL
    assert result.reasons == ("the tenant had root",)


def test_an_objection_is_a_failure_whatever_the_places_say() -> None:
    """A resumed wipe that had to stop has failed."""
    assert judge(PURGE, places(), simulated=False, objection="stale_account: …").status is WipeStatus.FAILED


@given(st.fixed_dictionaries({name: st.sampled_from(STATES) for name in PLACES}), st.booleans())
def test_residue_or_an_unseen_place_is_never_a_success(states: dict[str, str], simulated: bool) -> None:
    """Success needs every promised place clean, or lacking where a machine may lack it."""
    result = judge(PURGE, places(**states), simulated=simulated)
    if {"residue", "not_examined"} & set(states.values()):
        assert result.status is not WipeStatus.SUCCESS
        assert result.reasons
    if not simulated and any(states[name] == "not_applicable" for name in PLACES if name not in OPTIONAL_PLACES):
        assert result.status is not WipeStatus.SUCCESS


@given(st.fixed_dictionaries({name: st.integers(0, 3) for name in PLACES}))
def test_a_clean_place_with_something_left_is_not_clean(left: dict[str, int]) -> None:
    """A count above zero outweighs the word."""
    reports = {name: PlaceReport(name=name, state="clean", left=count) for name, count in left.items()}
    success = judge(PURGE, reports, simulated=False).status is WipeStatus.SUCCESS
    assert success == (sum(left.values()) == 0)


@given(st.sampled_from(STATES), st.sampled_from(STATES))
def test_nothing_is_deleted_while_processes_or_mounts_are_not_clean(processes: str, mounts: str) -> None:
    """The home and the files elsewhere wait for both."""
    fine = {"clean", "not_applicable"}
    for planned in plan((PURGE,)):
        if planned.step in {"home", "elsewhere"}:
            free = obstacle(planned, {"processes": processes, "mounts": mounts}) is None
            assert free == (processes in fine and mounts in fine)
