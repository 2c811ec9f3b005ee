"""The dry run: what a wipe of an account would take away, place by place, and whether it would be carried out."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import structlog
from msgspec import Struct
from msgspec.structs import replace

from agent.wiper import history
from agent.wiper.history import History
from agent.wiper.journal import entries_of
from agent.wiper.orders import backwards, policy_objection
from agent.wiper.plan import obstacle, plan, promised
from agent.wiper.policy import Policy
from agent.wiper.root import baseline
from agent.wiper.status import OPTIONAL_PLACES, SECOND_LOOKS
from agent.wiper.steps import CLEAN, NOT_EXAMINED, RESIDUE, Item, Step, Subject
from agent.wiper.system.ground import Ground
from agent.wiper.tenant.accounts import check_name, check_target
from agent.wiper.tenant.inspection import inspect
from agent.wiper.wipe import steps_for
from shared.codes import MEANING, Code, Trouble
from shared.documents import Target, WipeWork
from shared.records import WipeMethod

log = structlog.get_logger()

REFUSED, CARRIED_OUT = "refused", "carried_out"

BOUNDLESS = frozenset({"home", "elsewhere"})
"""Places with as many items as the tenant likes: none of them is kept in memory."""

EVERYTHING = promised((WipeMethod.USER_DELETION,))

REMEDIES: dict[Code, str] = {
    Code.BAD_ACCOUNT_NAME: "name an account, not a path or a pattern",
    Code.PROTECTED_ACCOUNT: "no order can touch it; tenants get accounts of their own by an order that grants access",
    Code.UNKNOWN_ACCOUNT: "it was not made for a tenant by an order on this machine, so no order would ever touch it",
    Code.STALE_ACCOUNT: "the platform has to order it for the present holder of the account",
    Code.ACCOUNT_MISMATCH: "somebody changed the account since it was made; set its ids and home back",
    Code.SHARED_UID: "give the other account, or its subordinate ids, another number",
    Code.UNSAFE_HOME: "put the tenant's own directory back in its place, in a directory that only root can change",
    Code.NOT_ALLOWED: "the policy of this machine decides; see policy.toml",
    Code.CLOCK_UNTRUSTED: "set this machine's clock",
}
"""What to do about a refusal."""


class Shown(Struct, frozen=True, kw_only=True, tag_field="type", tag="item"):
    """One item of one place."""

    place: str
    what: str
    where: str
    goes: bool
    why: str | None = None


class Count(Struct, frozen=True, kw_only=True):
    """How much of a place goes and stays; `blind`: why it cannot be looked into, or not to its end."""

    goes: int = 0
    stays: int = 0
    blind: str | None = None


class Summary(Struct, frozen=True, kw_only=True, tag_field="type", tag="summary"):
    """
    The last line: what would become of an order to wipe the account by a method.

    `would_be`: "carried_out" or "refused", then with `code`, its `meaning`, a `detail` and a `remedy`. `places`: those
    that the method promises, in their order. `left_alone`: those that it does not.
    """

    username: str
    uid: int | None
    method: WipeMethod
    would_be: str
    code: Code | None = None
    meaning: str | None = None
    detail: str | None = None
    remedy: str | None = None
    places: dict[str, Count] = {}
    left_alone: tuple[str, ...] = ()


class Unplanned(Struct, frozen=True, kw_only=True, tag_field="type", tag="trouble"):
    """The last line where nothing can be said: what is in the way, and what to do about it."""

    code: Code
    detail: str
    remedy: str


class Preview:
    """
    Says what an order would do; changes nothing.

    Args:
        journal: The file of the wiper's journal, with the machine's records of its tenants.
        ground: The machine, real or simulated.
        policy: The provider's.
        now: The clock, UTC.
    """

    def __init__(self, journal: Path, ground: Ground, policy: Policy, now: Callable[[], datetime]) -> None:
        self._journal = journal
        self._ground = ground
        self._policy = policy
        self._now = now

    def lines(self, username: str, method: WipeMethod) -> Iterator[Shown | Summary]:
        """
        Give each item as it is found, then the summary.

        Raises:
            Trouble: `busy` or `state_corrupt`: the journal cannot be read now.
        """
        past = history.read(entries_of(self._journal))
        try:
            subject = self._subject(username, past)
        except Trouble as trouble:
            yield self._summary(username, None, method, trouble)
            return
        tally = _Tally(method)
        steps = steps_for(subject)
        for name in promised((method,)):
            yield from tally.through(steps[name])
        work = WipeWork(target=self._target(past, username), methods=(method,))
        now = self._now()
        objection = backwards(past, now) or policy_objection(work, past, self._policy, now)
        refusal = Trouble(objection.code, objection.detail) if objection else None
        yield self._summary(username, subject.tenant.uid, method, refusal, tally.places)

    def _subject(self, username: str, past: History) -> Subject:
        """
        Return the account as an order would find it.

        Raises:
            Trouble: why an order about it would be refused, however it is signed.
        """
        check_name(username, self._policy)
        target = self._target(past, username)
        tenant = check_target(
            target,
            past.tenants.get(username),
            lambda one: inspect(self._ground, one),
            self._policy,
            touched=target.generation in past.touched,
        )
        recalled = baseline.recall(self._journal.parent, tenant)
        return Subject(
            self._ground,
            tenant,
            policy=self._policy,
            baseline=recalled,
            tenants=frozenset(past.tenants),
            meant=past.meant.get(tenant.generation, frozenset()),
        )

    def _target(self, past: History, username: str) -> Target:
        """Return the account that an order of today would mean: the newest record of this name."""
        record = past.tenants.get(username)
        if record is None:
            raise Trouble(Code.UNKNOWN_ACCOUNT, f"{username} was not made for a tenant here")
        return Target(username=record.name, uid=record.uid, generation=record.generation)

    def _summary(
        self,
        username: str,
        uid: int | None,
        method: WipeMethod,
        refusal: Trouble | None,
        places: dict[str, Count] | None = None,
    ) -> Summary:
        about = Summary(
            username=username,
            uid=uid,
            method=method,
            would_be=REFUSED if refusal else CARRIED_OUT,
            places=places or {},
            left_alone=tuple(one for one in EVERYTHING if one not in promised((method,))),
        )
        if refusal is None:
            return about
        code = refusal.code
        remedy = refusal.remedy or REMEDIES.get(code, "")
        return replace(about, code=code, meaning=MEANING[code], detail=refusal.detail, remedy=remedy)


class _Tally:
    """Counts what goes and stays, place by place."""

    def __init__(self, method: WipeMethod) -> None:
        self.places: dict[str, Count] = {}
        self._planned = {one.step: one for one in plan((method,))}
        self._told: set[str] = set()

    def through(self, step: Step) -> Iterator[Shown]:
        """Give the items of a step, then count them."""
        goes, stays, blind, left_out = 0, 0, None, self._left_out(step.name)
        try:
            for item in self._items(step):
                shown = Shown(place=step.name, what=item.what, where=item.where, goes=item.goes, why=item.why)
                if left_out and item.goes:
                    shown = replace(shown, goes=False, why=left_out)
                goes, stays = goes + shown.goes, stays + (not shown.goes)
                yield shown
            if step.name in OPTIONAL_PLACES - SECOND_LOOKS:
                looked = step.verify()
                blind = looked.reason if looked.state == NOT_EXAMINED else None
        except (OSError, ValueError) as error:
            log.warning("wiper.not_listed", step=step.name, error=str(error))
            blind = f"it cannot be looked at: {getattr(error, 'strerror', None) or type(error).__name__}"
        self.places[step.name] = Count(goes=goes, stays=stays, blind=blind)

    def _items(self, step: Step) -> Iterator[Item]:
        """Leave out what an earlier place, with few items, has told: most of those are files of his elsewhere too."""
        for item in step.list():
            if step.name not in BOUNDLESS:
                self._told.add(item.where)
            elif step.name == "elsewhere" and item.where in self._told:
                continue
            yield item

    def _left_out(self, name: str) -> str | None:
        """Return why a step would be left out: one that must be clean before it would not be."""
        states = {place: RESIDUE if one.stays or one.blind else CLEAN for place, one in self.places.items()}
        planned = self._planned.get(name)
        return obstacle(planned, states) if planned else None
