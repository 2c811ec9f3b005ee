"""
The seven records of the marketplace and their value sets.

Attribute names are the column names, the JSON names and the words of the data model: nothing maps one to another.
Attributes after a record's own model attributes are marked "beyond the model".
"""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from msgspec import Meta, Struct

from shared.flags import Flag

RecordId = Annotated[str, Meta(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]*\Z")]
"""A key chosen by the platform or made by us: 1 to 80 of letters, digits, "_", ".", ":", "-"."""

Words = Annotated[str, Meta(max_length=300, pattern=r"^[^\x00]*\Z")]
"""Free text of at most 300 characters; NUL is refused because PostgreSQL cannot store it."""

Moment = Annotated[datetime, Meta(tz=True)]
"""An aware point in time; stored and sent as UTC."""

Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z")]
"""A currency code. Source: ISO 4217."""

Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
"""A SHA-256 in hex."""

Price = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Figure = Annotated[float, Meta(ge=0)]


class ProviderAgentStatus(StrEnum):
    """Whether the machine's agent is heard."""

    ONLINE = "online"
    OFFLINE = "offline"


class ListingStatus(StrEnum):
    """Whether an offer can be booked."""

    ACTIVE = "active"
    PAUSED = "paused"
    ARCHIVED = "archived"


class BookingStatus(StrEnum):
    """Where a booking stands in its life."""

    PENDING = "pending"
    ACTIVE = "active"
    COMPLETED = "completed"
    CANCELED = "canceled"
    DISPUTED = "disputed"


class VerificationStatus(StrEnum):
    """What an admin decided about a benchmark."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"


class PaymentStatus(StrEnum):
    """How far a payment got."""

    INCOMPLETE = "incomplete"
    PAID = "paid"
    FAILED = "failed"


class WipeMethod(StrEnum):
    """What a wipe executed; one DataWipe row each."""

    USER_DELETION = "user_deletion"
    SSH_KEY_REMOVAL = "ssh_key_removal"
    HOME_DIRECTORY_PURGE = "home_directory_purge"


class WipeStatus(StrEnum):
    """
    What a wipe achieved.

    success: verification found nothing and looked everywhere the method promises; partial: access is gone but residue,
    or a place that could not be looked at, is left; failed: refused, or access may remain.
    """

    SUCCESS = "success"
    PARTIAL = "partial"
    FAILED = "failed"


class Assurance(StrEnum):
    """How far a benchmark's figures can be trusted: a signature proves who said it, not that it is true."""

    SELF_REPORTED = "self_reported"
    CHALLENGED = "challenged"
    ATTESTED = "attested"


class User(Struct, frozen=True, kw_only=True):
    """An account of the marketplace: buyer, provider or administrator. Key: `customer_id`."""

    customer_id: RecordId
    email: Annotated[str, Meta(min_length=3, max_length=254, pattern=r"^[^@\s\x00]+@[^@\s\x00]+\Z")]
    organization_name: Words | None = None
    is_billing_account: bool = False
    signup_date: Moment


class Machine(Struct, frozen=True, kw_only=True):
    """A physical server rented out by a provider. Key: `hardware_id`; owner: `customer_id`."""

    hardware_id: RecordId
    customer_id: RecordId
    gpu_model: Words | None = None
    cpu_model: Words | None = None
    ram_gb: Count | None = None
    disk_type: Words | None = None
    disk_size_gb: Count | None = None
    network_bandwidth: Words | None = None
    os: Words | None = None
    provider_agent_status: ProviderAgentStatus = ProviderAgentStatus.OFFLINE
    health_indicators: dict[str, Any] | None = None


class Listing(Struct, frozen=True, kw_only=True):
    """An offer of a machine. Key: `listing_id`."""

    listing_id: RecordId
    hardware_id: RecordId
    price_hour: Price
    price_day: Price
    price_week: Price
    currency: Currency
    status: ListingStatus = ListingStatus.ACTIVE
    created_at: Moment
    updated_at: Moment


class Booking(Struct, frozen=True, kw_only=True):
    """A reservation of a listing by a buyer. Key: `booking_id`."""

    booking_id: RecordId
    listing_id: RecordId
    hardware_id: RecordId
    buyer_id: RecordId
    start_timestamp: Moment
    end_timestamp: Moment
    created_at: Moment
    booking_status: BookingStatus = BookingStatus.PENDING
    # beyond the model
    tenant_username: Annotated[str, Meta(pattern=r"^[a-z_][a-z0-9_-]{0,31}\Z")] | None = None
    tenant_ssh_keys: tuple[Annotated[str, Meta(max_length=4096)], ...] = ()


UNITS = {
    "gpu_throughput_fp16": "TFLOP/s",
    "gpu_throughput_fp32": "TFLOP/s",
    "cpu_score": "points",
    "disk_read_mb_s": "MB/s",
    "disk_write_mb_s": "MB/s",
    "network_bandwidth_gbps": "Gbit/s",
}
"""By figure: its unit, in words for people."""
FIGURES = tuple(UNITS)
"""The figures of a benchmark."""


class Benchmark(Struct, frozen=True, kw_only=True):
    """
    One benchmark run of a machine. Key: `benchmark_id`. A figure that could not be measured is null, never 0.

    `flags`: what the collector finds odd; `flagged`: one of them counts. `details`: each component as the machine told.
    """

    benchmark_id: RecordId
    hardware_id: RecordId
    gpu_throughput_fp16: Figure | None = None
    gpu_throughput_fp32: Figure | None = None
    cpu_score: Figure | None = None
    disk_read_mb_s: Figure | None = None
    disk_write_mb_s: Figure | None = None
    network_bandwidth_gbps: Figure | None = None
    collected_at: Moment
    admin_verification_status: VerificationStatus = VerificationStatus.PENDING
    # beyond the model
    details: dict[str, Any] = {}
    assurance: Assurance = Assurance.SELF_REPORTED
    method_version: Words = ""
    verified_by: Words | None = None
    verified_at: Moment | None = None
    rejection_reason: Words | None = None
    command_id: RecordId | None = None
    flags: tuple[Flag, ...] = ()
    flagged: bool = False


class Payment(Struct, frozen=True, kw_only=True):
    """A payment for a booking. Key: `payment_id`. Money is decimal, in the currency's major unit."""

    payment_id: RecordId
    booking_id: RecordId
    hardware_id: RecordId | None = None
    payer_id: RecordId
    provider_id: RecordId | None = None
    amount_total: Annotated[Decimal, Meta()]
    currency: Currency | None = None
    payment_status: PaymentStatus = PaymentStatus.INCOMPLETE
    timestamp: Moment
    invoice_number: Words | None = None


class DataWipe(Struct, frozen=True, kw_only=True):
    """
    One executed wipe method. Key: `wipe_id`. All rows of one order share one evidence document.

    `signed_by`: the id of the wiper's key. `previous_sha256`: the machine's certificate before this one, by its own
    word; `chain_gap`: that one is not here, or another certificate claims it too. `reimage_recommended`: the tenant had
    root, so that nothing on the machine can prove it clean.
    """

    wipe_id: RecordId
    hardware_id: RecordId
    booking_id: RecordId | None = None
    timestamp: Moment
    wipe_method_executed: WipeMethod
    status: WipeStatus
    wipe_evidence_uri: Annotated[str, Meta(max_length=1024)] | None = None
    # beyond the model
    command_id: RecordId | None = None
    evidence_sha256: Digest | None = None
    signed_by: RecordId | None = None
    previous_sha256: Digest | None = None
    chain_gap: bool = False
    reimage_recommended: bool = False


RECORDS: tuple[type[Struct], ...] = (User, Machine, Listing, Booking, Benchmark, Payment, DataWipe)
"""Every record, in an order in which foreign keys point backwards."""
