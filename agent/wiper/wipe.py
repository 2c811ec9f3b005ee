"""Carrying a wipe out: each step journalled before and after, then a look at every place, then the evidence."""

import time
from collections.abc import Callable
from datetime import datetime

import structlog

from agent.wiper import history, media
from agent.wiper.evidence import MAX_NOTES, Machine, evidence, unexamined
from agent.wiper.journal import AttemptEnded, AttemptStarted, Journal, StepDone, StepIntended, Verified
from agent.wiper.plan import Planned, obstacle, plan, promised
from agent.wiper.steps import NOT_EXAMINED, Looked, Step, Subject
from agent.wiper.steps.access import Access
from agent.wiper.steps.account import Account
from agent.wiper.steps.containers import Containers
from agent.wiper.steps.dumps import Dumps
from agent.wiper.steps.elsewhere import Elsewhere
from agent.wiper.steps.gpus import Gpus
from agent.wiper.steps.held import Held
from agent.wiper.steps.home import Home
from agent.wiper.steps.ipc import Ipc
from agent.wiper.steps.keys import Keys
from agent.wiper.steps.login import Login
from agent.wiper.steps.mounts import Mounts
from agent.wiper.steps.namespaces import Namespaces
from agent.wiper.steps.privileges import Privileges
from agent.wiper.steps.processes import Processes
from agent.wiper.steps.schedules import Schedules
from agent.wiper.steps.sshd import Sshd
from shared.documents import Medium, Order, PlaceReport, Verification, WipeEvidence, WipeWork

log = structlog.get_logger()

Report = Callable[[str, int, int], None]
"""Tells the agent: step, done, of."""

Clock = Callable[[], datetime]


def steps_for(subject: Subject) -> dict[str, Step]:
    """Return every step there is, by its place."""
    steps: tuple[Step, ...] = (
        Sshd(subject),
        Login(subject),
        Keys(subject),
        Access(subject),
        Schedules(subject),
        Processes(subject),
        Mounts(subject),
        Ipc(subject),
        Namespaces(subject),
        Home(subject),
        Elsewhere(subject),
        Held(subject),
        Dumps(subject),
        Containers(subject),
        Gpus(subject),
        Privileges(subject),
        Account(subject),
    )
    return {step.name: step for step in steps}


class Wipe:
    """
    One order's way through the plan.

    Args:
        order: Verified, journalled, and its target checked.
        journal: Where intents go before acts.
        machine: Where this is.
        policy_sha256: Digest of the policy in force.
        now: The clock.
        report: Progress for the agent.
    """

    def __init__(
        self, order: Order, journal: Journal, machine: Machine, policy_sha256: str, now: Clock, report: Report
    ) -> None:
        assert isinstance(order.work, WipeWork)
        self._order = order
        self._methods = order.work.methods
        self._target = order.work.target
        self._scope: Verification | None = None
        self._journal = journal
        self._machine = machine
        self._policy_sha256 = policy_sha256
        self._now = now
        self._report = report

    def run(self, subject: Subject) -> WipeEvidence:
        """
        Take every step and return what it came to; may be run again after any interruption.

        Raises:
            Trouble: `journal_unwritable`: it stopped where it was, and goes on when asked again.
        """
        self._begin()
        past = history.read(self._journal.entries)
        steps = steps_for(subject._replace(meant=past.meant.get(self._target.generation, frozenset())))
        for planned in plan(self._methods):
            self._take(planned, steps)
        places = tuple(self._verify(steps[name]) for name in promised(self._methods))
        # A method that takes no files away did nothing to any medium.
        surveyed = media.survey(subject) if "home" in promised(self._methods) else ()
        return self._end(places, media=surveyed)

    def give_up(self, objection: str) -> WipeEvidence:
        """Return failed evidence for a wipe that was begun and may not go on: the account is not what it was."""
        self._begin()
        return self._end(unexamined(self._order, objection), objection)

    def _begin(self) -> None:
        self._journal.append(
            self._now(), AttemptStarted(command_id=self._order.command_id, boot_id=self._machine.boot_id)
        )

    def _end(
        self, places: tuple[PlaceReport, ...], objection: str | None = None, media: tuple[Medium, ...] = ()
    ) -> WipeEvidence:
        command_id = self._order.command_id
        verified = Verified(command_id=command_id, places=places, scope=self._scope, media=media)
        self._journal.append(self._now(), verified, AttemptEnded(command_id=command_id))
        past = history.read(self._journal.entries)
        known = past.commands[command_id]
        return evidence(
            self._order,
            known,
            self._machine,
            tenant=past.tenants.get(self._target.username),
            previous_sha256=past.certificate,
            findings=past.findings.get(known.generation or "", ()),
            policy_sha256=self._policy_sha256,
            journal_sha256=self._journal.head,
            ended_at=self._now(),
            objection=objection,
        )

    def _take(self, planned: Planned, steps: dict[str, Step]) -> None:
        step, command_id = steps[planned.step], self._order.command_id
        started = time.monotonic()
        skipped = obstacle(planned, {place: _looked(steps[place]).state for place in planned.after})
        if skipped:
            self._journal.append(self._now(), StepDone(command_id=command_id, step=step.name, skipped=skipped))
            return
        self._report(step.name, 0, 0)
        try:
            found = step.find()
        except (OSError, ValueError) as error:
            # What cannot be looked at is not erased either: its findings would be lost.
            note = f"left out: it could not be looked at: {type(error).__name__}"
            log.warning("wiper.step_blind", step=step.name, error=str(error))
            self._journal.append(self._now(), StepDone(command_id=command_id, step=step.name, skipped=note))
            return
        self._journal.append(
            self._now(),
            StepIntended(
                command_id=command_id, step=step.name, found=found.items, findings=found.findings, meant=found.meant
            ),
        )
        self._journal.append(self._now(), self._erase(step, found.items, started))

    def _erase(self, step: Step, found: int, started: float) -> StepDone:
        def tell(done: int, of: int) -> None:
            self._report(step.name, done, max(of, found))

        removed, notes = 0, tuple[str, ...]()
        try:
            erased = step.erase(tell)
            removed, notes = erased.removed, erased.notes
        except (OSError, ValueError) as error:
            notes = (f"stopped: {type(error).__name__}",)
            log.warning("wiper.step_stopped", step=step.name, error=str(error))
        return StepDone(
            command_id=self._order.command_id,
            step=step.name,
            removed=removed,
            notes=notes[:MAX_NOTES],
            took_ms=_ms_since(started),
        )

    def _verify(self, step: Step) -> PlaceReport:
        started = time.monotonic()
        self._report(f"verify {step.name}", 0, 0)
        looked = _looked(step)
        self._scope = looked.scope or self._scope
        return PlaceReport(
            name=step.name, state=looked.state, reason=looked.reason, left=looked.left, took_ms=_ms_since(started)
        )


def _looked(step: Step) -> Looked:
    try:
        return step.verify()
    except (OSError, ValueError) as error:
        log.warning("wiper.not_examined", step=step.name, error=str(error))
        return Looked(NOT_EXAMINED, reason=f"the look could not run: {type(error).__name__}")


def _ms_since(started: float) -> int:
    return int((time.monotonic() - started) * 1000)
