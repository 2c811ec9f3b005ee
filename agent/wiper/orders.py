"""Whether an order is genuine, and what is to be done with it. Pure."""

from datetime import datetime, timedelta

from msgspec import Struct

from agent.wiper.history import History
from agent.wiper.policy import Policy
from shared.codes import Code, Trouble
from shared.documents import (
    PRIVILEGED_KINDS,
    Order,
    RevokeWork,
    Trust,
    WipeWork,
    Work,
    in_force,
    kind_of,
    open_signed,
)
from shared.messages import Command
from shared.records import WipeMethod

CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far this machine's clock may be behind an order or its own journal before nothing destructive is done."""

DAY = timedelta(hours=24)

SUPPORTED_METHODS = frozenset(WipeMethod)


class Proceed(Struct, frozen=True):
    """A new order: check the machine, journal it, do it."""


class Resume(Struct, frozen=True):
    """The order was begun before: go on."""


class Answer(Struct, frozen=True):
    """The order was answered before: repeat the message byte by byte."""

    message: bytes


class Refuse(Struct, frozen=True):
    """Do nothing. `final`: remember it, so that the same order cannot take effect later."""

    code: Code
    detail: str
    final: bool = True


Verdict = Proceed | Resume | Answer | Refuse


def verified(command: Command, trust: Trust, hardware_id: str) -> Order:
    """
    Return a command's order if the platform signed it for this machine and for this command.

    Raises:
        Trouble: `bad_signature`, `wrong_document`, `weak_key`, `malformed` or `wrong_machine`.
    """
    order = open_signed(command.envelope, Order, trust.order_public_key)
    if order.aud != hardware_id:
        raise Trouble(Code.WRONG_MACHINE, f"the order is for {order.aud}")
    if order.command_id != command.command_id:
        raise Trouble(Code.MALFORMED, "the command's id is not the one that was signed")
    return order


def judge(order: Order, sha256: str, history: History, policy: Policy, now: datetime) -> Verdict:
    """
    Decide what to do with a genuine order.

    Args:
        order: Verified: signed by the platform, for this machine.
        sha256: The digest of its payload.
        history: What the journal amounts to.
        policy: The provider's.
        now: This machine's clock, UTC.
    """
    known = history.commands.get(order.command_id)
    if known is not None:
        if known.sha256 != sha256:
            return Refuse(Code.ID_REUSE, f"{order.command_id} was another order before", final=False)
        if known.answer is not None:
            return Answer(known.answer)
        if known.touched or in_force(order, now):
            return Resume()
        return Refuse(Code.EXPIRED, f"expired at {order.expires_at.isoformat()}, and nothing was begun")
    return _objection(order, history, policy, now) or Proceed()


def _objection(order: Order, history: History, policy: Policy, now: datetime) -> Refuse | None:
    kind, work = kind_of(order.work), order.work
    if kind not in PRIVILEGED_KINDS:
        return Refuse(Code.UNSUPPORTED, f"the wiper does not do {kind}")
    if isinstance(work, WipeWork | RevokeWork) and (clock := _clock_objection(order, history, now)):
        return clock
    if not in_force(order, now):
        return Refuse(Code.EXPIRED, f"expired at {order.expires_at.isoformat()}")
    if order.seq <= history.highest_seq:
        return Refuse(Code.REPLAYED, f"order {order.seq} comes after {history.highest_seq} was taken")
    return policy_objection(work, history, policy, now)


def policy_objection(work: Work, history: History, policy: Policy, now: datetime) -> Refuse | None:
    """Return why the provider's policy, or this version, does not do a piece of work now; None if it does."""
    kind = kind_of(work)
    if kind not in policy.kinds:
        return Refuse(Code.NOT_ALLOWED, f"the policy does not allow {kind}")
    if isinstance(work, RevokeWork) and policy.dry_run:
        return Refuse(Code.NOT_ALLOWED, "the policy says dry run: nobody's access is cut")
    if isinstance(work, WipeWork):
        return _wipe_objection(work, history, policy, now)
    return None


def backwards(history: History, now: datetime) -> Refuse | None:
    """Return why this machine's clock cannot be trusted: it stood later before; None if it did not."""
    if history.time_floor is not None and history.time_floor - now > CLOCK_TOLERANCE:
        return Refuse(Code.CLOCK_UNTRUSTED, f"the clock stood at {history.time_floor.isoformat()} before")
    return None


def _clock_objection(order: Order, history: History, now: datetime) -> Refuse | None:
    if order.issued_at - now > CLOCK_TOLERANCE:
        return Refuse(Code.CLOCK_UNTRUSTED, f"the order was issued at {order.issued_at.isoformat()}, here it is before")
    return backwards(history, now)


def _wipe_objection(work: WipeWork, history: History, policy: Policy, now: datetime) -> Refuse | None:
    unsupported = sorted(set(work.methods) - SUPPORTED_METHODS)
    if unsupported:
        return Refuse(Code.UNSUPPORTED, f"this version cannot do {', '.join(unsupported)}")
    if policy.dry_run:
        return Refuse(Code.NOT_ALLOWED, "the policy says dry run: nothing is wiped")
    if sum(now - at < DAY for at in history.wipes_taken_at) >= policy.wipes_per_day:
        return Refuse(Code.NOT_ALLOWED, f"the policy allows {policy.wipes_per_day} wipes a day")
    return None
