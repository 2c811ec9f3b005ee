"""An order's way through its steps: each journalled before and after, then a look at each place."""

import time
from collections.abc import Callable
from datetime import datetime

import structlog

from agent.wiper.evidence import MAX_NOTES
from agent.wiper.journal import AttemptStarted, Journal, Noticed, StepDone, StepIntended
from agent.wiper.plan import Planned, obstacle, patience_s
from agent.wiper.steps import NOT_EXAMINED, Erased, Looked, Step
from agent.wiper.system.watchdog import Stalled, Watchdog
from shared.codes import Code, Trouble
from shared.documents import PlaceReport, Verification

log = structlog.get_logger()

Report = Callable[[str, int, int], None]
"""Tells the agent: step, done, of."""

Clock = Callable[[], datetime]


class Course:
    """
    The course of one order; may be begun again after any interruption.

    Args:
        command_id: The order's.
        journal: Where intents go before acts.
        now: The clock.
        report: Progress for the agent.

    Attributes:
        scope: How far the last look at the machine's files went, if one did.
        limits: What the looks found that the evidence does not claim.
    """

    def __init__(self, command_id: str, journal: Journal, now: Clock, report: Report) -> None:
        self.scope: Verification | None = None
        self.limits: tuple[str, ...] = ()
        self._command_id = command_id
        self._journal = journal
        self._now = now
        self._report = report
        self._alerted: set[str] = set()
        self._watchdog = Watchdog()

    def alive(self) -> None:
        """Say that a step gets on."""
        self._watchdog.feed()

    def alert(self, finding: str) -> None:
        """
        Put a finding on record, once in this attempt.

        Raises:
            Trouble: `journal_unwritable`.
        """
        if finding not in self._alerted:
            self._alerted.add(finding)
            self._journal.append(self._now(), Noticed(command_id=self._command_id, finding=finding))

    def begin(self, boot_id: str) -> None:
        """
        Write down that an attempt begins.

        Raises:
            Trouble: `journal_unwritable`.
        """
        self._journal.append(self._now(), AttemptStarted(command_id=self._command_id, boot_id=boot_id))

    def take(self, planned: Planned, steps: dict[str, Step]) -> None:
        """
        Take one step, unless what must be clean before it is not.

        Raises:
            Trouble: `journal_unwritable`.
        """
        step, command_id = steps[planned.step], self._command_id
        started = time.monotonic()
        skipped = obstacle(planned, {place: self._looked(steps[place]).state for place in planned.after})
        if skipped:
            self._journal.append(self._now(), StepDone(command_id=command_id, step=step.name, skipped=skipped))
            return
        self._report(step.name, 0, 0)
        try:
            with self._watchdog.watching(patience_s(step.name)):
                found = step.find()
        except (Exception, Stalled) as error:  # noqa: BLE001 - a step that breaks is told; the wipe comes to its end
            # What cannot be looked at is not erased either: its findings would be lost.
            note = f"left out: it could not be looked at: {_named(error, step)}"
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
            self._watchdog.feed()
            self._report(step.name, done, max(of, found))

        try:
            with self._watchdog.watching(patience_s(step.name)):
                erased = step.erase(tell)
        except (Exception, Stalled) as error:
            if isinstance(error, Trouble) and error.code is Code.JOURNAL_UNWRITABLE:
                raise
            # A step that breaks is told; the wipe comes to its end.
            erased = Erased(0, (f"stopped: {_named(error, step)}",))
            log.warning("wiper.step_stopped", step=step.name, error=str(error))
        return StepDone(
            command_id=self._command_id,
            step=step.name,
            removed=erased.removed,
            notes=erased.notes[:MAX_NOTES],
            took_ms=_ms_since(started),
            treated=erased.treated,
        )

    def verify(self, step: Step) -> PlaceReport:
        """Look at a place again; one that cannot be looked at is not examined, whatever else was."""
        started = time.monotonic()
        self._report(f"verify {step.name}", 0, 0)
        looked = self._looked(step)
        self.scope = looked.scope or self.scope
        self.limits += looked.limits
        return PlaceReport(
            name=step.name, state=looked.state, reason=looked.reason, left=looked.left, took_ms=_ms_since(started)
        )

    def _looked(self, step: Step) -> Looked:
        try:
            with self._watchdog.watching(patience_s(step.name)):
                return step.verify()
        except (Exception, Stalled) as error:
            if isinstance(error, Trouble) and error.code is Code.JOURNAL_UNWRITABLE:
                raise
            log.warning("wiper.not_examined", step=step.name, error=str(error) or _named(error, step))
            return Looked(NOT_EXAMINED, reason=f"the look could not run: {_named(error, step)}")


def _named(error: BaseException, step: Step) -> str:
    if isinstance(error, Stalled):
        return f"no progress for {patience_s(step.name):.0f} s"
    return getattr(error, "strerror", None) or type(error).__name__


def _ms_since(started: float) -> int:
    return int((time.monotonic() - started) * 1000)
