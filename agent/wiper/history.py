"""What the journal's entries amount to. Pure."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from agent.wiper.journal import (
    Answered,
    AttemptEnded,
    AttemptStarted,
    Entry,
    Noticed,
    OrderTaken,
    StepDone,
    StepIntended,
    TenantRecorded,
    Verified,
)
from agent.wiper.tenant.accounts import Tenant
from shared.documents import Attempt
from shared.envelope import Envelope
from shared.messages import Command


class Known(NamedTuple):
    """
    A command that was met before.

    `taken`: the order as it came, where it passed the checks and is carried out. `touched`: something may have been
    changed for it. `answer`: the final message, as sent. The rest is what its attempts wrote, in order.
    """

    sha256: str
    taken: Envelope | None = None
    kind: str = ""
    generation: str | None = None
    touched: bool = False
    answer: bytes | None = None
    attempts: tuple[Attempt, ...] = ()
    intended: tuple[tuple[int, StepIntended], ...] = ()
    done: tuple[tuple[int, StepDone], ...] = ()
    noticed: tuple[str, ...] = ()
    verified: Verified | None = None


class History(NamedTuple):
    """
    All that decisions need of the journal.

    Args:
        commands: What is known of each command, by its id.
        tenants: The newest record of each account name.
        used_uids: Every user id that was ever given to a tenant.
        highest_seq: Of the orders taken; -1 when there is none.
        time_floor: When the latest order was taken; the clock cannot truly stand before it.
        wipes_taken_at: When wipes were taken.
        touched: Generations of accounts on which a wipe has begun.
        findings: What any wipe of a generation found that leaves doubt for ever, by generation.
        meant: Marks of what any wipe of a generation knew to be the tenant's, by generation.
        certificate: Digest of the machine's newest certificate; None before the first.
    """

    commands: dict[str, Known]
    tenants: dict[str, Tenant]
    used_uids: frozenset[int]
    highest_seq: int
    time_floor: datetime | None
    wipes_taken_at: tuple[datetime, ...]
    touched: frozenset[str]
    findings: dict[str, tuple[str, ...]]
    meant: dict[str, frozenset[str]]
    certificate: str | None = None

    def unfinished(self) -> tuple[Command, ...]:
        """Return the commands that were taken and not answered, the oldest first."""
        return tuple(
            Command(command_id=command_id, envelope=known.taken)
            for command_id, known in self.commands.items()
            if known.taken is not None and known.answer is None
        )


def read(entries: Iterable[Entry]) -> History:
    """Return what a journal amounts to."""
    commands: dict[str, Known] = {}
    tenants: dict[str, Tenant] = {}
    uids: set[int] = set()
    highest, floor, wipes, certificate = -1, None, [], None
    for entry in entries:
        fact = entry.fact
        if isinstance(fact, TenantRecorded):
            tenants[fact.tenant.name] = fact.tenant
            uids.add(fact.tenant.uid)
            known = commands.get(fact.tenant.command_id)
            if known is not None:
                commands[fact.tenant.command_id] = known._replace(touched=True)
            continue
        if isinstance(fact, OrderTaken):
            highest = max(highest, fact.seq)
            floor = entry.at if floor is None else max(floor, entry.at)
            if fact.kind == "wipe":
                wipes.append(entry.at)
        if isinstance(fact, Answered):
            certificate = fact.certificate or certificate
        commands[fact.command_id] = _after(commands.get(fact.command_id), entry)
    # To cut access takes no home over: after it a wipe is checked as strictly as before.
    wiped = (one for one in commands.values() if one.touched and one.kind == "wipe")
    touched = frozenset(one.generation for one in wiped if one.generation)
    return History(
        commands,
        tenants,
        frozenset(uids),
        highest,
        floor,
        tuple(wipes),
        touched,
        _findings(commands.values()),
        _meant(commands.values()),
        certificate,
    )


def _findings(commands: Iterable[Known]) -> dict[str, tuple[str, ...]]:
    """A new order about the same account does not wash it clean of what an earlier one found."""
    found: dict[str, tuple[str, ...]] = {}
    for known in commands:
        if known.generation is not None:
            news = (*(finding for _, one in known.intended for finding in one.findings), *known.noticed)
            found[known.generation] = tuple(dict.fromkeys((*found.get(known.generation, ()), *news)))
    return found


def _meant(commands: Iterable[Known]) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for known in commands:
        if known.generation is not None:
            news = frozenset(mark for _, one in known.intended for mark in one.meant)
            found[known.generation] = found.get(known.generation, frozenset()) | news
    return found


def _after(known: Known | None, entry: Entry) -> Known:
    """Return what is known of a command after one more entry."""
    match entry.fact:
        case OrderTaken(sha256=sha256, generation=generation, envelope=envelope, kind=kind):
            return Known(sha256, taken=envelope, kind=kind, generation=generation)
        case Answered(sha256=sha256, message=message):
            return (known or Known(sha256))._replace(answer=message)
    if known is None:
        raise AssertionError(f"entry {entry.number} is about a command that was never taken")
    number = len(known.attempts)
    match entry.fact:
        case AttemptStarted(boot_id=boot_id):
            return known._replace(attempts=(*known.attempts, Attempt(boot_id=boot_id, started_at=entry.at)))
        case AttemptEnded():
            last = known.attempts[-1]
            ended = Attempt(boot_id=last.boot_id, started_at=last.started_at, ended_at=entry.at)
            return known._replace(attempts=(*known.attempts[:-1], ended))
        case StepIntended():
            return known._replace(touched=True, intended=(*known.intended, (number, entry.fact)))
        case StepDone():
            return known._replace(done=(*known.done, (number, entry.fact)))
        case Noticed(finding=finding):
            return known._replace(noticed=(*known.noticed, finding))
        case Verified():
            return known._replace(verified=entry.fact)
    raise AssertionError(f"entry {entry.number} is of no known kind")
