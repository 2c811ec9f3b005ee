"""One request from the envelope to the answer: verify, lock, judge, check, journal, do, sign, journal, answer."""

from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.files import flush_directory
from agent.identity import Pinned
from agent.wiper import grant, history
from agent.wiper.evidence import Machine
from agent.wiper.history import History
from agent.wiper.journal import Answered, Fact, Journal, OrderTaken, TenantRecorded
from agent.wiper.orders import Answer, Proceed, Refuse, Resume, judge, verified
from agent.wiper.policy import Policy
from agent.wiper.revoke import Revoke
from agent.wiper.root import baseline
from agent.wiper.steps import Subject
from agent.wiper.system.ground import Ground
from agent.wiper.system.lock import held
from agent.wiper.tenant.accounts import Tenant, check_target
from agent.wiper.tenant.inspection import inspect
from agent.wiper.wipe import Wipe
from shared.codec import encode
from shared.codes import Code, Trouble
from shared.documents import (
    Document,
    GrantWork,
    Order,
    RevokeWork,
    WipeEvidence,
    WipeWork,
    WorkFailure,
    kind_of,
    sha256_of,
    sign,
)
from shared.messages import RESUME, Accepted, Command, Progress, Refused, Result

log = structlog.get_logger()

UNFINISHED = "unfinished"
"""The file in the state directory that is there while an order is begun and not answered; rackproof-resume.service."""

Say = Callable[[bytes], None]
"""Writes one message to whoever asked; never fails."""


class Desk:
    """
    Where requests come in.

    Args:
        state_dir: The wiper's own directory, for the journal and the lock.
        pinned: Whom this machine obeys.
        key: What outcomes are signed with.
        policy: The provider's.
        ground: The machine, real or simulated.
        machine: How evidence describes it.
        now: The clock, UTC.
        say: Takes each message, in order.
    """

    def __init__(
        self,
        state_dir: Path,
        pinned: Pinned,
        key: Ed25519PrivateKey,
        policy: Policy,
        ground: Ground,
        machine: Machine,
        now: Callable[[], datetime],
        say: Say,
    ) -> None:
        self._state_dir = state_dir
        self._pinned = pinned
        self._key = key
        self._policy = policy
        self._ground = ground
        self._machine = machine
        self._now = now
        self._say = say

    def serve(self, command: Command) -> None:
        """
        Answer one command: `refused` when nothing was touched for it, else `result`; once answered, always the same.

        Raises:
            Trouble: the work was begun and could not be brought to an end; it goes on when asked again.
        """
        try:
            order = verified(command, self._pinned.trust, self._pinned.hardware_id)
        except Trouble as trouble:
            self._refuse(command.command_id, trouble)
            return
        with ExitStack() as stack:
            try:
                stack.enter_context(held(self._state_dir / "lock", order.command_id))
                journal = stack.enter_context(closing(Journal(self._state_dir / "journal.db")))
            except Trouble as trouble:
                self._refuse(order.command_id, trouble)
                return
            self._decide(command, order, sha256_of(command.envelope), journal)
            self._unmark(journal)

    def resume(self) -> None:
        """
        Carry on with every order that was taken and never answered, the oldest first.

        Raises:
            Trouble: the journal cannot be read, or the work not be brought to an end; it goes on when asked again.
        """
        with closing(Journal(self._state_dir / "journal.db")) as journal:
            unfinished = history.read(journal.entries).unfinished()
        log.info("wiper.resume", unfinished=len(unfinished))
        for done, command in enumerate(unfinished):
            self._say(_resumed(done, len(unfinished)))
            self.serve(command)
        self._say(_resumed(len(unfinished), len(unfinished)))

    def _decide(self, command: Command, order: Order, sha256: str, journal: Journal) -> None:
        past = history.read(journal.entries)
        verdict = judge(order, sha256, past, self._policy, self._now())
        log.info("wiper.order", command_id=order.command_id, kind=kind_of(order.work), verdict=type(verdict).__name__)
        match verdict:
            case Answer(message=message):
                self._say(message)
            case Refuse(code=code, detail=detail, final=final):
                self._refuse_for_good(order, sha256, journal if final else None, Trouble(code, detail))
            case Proceed() | Resume():
                self._work(command, order, sha256, journal, past, resuming=isinstance(verdict, Resume))

    def _work(
        self, command: Command, order: Order, sha256: str, journal: Journal, past: History, *, resuming: bool
    ) -> None:
        """Check the machine; the last place where an order can be refused. Then do it and sign what came of it."""
        known = past.commands.get(order.command_id)
        touched = known is not None and known.touched
        try:
            tenant = self._tenant(order, past, touched=touched)
            objection = None
        except Trouble as trouble:
            if not touched:
                self._refuse_for_good(order, sha256, journal, trouble)
                return
            tenant, objection = None, trouble
        if not resuming and not self._taken(command, order, sha256, journal, tenant):
            return
        self._say(encode(Accepted(command_id=order.command_id)))
        outcome = self._do(order, sha256, journal, past, tenant, objection)
        envelope = sign(outcome, self._key)
        message = encode(Result(command_id=order.command_id, envelope=envelope))
        certificate = sha256_of(envelope) if isinstance(outcome, WipeEvidence) else None
        answered = Answered(command_id=order.command_id, sha256=sha256, message=message, certificate=certificate)
        journal.append(self._now(), answered)
        self._say(message)

    def _tenant(self, order: Order, past: History, *, touched: bool) -> Tenant:
        """
        Return the record of the account that an order may touch, or make; nothing is changed yet.

        Raises:
            Trouble: why the order may not be carried out.
        """
        work = order.work
        if isinstance(work, GrantWork):
            if touched:
                return past.tenants[work.username]
            return grant.prepare(order, past, self._policy, self._ground, self._now())
        assert isinstance(work, WipeWork | RevokeWork)
        target = work.target
        return check_target(
            target,
            past.tenants.get(target.username),
            lambda tenant: inspect(self._ground, tenant),
            self._policy,
            touched=target.generation in past.touched,
        )

    def _taken(self, command: Command, order: Order, sha256: str, journal: Journal, tenant: Tenant | None) -> bool:
        """Journal that the order is ours to do; without that, refuse it."""
        assert tenant is not None
        work = order.work
        facts: list[Fact] = [
            OrderTaken(
                command_id=order.command_id,
                sha256=sha256,
                envelope=command.envelope,
                seq=order.seq,
                kind=kind_of(work),
                generation=work.target.generation if isinstance(work, WipeWork | RevokeWork) else None,
            )
        ]
        if isinstance(work, GrantWork):
            facts.append(TenantRecorded(tenant=tenant))
        try:
            self._mark()
            journal.append(self._now(), *facts)
        except Trouble as trouble:
            self._refuse(order.command_id, trouble)
            return False
        return True

    def _mark(self) -> None:
        """
        Say by a file that something is unfinished: the unit that runs at boot asks for it, and cannot ask a journal.

        Raises:
            Trouble: `journal_unwritable`.
        """
        mark = self._state_dir / UNFINISHED
        try:
            mark.touch(mode=0o600)
            flush_directory(self._state_dir)
        except OSError as error:
            raise Trouble(Code.JOURNAL_UNWRITABLE, f"{mark}: {error.strerror}") from error

    def _unmark(self, journal: Journal) -> None:
        if history.read(journal.entries).unfinished():
            return
        try:
            (self._state_dir / UNFINISHED).unlink(missing_ok=True)
        except OSError as error:
            # It costs a look at the next boot, nothing more.
            log.warning("wiper.mark_stays", error=error.strerror)

    def _do(
        self,
        order: Order,
        sha256: str,
        journal: Journal,
        past: History,
        tenant: Tenant | None,
        objection: Trouble | None,
    ) -> Document:
        if isinstance(order.work, GrantWork):
            assert tenant is not None
            return self._grant(order, sha256, journal, tenant, frozenset(past.tenants))
        kind = Revoke if isinstance(order.work, RevokeWork) else Wipe
        work = kind(order, journal, self._machine, self._policy.sha256, self._now, self._reporter(order))
        if tenant is None:
            assert objection is not None
            return work.give_up(f"{objection.code}: {objection.detail}"[:300])
        recalled = baseline.recall(self._state_dir, tenant)
        subject = Subject(self._ground, tenant, policy=self._policy, baseline=recalled, tenants=frozenset(past.tenants))
        return work.run(subject)

    def _grant(self, order: Order, sha256: str, journal: Journal, tenant: Tenant, tenants: frozenset[str]) -> Document:
        try:
            return grant.carry_out(order, sha256, tenant, journal, self._ground, self._now(), self._state_dir, tenants)
        except Trouble as trouble:
            if trouble.code is Code.JOURNAL_UNWRITABLE:
                raise
            return WorkFailure(
                hardware_id=order.aud,
                command_id=order.command_id,
                order_sha256=sha256,
                code=trouble.code,
                detail=trouble.detail[:300],
                failed_at=self._now(),
            )

    def _reporter(self, order: Order) -> Callable[[str, int, int], None]:
        def report(step: str, done: int, of: int) -> None:
            self._say(encode(Progress(command_id=order.command_id, step=step, done=done, of=of)))

        return report

    def _refuse_for_good(self, order: Order, sha256: str, journal: Journal | None, trouble: Trouble) -> None:
        """Refuse, and remember it, so that the same order kept back cannot take effect later."""
        message = _refusal(order.command_id, trouble)
        if journal is not None:
            try:
                journal.append(self._now(), Answered(command_id=order.command_id, sha256=sha256, message=message))
            except Trouble as unwritable:
                self._refuse(order.command_id, unwritable)
                return
        self._say(message)

    def _refuse(self, command_id: str, trouble: Trouble) -> None:
        self._say(_refusal(command_id, trouble))


def _resumed(done: int, of: int) -> bytes:
    return encode(Progress(command_id=RESUME.decode(), step="resume", done=done, of=of))


def _refusal(command_id: str, trouble: Trouble) -> bytes:
    detail = "".join(one if one.isprintable() else "?" for one in trouble.detail)
    return encode(Refused(command_id=command_id, code=trouble.code, detail=detail[:300]))
