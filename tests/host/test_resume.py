"""A machine that comes back after a power cut finishes the wipe before anybody can come in."""

from collections.abc import Iterator

import pytest

from tests.host import machines
from tests.host.machines import Machine, MachineError
from tests.host.scene import fresh_uid
from tests.host.trial import Trial

pytestmark = [pytest.mark.root, pytest.mark.slow]

UNIT = "rackproof-resume.service"
LATEST_S = 6.0


@pytest.fixture(scope="module")
def cut(missing) -> Iterator[Trial]:
    """A tenant whose wipe was cut off by a power cut, on a machine that has booted since; nobody asked again."""
    try:
        with machines.booted("resume") as machine:
            trial = Trial(machine, fresh_uid(), "root")
            after_s = 0.8
            trial.cut(after_s)
            while not resumed(machine) and after_s < LATEST_S:
                after_s += 0.4
                trial.cut(after_s)
            yield trial
    except MachineError as error:
        missing(str(error))


def resumed(machine: Machine) -> bool:
    return shown(machine, UNIT, "ConditionResult") == "yes"


def shown(machine: Machine, unit: str, what: str) -> str:
    return machine.run("systemctl", "show", "--value", f"--property={what}", unit).strip()


def test_it_was_finished_at_boot(cut: Trial) -> None:
    """Without anybody asking: there is an answer, and nothing is left of the tenant."""
    assert resumed(cut.machine)
    assert shown(cut.machine, UNIT, "Result") == "success"
    assert cut.journalled()["Answered"] == 1
    assert cut.residues() == []


@pytest.mark.parametrize(
    "unit", ["ssh.service", "cron.service", "systemd-user-sessions.service", "systemd-logind.service"]
)
def test_nobody_could_come_in_before(cut: Trial, unit: str) -> None:
    """What lets users in, or starts what they left, came up after it had ended."""
    ended = int(shown(cut.machine, UNIT, "InactiveEnterTimestampMonotonic"))
    assert 0 < ended <= int(shown(cut.machine, unit, "InactiveExitTimestampMonotonic"))


def test_whoever_asks_gets_that_answer(cut: Trial) -> None:
    """More than one attempt, one answer."""
    evidence = cut.evidence(cut.ask())
    assert len(evidence.attempts) > 1
    assert cut.journalled()["Answered"] == 1


def test_the_next_boot_does_not_ask_for_it(cut: Trial) -> None:
    """The unit is skipped where nothing was cut off."""
    cut.machine.power_off()
    cut.machine.boot(whole=False)
    assert not resumed(cut.machine)
