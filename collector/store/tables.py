"""Every table: the seven of the data model, attribute for attribute, and our own."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from collector.history.gaps import GapCause
from collector.history.tiers import Resolution
from collector.links.dispatch import State
from collector.links.presence import Cause, Presence
from collector.store.types import Json, Money, Utc, one_of
from collector.verdict import HealthState
from shared.documents import WORK_KINDS
from shared.records import (
    Assurance,
    BookingStatus,
    ListingStatus,
    PaymentStatus,
    ProviderAgentStatus,
    VerificationStatus,
    WipeMethod,
    WipeStatus,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

user = Table(
    "user",
    metadata,
    Column("customer_id", String, primary_key=True),
    Column("email", String, nullable=False, unique=True),
    Column("organization_name", String),
    Column("is_billing_account", Boolean, nullable=False),
    Column("signup_date", Utc, nullable=False),
)

machine = Table(
    "machine",
    metadata,
    Column("hardware_id", String, primary_key=True),
    Column("customer_id", ForeignKey("user.customer_id"), nullable=False, index=True),
    Column("gpu_model", String),
    Column("cpu_model", String),
    Column("ram_gb", Integer),
    Column("disk_type", String),
    Column("disk_size_gb", Integer),
    Column("network_bandwidth", String),
    Column("os", String),
    Column("provider_agent_status", String, nullable=False),
    Column("health_indicators", Json),
    one_of("provider_agent_status", ProviderAgentStatus),
    # What lists are searched and sorted by, without the width of the rows.
    Index("ix_machine_listed", "hardware_id", "customer_id", "gpu_model", "cpu_model", "os"),
)

listing = Table(
    "listing",
    metadata,
    Column("listing_id", String, primary_key=True),
    Column("hardware_id", ForeignKey("machine.hardware_id"), nullable=False, index=True),
    Column("price_hour", Float(53), nullable=False),
    Column("price_day", Float(53), nullable=False),
    Column("price_week", Float(53), nullable=False),
    Column("currency", String, nullable=False),
    Column("status", String, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("updated_at", Utc, nullable=False),
    one_of("status", ListingStatus),
)

booking = Table(
    "booking",
    metadata,
    Column("booking_id", String, primary_key=True),
    Column("listing_id", ForeignKey("listing.listing_id"), nullable=False, index=True),
    Column("hardware_id", ForeignKey("machine.hardware_id"), nullable=False, index=True),
    Column("buyer_id", ForeignKey("user.customer_id"), nullable=False, index=True),
    Column("start_timestamp", Utc, nullable=False),
    Column("end_timestamp", Utc, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("booking_status", String, nullable=False),
    Column("tenant_username", String),
    Column("tenant_ssh_keys", Json, nullable=False),
    one_of("booking_status", BookingStatus),
)

command = Table(
    "command",
    metadata,
    Column("command_id", String, primary_key=True),
    Column("hardware_id", ForeignKey("machine.hardware_id"), nullable=False),
    Column("kind", String, nullable=False),
    Column("state", String, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("booking_id", ForeignKey("booking.booking_id")),
    Column("requested_by", String, nullable=False),
    Column("envelope", Text, nullable=False),
    Column("order_sha256", String, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("expires_at", Utc, nullable=False),
    Column("sent_at", Utc),
    Column("accepted_at", Utc),
    Column("finished_at", Utc),
    Column("code", String),
    Column("detail", String),
    Column("result", Text),
    Column("progress", Json),
    one_of("kind", tuple(WORK_KINDS)),
    one_of("state", State),
    UniqueConstraint("hardware_id", "seq"),
    Index("ix_command_state_expires_at", "state", "expires_at"),
)

benchmark = Table(
    "benchmark",
    metadata,
    Column("benchmark_id", String, primary_key=True),
    Column("hardware_id", ForeignKey("machine.hardware_id"), nullable=False),
    Column("gpu_throughput_fp16", Float(53)),
    Column("gpu_throughput_fp32", Float(53)),
    Column("cpu_score", Float(53)),
    Column("disk_read_mb_s", Float(53)),
    Column("disk_write_mb_s", Float(53)),
    Column("network_bandwidth_gbps", Float(53)),
    Column("collected_at", Utc, nullable=False),
    Column("admin_verification_status", String, nullable=False),
    Column("details", Json, nullable=False),
    Column("assurance", String, nullable=False),
    Column("method_version", String, nullable=False),
    Column("verified_by", String),
    Column("verified_at", Utc),
    Column("rejection_reason", String),
    Column("command_id", ForeignKey("command.command_id"), unique=True),
    Column("flags", Json, nullable=False),
    Column("flagged", Boolean, nullable=False),
    one_of("admin_verification_status", VerificationStatus),
    one_of("assurance", Assurance),
    Index("ix_benchmark_hardware_id_collected_at", "hardware_id", "collected_at"),
    # The queue of what an admin has to decide.
    Index("ix_benchmark_admin_verification_status_benchmark_id", "admin_verification_status", "benchmark_id"),
)

benchmark_figure = Table(
    "benchmark_figure",
    metadata,
    Column("benchmark_id", ForeignKey("benchmark.benchmark_id"), primary_key=True),
    Column("figure", String, primary_key=True),
    Column("hardware_id", ForeignKey("machine.hardware_id"), nullable=False),
    Column("value", Float(53), nullable=False),
    Column("digits", String, nullable=False, index=True),
    Column("model", String, nullable=False),
    Column("method_version", String, nullable=False),
    Column("received_at", Utc, nullable=False),
    Column("unmarked", Boolean, nullable=False),
    Column("counts", Boolean, nullable=False),
    Column("least", Float(53)),
    Column("most", Float(53)),
    Index("ix_benchmark_figure_peers", "figure", "method_version", "model", "counts", "received_at"),
    Index("ix_benchmark_figure_hardware_id_received_at", "hardware_id", "received_at"),
)

benchmark_gpu = Table(
    "benchmark_gpu",
    metadata,
    Column("uuid", String, primary_key=True),
    Column("hardware_id", ForeignKey("machine.hardware_id"), primary_key=True),
    Column("seen_at", Utc, nullable=False),
)

payment = Table(
    "payment",
    metadata,
    Column("payment_id", String, primary_key=True),
    Column("booking_id", ForeignKey("booking.booking_id"), nullable=False, index=True),
    Column("hardware_id", ForeignKey("machine.hardware_id")),
    Column("payer_id", ForeignKey("user.customer_id"), nullable=False, index=True),
    Column("provider_id", ForeignKey("user.customer_id")),
    Column("amount_total", Money, nullable=False),
    Column("currency", String),
    Column("payment_status", String, nullable=False),
    Column("timestamp", Utc, nullable=False),
    Column("invoice_number", String),
    one_of("payment_status", PaymentStatus),
)

data_wipe = Table(
    "data_wipe",
    metadata,
    Column("wipe_id", String, primary_key=True),
    Column("hardware_id", ForeignKey("machine.hardware_id"), nullable=False, index=True),
    Column("booking_id", ForeignKey("booking.booking_id"), index=True),
    Column("timestamp", Utc, nullable=False),
    Column("wipe_method_executed", String, nullable=False),
    Column("status", String, nullable=False),
    Column("wipe_evidence_uri", String),
    Column("command_id", ForeignKey("command.command_id")),
    Column("evidence_sha256", String, index=True),
    Column("signed_by", String),
    Column("previous_sha256", String),
    Column("chain_gap", Boolean, nullable=False),
    Column("reimage_recommended", Boolean, nullable=False),
    one_of("wipe_method_executed", WipeMethod),
    one_of("status", WipeStatus),
    UniqueConstraint("command_id", "wipe_method_executed"),
)

machine_key = Table(
    "machine_key",
    metadata,
    Column("key_id", String, primary_key=True),
    Column("hardware_id", ForeignKey("machine.hardware_id"), nullable=False, index=True),
    Column("role", String, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("revoked_at", Utc),
    one_of("role", ("agent", "wiper")),
)

live = Table(
    "live",
    metadata,
    Column("hardware_id", ForeignKey("machine.hardware_id"), primary_key=True),
    Column("presence", String, nullable=False, index=True),
    Column("presence_since", Utc, nullable=False),
    Column("last_received_at", Utc),
    Column("boot_id", String),
    Column("run_id", String),
    Column("outbox_id", String),
    Column("last_seq", BigInteger, nullable=False),
    Column("agent_version", String),
    Column("policy_hash", String),
    Column("clock_skew_ms", BigInteger),
    Column("join_confirmed", BigInteger, nullable=False),
    Column("join_offered", BigInteger, nullable=False),
    Column("order_seq", BigInteger, nullable=False),
    Column("benchmark_due_at", Utc, nullable=False, index=True),
    # The newest sample: what the next one is held against to find gaps.
    Column("sample_at", Utc),
    Column("sample_boot_id", String),
    # The verdict; its words beside it, so that a list needs no other table.
    Column("health_state", String, nullable=False, index=True),
    Column("health_since", Utc, nullable=False),
    Column("health_reasons", Json, nullable=False),
    Column("gpus_expected", Integer),
    one_of("presence", Presence),
    one_of("health_state", HealthState),
)

health_sample = Table(
    "health_sample",
    metadata,
    Column("hardware_id", ForeignKey("machine.hardware_id"), primary_key=True),
    Column("outbox_id", String, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("boot_id", String, nullable=False),
    Column("collected_at", Utc, nullable=False),
    Column("received_at", Utc, nullable=False),
    Column("at", Utc, nullable=False, index=True),
    Column("indicators", Json, nullable=False),
)

health_chunk = Table(
    "health_chunk",
    metadata,
    Column("hardware_id", ForeignKey("machine.hardware_id"), primary_key=True),
    Column("tier", String, primary_key=True),
    Column("start_at", Utc, primary_key=True),
    Column("content", LargeBinary, nullable=False),
    one_of("tier", Resolution),
    Index("ix_health_chunk_tier_start_at", "tier", "start_at"),
)

health_gap = Table(
    "health_gap",
    metadata,
    Column("hardware_id", ForeignKey("machine.hardware_id"), primary_key=True),
    Column("outbox_id", String, primary_key=True),
    Column("first_seq", BigInteger, primary_key=True),
    Column("last_seq", BigInteger, nullable=False),
    Column("cause", String, nullable=False),
    Column("started_at", Utc, nullable=False),
    Column("ended_at", Utc, nullable=False),
    Column("filled_at", Utc),
    one_of("cause", GapCause),
    Index("ix_health_gap_hardware_id_ended_at", "hardware_id", "ended_at"),
)

presence_event = Table(
    "presence_event",
    metadata,
    Column("event_id", Integer, primary_key=True, autoincrement=True),
    Column("hardware_id", ForeignKey("machine.hardware_id"), nullable=False),
    # When it was so in truth, and when that was decided.
    Column("at", Utc, nullable=False),
    Column("told_at", Utc, nullable=False),
    Column("from_state", String, nullable=False),
    Column("to_state", String, nullable=False),
    Column("cause", String, nullable=False),
    Column("words", String, nullable=False),
    one_of("from_state", Presence),
    one_of("to_state", Presence),
    one_of("cause", Cause),
    Index("ix_presence_event_hardware_id_event_id", "hardware_id", "event_id"),
    Index("ix_presence_event_hardware_id_at", "hardware_id", "at"),
)

collector_run = Table(
    "collector_run",
    metadata,
    Column("run_id", Integer, primary_key=True, autoincrement=True),
    Column("started_at", Utc, nullable=False, index=True),
    Column("alive_at", Utc, nullable=False),
    Column("stopped_at", Utc),
)

health_event = Table(
    "health_event",
    metadata,
    Column("event_id", Integer, primary_key=True, autoincrement=True),
    Column("hardware_id", ForeignKey("machine.hardware_id"), nullable=False),
    Column("at", Utc, nullable=False, index=True),
    Column("code", String, nullable=False),
    Column("item", String, nullable=False),
    Column("from_state", String, nullable=False),
    Column("to_state", String, nullable=False),
    Column("words", String, nullable=False),
    Column("shadow", Boolean, nullable=False),
    one_of("from_state", HealthState),
    one_of("to_state", HealthState),
    Index("ix_health_event_hardware_id_event_id", "hardware_id", "event_id"),
)

tenant_account = Table(
    "tenant_account",
    metadata,
    Column("hardware_id", ForeignKey("machine.hardware_id"), primary_key=True),
    Column("generation", String, primary_key=True),
    Column("username", String, nullable=False),
    Column("uid", BigInteger, nullable=False),
    Column("booking_id", ForeignKey("booking.booking_id")),
    Column("command_id", ForeignKey("command.command_id"), nullable=False),
    Column("granted_at", Utc, nullable=False),
    Column("wiped_at", Utc),
    Index("ix_tenant_account_hardware_id_username", "hardware_id", "username"),
)

enrollment_token = Table(
    "enrollment_token",
    metadata,
    Column("token_id", String, primary_key=True),
    Column("secret_sha256", String, nullable=False),
    Column("customer_id", ForeignKey("user.customer_id"), nullable=False),
    Column("hardware_id", ForeignKey("machine.hardware_id")),
    Column("created_at", Utc, nullable=False),
    Column("created_by", String, nullable=False),
    Column("expires_at", Utc, nullable=False),
    Column("used_at", Utc),
    Column("used_by", String),
    Column("used_with_keys", String),
)

api_token = Table(
    "api_token",
    metadata,
    Column("token_id", String, primary_key=True),
    Column("secret_sha256", String, nullable=False),
    Column("name", String, nullable=False),
    Column("role", String, nullable=False),
    Column("customer_id", ForeignKey("user.customer_id")),
    Column("created_at", Utc, nullable=False),
    Column("expires_at", Utc),
    Column("last_used_at", Utc),
    Column("revoked_at", Utc),
    one_of("role", ("admin", "platform", "auditor", "provider")),
    CheckConstraint("(role = 'provider') = (customer_id IS NOT NULL)", name="provider_named"),
)

audit_entry = Table(
    "audit_entry",
    metadata,
    Column("entry_id", Integer, primary_key=True, autoincrement=True),
    Column("at", Utc, nullable=False),
    Column("actor", String, nullable=False),
    Column("role", String, nullable=False),
    Column("address", String, nullable=False),
    Column("action", String, nullable=False),
    Column("object", String, nullable=False),
    Column("before", Json),
    Column("after", Json),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("actor", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("request_sha256", String, nullable=False),
    Column("status", Integer),
    Column("body", Text),
    Column("created_at", Utc, nullable=False, index=True),
)
