"""Carrying out orders: verify, write down, do, answer; once, whatever is repeated or cut off."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

import structlog

from agent.identity import Pinned
from agent.journal import Entry, Journal, State
from shared.codes import Code, Trouble
from shared.documents import PRIVILEGED_KINDS, Order, in_force, kind_of, open_signed, sha256_of
from shared.envelope import Envelope
from shared.messages import Accepted, Command, Progress, Refused, Result

MOST_ATTEMPTS = 50
"""Times that one command's work is begun before it is given up: every restart of the agent costs one."""

YIELDING = frozenset({"benchmark"})
"""Kinds of work that end at once, and for good, when an order about a tenant comes in."""

UNKEPT = frozenset({Code.STATE_UNWRITABLE, Code.STATE_CORRUPT})
"""Trouble of our own disk: it ends nothing, and is tried again."""
PAUSE_S = 5.0

Answer = Result | Refused
Report = Callable[[str, int, int], None]
"""Takes a step's name, how many of its items are done, and of how many."""
Doer = Callable[[Order, Envelope, Report], Awaitable[Answer]]
"""Does one kind of work; given the verified order and its envelope; must be safe to call again after a crash."""
GiveUp = Callable[[Order, Envelope, Trouble], Answer]
"""Makes the final answer for work that cannot be finished."""

log = structlog.get_logger()


class Worker:
    """
    Takes orders from the link and does them one at a time, in the order in which they were signed.

    Args:
        pinned: Who we are and whom we obey.
        journal: Where orders and answers are written down.
        doers: What does each kind of work; a kind without one is `unsupported`.
        give_up: Makes the answer when work failed or was interrupted too often.
        send: Passes a message on while the link is up.
        notify: Says that the journal holds a new answer.
    """

    def __init__(
        self,
        pinned: Pinned,
        journal: Journal,
        doers: Mapping[str, Doer],
        give_up: GiveUp,
        send: Callable[[Accepted | Refused | Progress], None],
        notify: Callable[[], None],
    ) -> None:
        self._pinned = pinned
        self._journal = journal
        self._doers = doers
        self._give_up = give_up
        self._send = send
        self._notify = notify
        self._more = asyncio.Event()
        self._yielding: asyncio.Future[Answer] | None = None
        self.doing = ""

    def take(self, command: Command) -> None:
        """Verify an order and write it down, or refuse it; answer a repeat from the journal."""
        try:
            self._admit(command, datetime.now(UTC))
        except Trouble as trouble:
            if trouble.code in UNKEPT:
                # Ours, not the order's fault: unanswered, it comes again when the disk has room.
                log.error("command.not_kept", command_id=command.command_id, code=trouble.code, detail=trouble.detail)
                return
            log.warning("command.refused", command_id=command.command_id, code=trouble.code, detail=trouble.detail)
            refused = Refused(command_id=command.command_id, code=trouble.code, detail=trouble.detail[:300])
            self._send(refused)

    def _admit(self, command: Command, now: datetime) -> None:
        order = open_signed(command.envelope, Order, self._pinned.trust.order_public_key)
        digest = sha256_of(command.envelope)
        known = self._journal.find(order.command_id)
        verdict = judge(order, command.command_id, digest, known, self._pinned.hardware_id, now)
        if verdict is not None:
            raise verdict
        if known is None:
            kind = kind_of(order.work)
            if kind not in self._doers:
                raise Trouble(Code.UNSUPPORTED, f"this agent does no {kind!r}")
            self._journal.accept(order.command_id, digest, order.seq, kind, command.envelope)
            log.info("command.accepted", command_id=order.command_id, kind=kind, requested_by=order.requested_by)
            self._more.set()
            if kind in PRIVILEGED_KINDS and self._yielding is not None:
                self._yielding.cancel()
        if known is None or known.answer is None:
            self._send(Accepted(command_id=order.command_id))
        else:
            self._notify()

    async def run(self) -> None:
        """Do what the journal holds, oldest order first; ends only by cancellation."""
        while True:
            self._more.clear()
            try:
                waiting = self._journal.unfinished()
                if waiting:
                    await self._do(waiting[0])
            except Trouble as trouble:
                log.error("journal.unusable", code=trouble.code, detail=trouble.detail)
                await asyncio.sleep(PAUSE_S)
                continue
            if not waiting:
                await self._more.wait()

    async def _do(self, entry: Entry) -> None:
        try:
            order = open_signed(entry.envelope, Order, self._pinned.trust.order_public_key)
        except Trouble as trouble:
            # Signed by whom this machine obeyed before it was enrolled anew.
            log.warning("command.dropped", command_id=entry.command_id, code=trouble.code)
            self._journal.answer(Refused(command_id=entry.command_id, code=trouble.code, detail=trouble.detail[:300]))
            self._notify()
            return
        self.doing = entry.kind
        bound = log.bind(command_id=entry.command_id, kind=entry.kind, attempt=entry.attempts + 1)
        if entry.state is State.RUNNING and entry.attempts >= MOST_ATTEMPTS:
            answer = self._give_up(order, entry.envelope, Trouble(Code.INTERRUPTED, f"begun {entry.attempts} times"))
        else:
            self._journal.begin(entry.command_id)
            bound.info("command.started")
            answer = await self._attempt(order, entry.envelope)
        self._journal.answer(answer)
        self.doing = ""
        bound.info("command.answered", answer=type(answer).__name__.lower(), code=getattr(answer, "code", None))
        self._notify()

    async def _attempt(self, order: Order, envelope: Envelope) -> Answer:
        def report(step: str, done: int, of: int) -> None:
            self._send(Progress(command_id=order.command_id, step=step[:80], done=done, of=of))

        kind = kind_of(order.work)
        doing = asyncio.ensure_future(self._doers[kind](order, envelope, report))
        self._yielding = doing if kind in YIELDING else None
        try:
            return await doing
        except asyncio.CancelledError:
            if _asked_to_end():
                raise
            return self._give_up(order, envelope, Trouble(Code.BOOKED, "an order about a tenant came in"))
        except Trouble as trouble:
            return self._give_up(order, envelope, trouble)
        except Exception as error:
            # One kind of work that breaks must not take the reports and the link with it.
            log.exception("command.broke", command_id=order.command_id)
            return self._give_up(order, envelope, Trouble(Code.INTERNAL, f"{type(error).__name__}: {error}"[:300]))
        finally:
            self._yielding = None


def _asked_to_end() -> bool:
    """Whether it is this task that is to end, and not only what it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def judge(
    order: Order, named_id: str, order_sha256: str, known: Entry | None, hardware_id: str, now: datetime
) -> Trouble | None:
    """
    Decide whether a verified order is taken.

    Args:
        order: As signed.
        named_id: The command id of the message around it.
        order_sha256: The order's digest.
        known: What the journal holds under its id.
        hardware_id: Ours.
        now: Our clock.

    Returns:
        None to take it, or to answer it again; otherwise why not.
    """
    if order.aud != hardware_id:
        return Trouble(Code.WRONG_MACHINE, f"the order is for {order.aud}")
    if order.command_id != named_id:
        return Trouble(Code.MALFORMED, "the message names another command than the order in it")
    if known is not None:
        return None if known.order_sha256 == order_sha256 else Trouble(Code.ID_REUSE)
    if not in_force(order, now):
        words = f"expired at {order.expires_at.isoformat()}; this machine's clock says {now.isoformat()}"
        return Trouble(Code.EXPIRED, words)
    return None
