"""Carrying a wipe out: each step journalled before and after, then a look at every place, then the evidence."""

from collections.abc import Callable

from agent.wiper import history
from agent.wiper.blocks import media
from agent.wiper.course import Clock, Course, Report
from agent.wiper.evidence import Machine, evidence, unexamined
from agent.wiper.journal import AttemptEnded, Journal, Verified
from agent.wiper.plan import plan, promised
from agent.wiper.steps import Step, Subject
from agent.wiper.steps.access import Access
from agent.wiper.steps.account import Account
from agent.wiper.steps.baseline import Baseline
from agent.wiper.steps.containers import Containers
from agent.wiper.steps.copies import Copies
from agent.wiper.steps.directory import Directory
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
from agent.wiper.steps.sessions import Sessions
from agent.wiper.steps.sshd import Sshd
from agent.wiper.steps.trim import Trim
from shared.documents import Medium, Order, PlaceReport, WipeEvidence, WipeWork


def steps_for(subject: Subject) -> dict[str, Step]:
    """Return every step there is, by its place."""
    processes = Processes(subject)
    steps: tuple[Step, ...] = (
        Baseline(subject),
        Sshd(subject),
        Login(subject),
        Keys(subject),
        Access(subject),
        Schedules(subject),
        Sessions(subject),
        processes,
        Mounts(subject),
        Ipc(subject),
        Namespaces(subject),
        Home(subject),
        Elsewhere(subject),
        Held(subject),
        Dumps(subject),
        Containers(subject),
        Gpus(subject, processes),
        Privileges(subject),
        Account(subject),
        Trim(subject),
        Copies(subject),
        Directory(subject),
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
        self._journal = journal
        self._machine = machine
        self._policy_sha256 = policy_sha256
        self._now = now
        self._course = Course(order.command_id, journal, now, report)

    def run(self, subject: Subject, steps_of: Callable[[Subject], dict[str, Step]] = steps_for) -> WipeEvidence:
        """
        Take every step and return what it came to; may be run again after any interruption.

        Raises:
            Trouble: `journal_unwritable`: it stopped where it was, and goes on when asked again.
        """
        self._course.begin(self._machine.boot_id)
        past = history.read(self._journal.entries)
        meant = past.meant.get(self._target.generation, frozenset())
        steps = steps_of(subject._replace(alive=self._course.alive, alert=self._course.alert, meant=meant))
        for planned in plan(self._methods):
            self._course.take(planned, steps)
        places = tuple(self._course.verify(steps[name]) for name in promised(self._methods))
        # A method that takes no files away did nothing to any medium.
        surveyed = media.survey(subject.ground, subject.tenant.home) if "home" in promised(self._methods) else ()
        return self._end(places, media=surveyed)

    def give_up(self, objection: str) -> WipeEvidence:
        """Return failed evidence for a wipe that was begun and may not go on: the account is not what it was."""
        self._course.begin(self._machine.boot_id)
        return self._end(unexamined(self._order, objection), objection)

    def _end(
        self, places: tuple[PlaceReport, ...], objection: str | None = None, media: tuple[Medium, ...] = ()
    ) -> WipeEvidence:
        command_id = self._order.command_id
        verified = Verified(
            command_id=command_id, places=places, scope=self._course.scope, media=media, limits=self._course.limits
        )
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
