"""Wipes whose machine loses its power in the middle: what was only in memory is gone, and the wipe goes on after boot."""

import os
import random
import re

import pytest

from agent.wiper.plan import plan
from shared.documents import WipeEvidence
from shared.records import WipeMethod, WipeStatus
from tests.host import machines
from tests.host.machines import MachineError
from tests.host.scene import fresh_uid
from tests.host.trial import Trial

pytestmark = [pytest.mark.root, pytest.mark.slow]

MOST_CUTS = 3
LONGEST_S = 5.0
"""About how long an uncut wipe of these tenants takes."""
STEPS = tuple(dict.fromkeys(one.step for one in plan((WipeMethod.USER_DELETION,))))


@pytest.fixture(scope="module")
def volatile(missing) -> frozenset[str]:
    """The damages that a power cut alone does, without any wipe: processes, what is in memory."""
    try:
        with machines.booted("control") as machine:
            trial = Trial(machine, fresh_uid())
            machine.cut_power()
            machine.boot(whole=False)
            return trial.damages()
    except MachineError as error:
        missing(str(error))


def test_a_power_cut_alone_costs_no_file_of_others(volatile: frozenset[str]) -> None:
    """The control: what is left out below is no file on the disk, but for /tmp, which is emptied at boot."""
    assert volatile
    assert all(one.endswith("is gone") for one in volatile)
    assert not [one for one in volatile if re.search(r"\(/(home|etc|usr|var|srv)", one)]


@pytest.mark.parametrize("step", STEPS)
def test_a_wipe_whose_power_is_cut_in_a_step_goes_on(volatile: frozenset[str], step: str) -> None:
    """In each of its steps once, right when it begins: a tenant without root ends as a success."""
    with machines.booted("step") as machine:
        trial = Trial(machine, fresh_uid(), "root")
        assert trial.cut_in(step), "it never came there"
        evidence = ended_well(trial, volatile)
        assert [one.status for one in evidence.methods] == [WipeStatus.SUCCESS], (evidence.methods, evidence.places)


def ended_well(trial: Trial, volatile: frozenset[str]) -> WipeEvidence:
    """Ask until it is answered: one answer, nothing left, nothing of others harmed."""
    answer = trial.ask()
    assert trial.ask() == answer
    facts = trial.journalled()
    assert facts["Answered"] == facts["OrderTaken"] == 1
    assert trial.residues() == []
    assert trial.damages() - volatile == set()
    return trial.evidence(answer)


def test_a_wipe_whose_power_is_cut_ends_as_if_it_were_not(
    volatile: frozenset[str], pytestconfig: pytest.Config
) -> None:
    """At random moments, up to three times a wipe: one answer, nothing left, nothing of others harmed, a true status."""
    seed = int(os.environ.get("KILL_SEED", random.randrange(2**31)))
    print(f"KILL_SEED={seed}")
    chance = random.Random(seed)
    told = []
    for number in range(pytestconfig.getoption("--power-cuts")):
        rooted = number % 2 == 0
        with machines.booted(f"cut{number}") as machine:
            trial = Trial(machine, fresh_uid(), *([] if rooted else ["root"]))
            cuts = [round(chance.uniform(0.05, LONGEST_S), 2) for _ in range(chance.randint(1, MOST_CUTS))]
            for after_s in cuts:
                trial.cut(after_s)
            evidence = ended_well(trial, volatile)
            told.append((cuts, evidence.methods[0].status.value, len(evidence.attempts)))
            print(told[-1], evidence.methods[0].reasons)
            expected = WipeStatus.PARTIAL if rooted else WipeStatus.SUCCESS
            assert [one.status for one in evidence.methods] == [expected], (evidence.methods, evidence.places)
