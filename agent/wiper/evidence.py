"""What is put on record about a wipe: the merged journal of all its attempts. Pure."""

import hashlib
from datetime import datetime

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from agent.wiper.blocks.treated import told
from agent.wiper.history import Known
from agent.wiper.journal import Verified
from agent.wiper.plan import promised
from agent.wiper.status import had_root, judge
from agent.wiper.tenant.accounts import Tenant
from shared.documents import Attempt, Order, PlaceReport, Target, WipeEvidence, WipeWork, write
from shared.records import WipeMethod

MAX_NOTES, MAX_NOTE, MAX_ATTEMPTS = 8, 120, 40
"""Bounds that keep the document far below a message's size, however often a wipe was cut off."""

MAX_FINDINGS, MAX_WORDS = 32, 300
MAX_BYTES = 36_000
"""Of the document; an envelope's payload may have 40,960, and what is too large could never be delivered."""

LIMITS = (
    "Logical removal by the operating system; no medium was cleared, purged or destroyed (NIST SP 800-88).",
    "Deleted blocks may stay readable on the medium until it erases or reuses them; trim only says that they are free.",
    "Overwriting reaches what files held at the end, not their names, what they held before, or remapped sectors.",
    "Files were found by the account's user ids, its own group and access lists; of contents only copies of canaries.",
    "Backups that left the machine, or that a program keeps which cannot be asked, are not known.",
    "Of what only root writes, programs that make root and the settings that decide who becomes root were compared.",
    "Security logs of the system are kept.",
)
ACCOUNT_STAYS = "The account itself, its privileges and its rows in system files stay: that is another method."
SHORTENED = "Notes to the places, and the last of many reasons, are left out: there were too many to deliver."
FEW, SHORT_WORDS = 6, 80
"""What is kept, of each kind and of each text, where everything would be too much."""
SIMULATED_LIMIT = "A simulated machine in a directory: nothing of a real machine was wiped."


class Machine(Struct, frozen=True, kw_only=True):
    """What evidence says about where it was made."""

    simulated: bool
    agent_version: str
    kernel: str
    os: str
    boot_id: str


def places_of(known: Known) -> tuple[PlaceReport, ...]:
    """
    Return each place as the last look found it, with what all attempts found and removed there.

    An attempt that was cut off did not write down what it removed; then `removed` is what is known at least.
    """
    return tuple(_merged(place, known) for place in (known.verified or Verified(command_id="", places=())).places)


def _merged(place: PlaceReport, known: Known) -> PlaceReport:
    intended = [(number, one) for number, one in known.intended if one.step == place.name]
    done = [one for _, one in known.done if one.step == place.name]
    by_attempt: dict[int, int] = {}
    for number, one in intended:
        by_attempt[number] = by_attempt.get(number, 0) + one.found
    removed = sum(one.removed for one in done)
    notes = [note for one in done for note in (*one.notes, *((one.skipped,) if one.skipped else ()))]
    if len(intended) > sum(one.skipped is None for one in done):
        notes.append("an attempt was cut off here; what it removed is not counted")
    return PlaceReport(
        name=place.name,
        state=place.state,
        reason=_words(place.reason) if place.reason is not None else None,
        found=max(max(by_attempt.values(), default=0), removed),
        removed=removed,
        left=place.left,
        took_ms=place.took_ms + sum(one.took_ms for one in done),
        notes=tuple(_words(note)[:MAX_NOTE] for note in dict.fromkeys(notes))[:MAX_NOTES],
    )


def evidence(
    order: Order,
    known: Known,
    machine: Machine,
    *,
    tenant: Tenant | None,
    previous_sha256: str | None,
    findings: tuple[str, ...],
    policy_sha256: str,
    journal_sha256: str,
    ended_at: datetime,
    objection: str | None = None,
) -> WipeEvidence:
    """
    Return the document about a wipe that has come to its end.

    Args:
        order: The order.
        known: What the journal has about it.
        machine: Where.
        tenant: The newest record of an account of this name, if there is one.
        previous_sha256: Digest of this machine's certificate before this one.
        findings: What any wipe of this account found that leaves doubt for ever.
        policy_sha256: Digest of the policy in force.
        journal_sha256: Digest of the journal up to here.
        ended_at: Now.
        objection: Why a resumed wipe could not go on, if it could not.
    """
    work = order.work
    assert isinstance(work, WipeWork)
    places = places_of(known)
    by_name = {place.name: place for place in places}
    findings = tuple(dict.fromkeys(_words(one) for one in findings))
    verified = known.verified
    return _fitting(
        WipeEvidence(
            hardware_id=order.aud,
            command_id=order.command_id,
            order_sha256=known.sha256,
            booking_id=order.booking_id,
            requested_by=order.requested_by,
            target=work.target,
            simulated=machine.simulated,
            agent_version=machine.agent_version,
            kernel=machine.kernel,
            os=machine.os,
            policy_sha256=policy_sha256,
            methods=tuple(
                judge(method, by_name, simulated=machine.simulated, findings=findings, objection=objection)
                for method in dict.fromkeys(work.methods)
            ),
            places=places,
            attempts=ends(known.attempts),
            previous_sha256=previous_sha256,
            tenant_sha256=_record(tenant, work.target),
            findings=findings[:MAX_FINDINGS],
            reimage_recommended=had_root(findings),
            verification=verified.scope if verified else None,
            media=told(verified.media if verified else (), (part for _, one in known.done for part in one.treated)),
            journal_sha256=journal_sha256,
            started_at=known.attempts[0].started_at,
            ended_at=ended_at,
            limits=_limits(known, work.methods, simulated=machine.simulated),
        )
    )


def _record(tenant: Tenant | None, target: Target) -> str | None:
    """Return the digest of the machine's record of the account that an order means."""
    if tenant is None or tenant.generation != target.generation:
        return None
    return hashlib.sha256(msgspec.json.encode(tenant, order="deterministic")).hexdigest()


def _words(text: str) -> str:
    """Return text that every reader and every store takes."""
    return "".join(one if one.isprintable() else "?" for one in text)[:MAX_WORDS]


def _fitting(whole: WipeEvidence) -> WipeEvidence:
    """Return a document that can be delivered: what explains is left out, a little at a time, before what counts."""
    cut = whole
    for shorten in (_without_notes, _with_few_reasons, _with_short_words):
        if len(write(cut)) <= MAX_BYTES:
            return cut
        cut = shorten(cut if cut is not whole else replace(whole, limits=(*whole.limits, SHORTENED)))
    return cut


def _without_notes(document: WipeEvidence) -> WipeEvidence:
    return replace(document, places=tuple(replace(place, notes=()) for place in document.places))


def _with_few_reasons(document: WipeEvidence) -> WipeEvidence:
    scope = document.verification
    return replace(
        document,
        methods=tuple(replace(one, reasons=one.reasons[:FEW]) for one in document.methods),
        findings=document.findings[:FEW],
        media=document.media[:FEW],
        verification=replace(scope, skipped=scope.skipped[:FEW]) if scope is not None else None,
    )


def _with_short_words(document: WipeEvidence) -> WipeEvidence:
    return replace(
        document,
        methods=tuple(replace(one, reasons=tuple(map(_short, one.reasons))) for one in document.methods),
        findings=tuple(map(_short, document.findings)),
        places=tuple(replace(one, reason=_short(one.reason) if one.reason else None) for one in document.places),
        media=tuple(replace(one, model=_short(one.model) if one.model else None) for one in document.media),
    )


def _short(words: str) -> str:
    return words if len(words) <= SHORT_WORDS else words[: SHORT_WORDS - 1] + "…"


def ends(attempts: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    """Return the first and the last attempts, where there are too many for a document."""
    half = MAX_ATTEMPTS // 2
    return attempts if len(attempts) <= MAX_ATTEMPTS else (*attempts[:half], *attempts[-half:])


def _limits(known: Known, methods: tuple[WipeMethod, ...], *, simulated: bool) -> tuple[str, ...]:
    limits = (SIMULATED_LIMIT, *LIMITS) if simulated else LIMITS
    if WipeMethod.USER_DELETION not in methods:
        limits = (*limits, ACCOUNT_STAYS)
    limits = (*limits, *(known.verified.limits if known.verified else ()))
    omitted = len(known.attempts) - MAX_ATTEMPTS
    return (*limits, f"{omitted} of the attempts, in the middle, are not listed.") if omitted > 0 else limits


def unexamined(order: Order, reason: str) -> tuple[PlaceReport, ...]:
    """Return every place a wipe promised as not looked at."""
    assert isinstance(order.work, WipeWork)
    return tuple(PlaceReport(name=name, state="not_examined", reason=reason) for name in promised(order.work.methods))
