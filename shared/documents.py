"""
What gets signed: orders, their outcomes, evidence, claims of identity; and their strict reading.

Signed documents are read more strictly than link messages: unknown and duplicate keys are errors, because a reader
that skips what it does not know lets two readers understand one signature differently.
"""

import hashlib
import json
import math
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Meta, Struct

from shared.codes import Code, Trouble
from shared.envelope import Envelope, seal, verify
from shared.messages import Facts, Name, Nonce, Sequence, storable
from shared.records import Digest, Figure, Moment, RecordId, WipeMethod, WipeStatus, Words

MAX_DEPTH = 24
"""Nesting allowed in a signed document; ours have at most 8 levels."""

PublicKeyBytes = Annotated[bytes, Meta(min_length=32, max_length=32)]
Sha256 = Digest
Address = Annotated[str, Meta(min_length=8, max_length=300, pattern=r"^https?://[^\s\x00]+\Z")]
"""Of a server: scheme, host and port."""
Username = Annotated[str, Meta(min_length=1, max_length=256)]
"""Judged by the wiper, not here: a path or "root" must reach it and be refused by its code, not as a parse error."""


class Document(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A signed document, or a part of one; each kind that gets signed has its `PAYLOAD_TYPE`."""

    PAYLOAD_TYPE: ClassVar[str] = ""


class BenchmarkName(StrEnum):
    """The benchmarks; a plug-in's file, the wire and the result use the same word."""

    CPU = "cpu"
    DISK = "disk"
    GPU = "gpu"
    NETWORK = "network"


class Target(Document, frozen=True, kw_only=True):
    """
    The account an order means: name, user id, and the random `generation` its grant was given.

    A valid order kept back and delivered late would hit the next tenant; the generation makes it `stale_account`.
    """

    username: Username
    uid: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    generation: Annotated[str, Meta(min_length=1, max_length=64)]


class BandwidthTicket(Document, frozen=True, kw_only=True):
    """
    Admits one machine to a measuring server once, until `not_after`; signed by the collector's link key.

    `server`: the address it is for, so that a ticket taken by one server opens no other.
    """

    PAYLOAD_TYPE: ClassVar[str] = "application/vnd.rackproof.bandwidth-ticket+json"

    ticket_id: RecordId
    hardware_id: RecordId
    server: Address
    not_after: Moment

    def __post_init__(self) -> None:
        """Refuse a time that cannot be compared."""
        storable(self.not_after)


class BandwidthWitness(Document, frozen=True, kw_only=True):
    """
    What a measuring server saw of one ticket's run, signed by its key: goodput in bit/s, moved bytes, and what held it.

    "up" is from the machine to the server. `limited_by`: "path", "client" or "server". `capacity_bit_s`: the server's
    link, as its operator set it.
    """

    PAYLOAD_TYPE: ClassVar[str] = "application/vnd.rackproof.bandwidth-witness+json"

    ticket_id: RecordId
    hardware_id: RecordId
    up_bit_s: Sequence
    down_bit_s: Sequence
    up_bytes: Sequence
    down_bytes: Sequence
    streams: Sequence
    limited_by: Annotated[str, Meta(pattern=r"^(path|client|server)\Z")]
    capacity_bit_s: Sequence
    ended_at: Moment

    def __post_init__(self) -> None:
        """Refuse a time that cannot be compared."""
        storable(self.ended_at)


class MeasuringServer(Document, frozen=True, kw_only=True):
    """Where this run's bandwidth is measured: the server's address ("https://host:port") and the ticket for it."""

    url: Address
    ticket: Envelope


class Challenge(Document, frozen=True, kw_only=True):
    """
    Work that only who does it now can answer: the product of two matrices of order `size`, grown from the nonce.

    `size`: rows of each square matrix, a multiple of 64.
    """

    nonce: Nonce
    size: Annotated[int, Meta(ge=64, le=8192, multiple_of=64)]


class ChallengeAnswer(Document, frozen=True, kw_only=True):
    """The digest of a challenge's product, on what it was computed ("cpu", or a GPU's UUID), and how long it took."""

    nonce: Nonce
    product_sha256: Sha256
    computed_on: Name
    took_s: Figure


class BenchmarkWork(Document, frozen=True, kw_only=True, tag_field="kind", tag="benchmark"):
    """
    Run these benchmarks; `quick` for a short look that is never compared.

    `server`: where bandwidth is measured; without one it is not. `challenge`: to be answered in the outcome; its nonce
    also chooses which elements of the GPU's products are checked.
    """

    components: Annotated[tuple[BenchmarkName, ...], Meta(min_length=1, max_length=4)]
    quick: bool = False
    server: MeasuringServer | None = None
    challenge: Challenge | None = None


class WipeWork(Document, frozen=True, kw_only=True, tag_field="kind", tag="wipe"):
    """Wipe this account by these methods."""

    target: Target
    methods: Annotated[tuple[WipeMethod, ...], Meta(min_length=1, max_length=3)]


class RevokeWork(Document, frozen=True, kw_only=True, tag_field="kind", tag="access_revoke"):
    """Cut this account's access at once and keep its data, as while a dispute is not decided."""

    target: Target


class GrantWork(Document, frozen=True, kw_only=True, tag_field="kind", tag="access_grant"):
    """Make this account with these public SSH keys for a tenant."""

    username: Username
    ssh_keys: Annotated[tuple[Annotated[str, Meta(max_length=4096)], ...], Meta(max_length=16)] = ()


Work = BenchmarkWork | WipeWork | GrantWork | RevokeWork
WORK_KINDS: dict[str, type[Struct]] = {
    "benchmark": BenchmarkWork,
    "wipe": WipeWork,
    "access_grant": GrantWork,
    "access_revoke": RevokeWork,
}
"""Command kinds and what they carry; a kind on the wire is the tag of its work."""

PRIVILEGED_KINDS = frozenset({"wipe", "access_grant", "access_revoke"})
"""Kinds that only the wiper, the privileged process, can do."""


def kind_of(work: Work) -> str:
    """Return the command kind of a piece of work."""
    return str(work.__struct_config__.tag)


class Order(Document, frozen=True, kw_only=True):
    """
    An order to one machine (`aud`), signed by the platform's order key.

    `seq` grows by one for each order of a machine. Times are UTC.
    """

    PAYLOAD_TYPE: ClassVar[str] = "application/vnd.rackproof.order+json"

    aud: RecordId
    command_id: RecordId
    seq: Sequence
    work: Work
    booking_id: RecordId | None = None
    issued_at: Moment
    expires_at: Moment
    requested_by: Words

    def __post_init__(self) -> None:
        """Refuse times that cannot be compared or stored."""
        storable(self.issued_at)
        storable(self.expires_at)


class Component(Document, frozen=True, kw_only=True):
    """
    How one benchmark went: figures, or why there are none.

    `marks`: what a reader must know, words of `shared.marks.Mark`. `took_s`: how long it ran. `details`: every figure
    with its spread, the tools and their versions; `details["conditions"]`: what went on beside it.
    """

    name: BenchmarkName
    method_version: Name
    figures: dict[Name, Figure] = {}
    code: Name | None = None
    reason: Words | None = None
    marks: tuple[Name, ...] = ()
    started_at: Moment | None = None
    took_s: Figure = 0.0
    details: dict[Name, Any] = {}


class BenchmarkOutcome(Document, frozen=True, kw_only=True):
    """
    The figures of one benchmark command, signed by the agent's key. A figure not measured is null.

    `started_at`, `collected_at`: beginning and end by the machine's clock.
    """

    PAYLOAD_TYPE: ClassVar[str] = "application/vnd.rackproof.benchmark+json"

    hardware_id: RecordId
    command_id: RecordId
    order_sha256: Sha256
    started_at: Moment
    collected_at: Moment
    gpu_throughput_fp16: Figure | None = None
    gpu_throughput_fp32: Figure | None = None
    cpu_score: Figure | None = None
    disk_read_mb_s: Figure | None = None
    disk_write_mb_s: Figure | None = None
    network_bandwidth_gbps: Figure | None = None
    components: tuple[Component, ...]
    challenge: ChallengeAnswer | None = None
    agent_version: Name
    boot_id: Name

    def __post_init__(self) -> None:
        """Refuse times that cannot be stored."""
        storable(self.started_at)
        storable(self.collected_at)


class GrantOutcome(Document, frozen=True, kw_only=True):
    """The account made for a tenant, signed by the wiper's key. `generation` goes into later orders."""

    PAYLOAD_TYPE: ClassVar[str] = "application/vnd.rackproof.grant+json"

    hardware_id: RecordId
    command_id: RecordId
    order_sha256: Sha256
    booking_id: RecordId | None
    target: Target
    granted_at: Moment

    def __post_init__(self) -> None:
        """Refuse a time that cannot be stored."""
        storable(self.granted_at)


class WorkFailure(Document, frozen=True, kw_only=True):
    """
    An accepted order that ended without an outcome of its kind, signed by who tried.

    For a wipe there is evidence instead: only benchmarks and grants fail this way.
    """

    PAYLOAD_TYPE: ClassVar[str] = "application/vnd.rackproof.failure+json"

    hardware_id: RecordId
    command_id: RecordId
    order_sha256: Sha256
    code: Name
    detail: Words
    failed_at: Moment

    def __post_init__(self) -> None:
        """Refuse a time that cannot be stored."""
        storable(self.failed_at)


class PlaceReport(Document, frozen=True, kw_only=True):
    """
    What one place of the machine held and holds.

    `state`: "clean" (looked at, nothing there), "residue" (looked at, something is left), "not_examined" (could not
    look, `reason` says why) or "not_applicable" (this machine has no such place). Counts are items.
    """

    name: Name
    state: Annotated[str, Meta(pattern=r"^(clean|residue|not_examined|not_applicable)\Z")]
    reason: Words | None = None
    found: Sequence = 0
    removed: Sequence = 0
    left: Sequence = 0
    took_ms: Sequence = 0
    notes: Annotated[tuple[Words, ...], Meta(max_length=50)] = ()


class Attempt(Document, frozen=True, kw_only=True):
    """One go at the wipe: a crash or power loss ends one without `ended_at`, and the next resumes the journal."""

    boot_id: Name
    started_at: Moment
    ended_at: Moment | None = None


class MethodResult(Document, frozen=True, kw_only=True):
    """The outcome of one executed method: one DataWipe row."""

    method: WipeMethod
    status: WipeStatus
    reasons: tuple[Words, ...] = ()


class Medium(Document, frozen=True, kw_only=True):
    """
    A file system of the machine on which files of the tenant could lie, and the device below it, as the kernel tells.

    `device`: "major:minor"; `name`, `model`, `rotational`, `discard` (it takes TRIM): null where there is no block
    device, as for a file system in memory or over others. `held_home`: the tenant's home was on it.

    `technique`: what was done to his files there, one to three words in this order. "overwritten": what they held when
    they were removed was written over with zeros where the file system keeps it, `overwritten_bytes` at least; only of
    files with one name that were his. "unlinked": their names were removed. "trimmed": the device was then told which
    blocks are free, all of them, `trimmed_bytes` as the file system counts; whether it erased them is not known.
    `note`: why it was not trimmed, where that was tried.
    """

    file_system: Name
    device: Name
    name: Name | None = None
    model: Words | None = None
    rotational: bool | None = None
    discard: bool | None = None
    held_home: bool = False
    technique: Name = "unlinked"
    overwritten_bytes: Sequence = 0
    trimmed_bytes: Sequence | None = None
    note: Words | None = None


class Skipped(Document, frozen=True, kw_only=True):
    """What a look left out: `count` of `what`, and why."""

    what: Name
    count: Sequence
    reason: Words


class Verification(Document, frozen=True, kw_only=True):
    """
    How far the last look at the machine's files went. `file_systems` were walked, and in them `inodes`.

    `canaries_planted`: files of known content that the tenant was given with his account; `canaries_found`: files with
    that content after the wipe, whoever owns them.
    """

    file_systems: Sequence
    inodes: Sequence
    canaries_planted: Sequence = 0
    canaries_found: Sequence = 0
    skipped: Annotated[tuple[Skipped, ...], Meta(max_length=16)] = ()


class WipeEvidence(Document, frozen=True, kw_only=True):
    """
    What a wipe did and what a separate look at the machine found afterwards, signed by the wiper's key.

    It claims logical removal of the target's data, never that a medium was cleared or purged (NIST SP 800-88).
    File names of the tenant are never in it: counts only. Numbers are whole, so that no two readers round differently.

    `previous_sha256`: digest of this machine's certificate before this one, null in the first: a chain in which a
    missing one shows. `tenant_sha256`: digest of the machine's own record of the tenant, null when it has none of this
    generation. `findings`: facts of any attempt that leave doubt for ever. `reimage_recommended`: one of them says that
    the tenant had root, after which nothing on the machine can prove anything. `verification` and `media`: of a machine
    that was looked at; a simulated one has none.
    """

    PAYLOAD_TYPE: ClassVar[str] = "application/vnd.rackproof.wipe-evidence+json"

    schema: Annotated[int, Meta(ge=1)] = 1
    hardware_id: RecordId
    command_id: RecordId
    order_sha256: Sha256
    booking_id: RecordId | None
    requested_by: Words
    target: Target
    simulated: bool
    agent_version: Name
    kernel: Words
    os: Words
    policy_sha256: Annotated[str, Meta(max_length=64)]
    methods: tuple[MethodResult, ...]
    places: tuple[PlaceReport, ...]
    attempts: tuple[Attempt, ...]
    previous_sha256: Sha256 | None = None
    tenant_sha256: Sha256 | None = None
    findings: Annotated[tuple[Words, ...], Meta(max_length=32)] = ()
    reimage_recommended: bool = False
    verification: Verification | None = None
    media: Annotated[tuple[Medium, ...], Meta(max_length=16)] = ()
    journal_sha256: Sha256
    started_at: Moment
    ended_at: Moment
    limits: tuple[Words, ...]

    def __post_init__(self) -> None:
        """Refuse times that cannot be stored."""
        storable(self.started_at)
        storable(self.ended_at)


class RevokeOutcome(Document, frozen=True, kw_only=True):
    """
    Whether an account's access was cut, by a separate look afterwards, signed by the wiper's key; its data was kept.

    `status`: "success" only where every place was looked at and admits nobody; `reasons` says what was not so.
    """

    PAYLOAD_TYPE: ClassVar[str] = "application/vnd.rackproof.revoke+json"

    hardware_id: RecordId
    command_id: RecordId
    order_sha256: Sha256
    booking_id: RecordId | None
    requested_by: Words
    target: Target
    simulated: bool
    policy_sha256: Annotated[str, Meta(max_length=64)]
    status: Annotated[str, Meta(pattern=r"^(success|failed)\Z")]
    reasons: Annotated[tuple[Words, ...], Meta(max_length=16)] = ()
    places: tuple[PlaceReport, ...]
    attempts: tuple[Attempt, ...]
    journal_sha256: Sha256
    started_at: Moment
    ended_at: Moment

    def __post_init__(self) -> None:
        """Refuse times that cannot be stored."""
        storable(self.started_at)
        storable(self.ended_at)


class EvidenceReceipt(Document, frozen=True, kw_only=True):
    """
    The collector's countersignature: it had this evidence at this time, signed by this machine's enrolled key.

    It says nothing about the wipe itself. Who trusts the collector's key learns the machine's from it.
    """

    PAYLOAD_TYPE: ClassVar[str] = "application/vnd.rackproof.evidence-receipt+json"

    evidence_sha256: Sha256
    hardware_id: RecordId
    command_id: RecordId
    machine_public_key: PublicKeyBytes
    received_at: Moment

    def __post_init__(self) -> None:
        """Refuse a time that cannot be stored."""
        storable(self.received_at)


class Certificate(Document, frozen=True, kw_only=True):
    """A wipe's evidence as it is kept: what the machine's wiper signed, and the collector's receipt for it."""

    evidence: Envelope
    receipt: Envelope


class EnrollmentClaim(Document, frozen=True, kw_only=True):
    """What a machine says of itself when it enrolls; signed by both of its new keys, which proves it holds them."""

    PAYLOAD_TYPE: ClassVar[str] = "application/vnd.rackproof.enrollment+json"

    token_id: RecordId
    origin: Annotated[str, Meta(max_length=300)]
    hardware_id: RecordId
    agent_public_key: PublicKeyBytes
    wiper_public_key: PublicKeyBytes
    boot_id: Name
    agent_version: Name
    facts: Facts
    claimed_at: Moment

    def __post_init__(self) -> None:
        """Refuse a time that cannot be stored."""
        storable(self.claimed_at)


class EnrollmentRequest(Struct, frozen=True, kw_only=True):
    """The body of `POST /v1/agent/enroll`."""

    token: Annotated[str, Meta(max_length=200)]
    claim: Envelope


class Trust(Document, frozen=True, kw_only=True):
    """
    Whom this machine obeys, pinned at enrollment.

    `signing`: "local" when the collector itself holds the order key (reduced assurance), "external" when it does not.
    """

    collector_public_key: PublicKeyBytes
    order_public_key: PublicKeyBytes
    signing: Annotated[str, Meta(pattern=r"^(local|external)\Z")]


class EnrollmentReply(Struct, frozen=True, kw_only=True):
    """The answer to an accepted enrollment."""

    hardware_id: RecordId
    customer_id: RecordId
    origin: str
    trust: Trust


class HelloClaim(Document, frozen=True, kw_only=True):
    """What the agent signs in its hello."""

    PAYLOAD_TYPE: ClassVar[str] = "application/vnd.rackproof.hello+json"

    hardware_id: RecordId
    key_id: RecordId
    origin: str
    collector_nonce: Nonce
    agent_nonce: Nonce
    join_counter: Sequence
    boot_id: Name
    outbox_id: Name


class WelcomeClaim(Document, frozen=True, kw_only=True):
    """What the collector signs in its welcome."""

    PAYLOAD_TYPE: ClassVar[str] = "application/vnd.rackproof.welcome+json"

    hardware_id: RecordId
    origin: str
    collector_nonce: Nonce
    agent_nonce: Nonce
    join_counter: Sequence


D = TypeVar("D", bound=Document)

_FLOATS_ALLOWED: tuple[type[Document], ...] = (BenchmarkOutcome,)


def sha256_of(envelope: Envelope) -> str:
    """Return the digest that names an order in its outcomes: SHA-256 of the payload's bytes, hex."""
    return hashlib.sha256(envelope.payload).hexdigest()


def write(document: Document) -> bytes:
    """Return a document's bytes, keys in a fixed order, so that equal documents have equal bytes."""
    return msgspec.json.encode(document, order="deterministic")


def read(payload: bytes, kind: type[D]) -> D:
    """
    Read a document strictly: exact keys, no duplicates, no NaN, floats only among benchmark figures, bounded depth.

    Raises:
        Trouble: `malformed`.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen = dict(pairs)
        if len(seen) != len(pairs):
            raise Trouble(Code.MALFORMED, "a key stands twice in one object")
        return seen

    def no_float(text: str) -> float:
        if not issubclass(kind, _FLOATS_ALLOWED):
            raise Trouble(Code.MALFORMED, f"{text} is not a whole number")
        return finite(text)

    def no_constant(text: str) -> float:
        raise Trouble(Code.MALFORMED, f"{text} is not a number")

    _bounded(payload)
    try:
        # What is stored of it goes out through this library, which has no word for half a character ("\\ud800").
        msgspec.json.decode(payload)
        tree = json.loads(payload.decode(), object_pairs_hook=unique, parse_float=no_float, parse_constant=no_constant)
        return msgspec.convert(tree, kind, strict=True, builtin_types=())
    except (ValueError, RecursionError) as error:
        raise Trouble(Code.MALFORMED, f"not a {kind.__name__}: {str(error)[:200]}") from error


def finite(text: str) -> float:
    """
    Return a number of a signed document; one too large for a float would read as infinity.

    Raises:
        Trouble: `malformed`.
    """
    number = float(text)
    if not math.isfinite(number):
        raise Trouble(Code.MALFORMED, f"{text[:40]} is not a finite number")
    return number


def _bounded(payload: bytes) -> None:
    """Refuse deep nesting before a recursive reader sees it; brackets inside strings only make this stricter."""
    depth = 0
    for byte in payload:
        if byte in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise Trouble(Code.MALFORMED, f"nested deeper than {MAX_DEPTH}")
        elif byte in b"]}":
            depth -= 1


def sign(document: Document, *keys: Ed25519PrivateKey) -> Envelope:
    """Put a document into an envelope of its own payload type."""
    return seal(document.PAYLOAD_TYPE, write(document), *keys)


def open_signed(envelope: Envelope, kind: type[D], *raw_public_keys: bytes) -> D:
    """
    Check the signatures, then read the document.

    Raises:
        Trouble: `wrong_document`, `weak_key`, `bad_signature` or `malformed`.
    """
    return read(verify(envelope, kind.PAYLOAD_TYPE, *raw_public_keys), kind)


def in_force(order: Order, now: datetime) -> bool:
    """Return whether an order may still be started at `now`."""
    return now < order.expires_at
