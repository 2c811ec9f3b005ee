"""Whether a tenant is on the machine, as the agent's own journal tells it. Pure."""

from collections.abc import Iterable

from agent.journal import Entry
from shared.codes import Code, Trouble
from shared.documents import PRIVILEGED_KINDS, GrantOutcome, WipeEvidence, read
from shared.messages import Result
from shared.records import WipeStatus


def tenants(entries: Iterable[Entry]) -> frozenset[str]:
    """
    Return the accounts that were granted and have not been wiped since, by name.

    Args:
        entries: Of the journal, in the order of their orders.

    Whoever's access was only cut is still a tenant: his data is on the machine. A wipe that is not `failed` has ended
    his stay, whatever it left.
    """
    there: dict[str, str] = {}
    for entry in entries:
        if not isinstance(entry.answer, Result):
            continue
        envelope = entry.answer.envelope
        if envelope.payloadType == GrantOutcome.PAYLOAD_TYPE:
            target = read(envelope.payload, GrantOutcome).target
            there[target.generation] = target.username
        elif envelope.payloadType == WipeEvidence.PAYLOAD_TYPE:
            wiped = read(envelope.payload, WipeEvidence)
            if all(one.status is not WipeStatus.FAILED for one in wiped.methods):
                there.pop(wiped.target.generation, None)
    return frozenset(there.values())


def make_way(entries: Iterable[Entry]) -> None:
    """
    See that nobody would pay for a measurement.

    Args:
        entries: Of the journal's privileged kinds, in the order of their orders.

    Raises:
        Trouble: `booked`: a tenant is on the machine, or an order about one waits.
    """
    known = tuple(entries)
    waiting = next((one for one in known if one.kind in PRIVILEGED_KINDS and one.answer is None), None)
    if waiting is not None:
        raise Trouble(Code.BOOKED, f"{waiting.kind} comes first")
    there = tenants(known)
    if there:
        raise Trouble(Code.BOOKED, f"{', '.join(sorted(there))[:200]} {'has' if len(there) == 1 else 'have'} access")
