"""Cutting a tenant's access while his data is kept: journalled, resumed and looked at again as a wipe is."""

from agent.wiper import history
from agent.wiper.course import Clock, Course, Report
from agent.wiper.evidence import Machine, ends, places_of
from agent.wiper.journal import AttemptEnded, Journal, Verified
from agent.wiper.plan import REVOKE, REVOKED
from agent.wiper.status import judge_revoke
from agent.wiper.steps import Subject
from agent.wiper.wipe import steps_for
from shared.documents import Order, PlaceReport, RevokeOutcome, RevokeWork


class Revoke:
    """
    One order's way through the steps that cut access.

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
        assert isinstance(order.work, RevokeWork)
        self._order = order
        self._target = order.work.target
        self._journal = journal
        self._machine = machine
        self._policy_sha256 = policy_sha256
        self._now = now
        self._course = Course(order.command_id, journal, now, report)

    def run(self, subject: Subject) -> RevokeOutcome:
        """
        Take every step and return what it came to; may be run again after any interruption.

        Raises:
            Trouble: `journal_unwritable`: it stopped where it was, and goes on when asked again.
        """
        self._course.begin(self._machine.boot_id)
        steps = steps_for(subject._replace(alive=self._course.alive))
        for planned in REVOKE:
            self._course.take(planned, steps)
        return self._end(tuple(self._course.verify(steps[name]) for name in REVOKED))

    def give_up(self, objection: str) -> RevokeOutcome:
        """Return a failed outcome for one that was begun and may not go on: the account is not what it was."""
        self._course.begin(self._machine.boot_id)
        unseen = (PlaceReport(name=name, state="not_examined", reason=objection) for name in REVOKED)
        return self._end(tuple(unseen), objection)

    def _end(self, places: tuple[PlaceReport, ...], objection: str | None = None) -> RevokeOutcome:
        order, command_id = self._order, self._order.command_id
        verified = Verified(command_id=command_id, places=places)
        self._journal.append(self._now(), verified, AttemptEnded(command_id=command_id))
        past = history.read(self._journal.entries)
        known = past.commands[command_id]
        merged = places_of(known)
        status, reasons = judge_revoke(
            {one.name: one for one in merged},
            simulated=self._machine.simulated,
            findings=past.findings.get(self._target.generation, ()),
            objection=objection,
        )
        return RevokeOutcome(
            hardware_id=order.aud,
            command_id=command_id,
            order_sha256=known.sha256,
            booking_id=order.booking_id,
            requested_by=order.requested_by,
            target=self._target,
            simulated=self._machine.simulated,
            policy_sha256=self._policy_sha256,
            status=status,
            reasons=reasons,
            places=merged,
            attempts=ends(known.attempts),
            journal_sha256=self._journal.head,
            started_at=known.attempts[0].started_at,
            ended_at=self._now(),
        )
