"""The first schema: the seven records, commands, presence, health reports, tokens and the audit trail."""

import sqlalchemy as sa
from alembic import op

from collector.store.types import Json, Money, Utc

revision = "0001"
down_revision = None

APPEND_ONLY_SQLITE = """
CREATE TRIGGER audit_entry_no_{verb} BEFORE {verb} ON audit_entry
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END
"""
APPEND_ONLY_POSTGRESQL = (
    """
CREATE FUNCTION audit_entry_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the audit trail is append-only'; END $$
""",
    """
CREATE TRIGGER audit_entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entry
FOR EACH STATEMENT EXECUTE FUNCTION audit_entry_append_only()
""",
)


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "audit_entry",
        sa.Column("entry_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", Utc(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("object", sa.String(), nullable=False),
        sa.Column("before", Json(), nullable=True),
        sa.Column("after", Json(), nullable=True),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("pk_audit_entry")),
    )
    op.create_table(
        "idempotency",
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("request_sha256", sa.String(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("created_at", Utc(), nullable=False),
        sa.PrimaryKeyConstraint("actor", "key", name=op.f("pk_idempotency")),
    )
    op.create_index(op.f("ix_idempotency_created_at"), "idempotency", ["created_at"], unique=False)
    op.create_table(
        "user",
        sa.Column("customer_id", sa.String(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("organization_name", sa.String(), nullable=True),
        sa.Column("is_billing_account", sa.Boolean(), nullable=False),
        sa.Column("signup_date", Utc(), nullable=False),
        sa.PrimaryKeyConstraint("customer_id", name=op.f("pk_user")),
        sa.UniqueConstraint("email", name=op.f("uq_user_email")),
    )
    op.create_table(
        "api_token",
        sa.Column("token_id", sa.String(), nullable=False),
        sa.Column("secret_sha256", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("customer_id", sa.String(), nullable=True),
        sa.Column("created_at", Utc(), nullable=False),
        sa.Column("expires_at", Utc(), nullable=True),
        sa.Column("last_used_at", Utc(), nullable=True),
        sa.Column("revoked_at", Utc(), nullable=True),
        sa.CheckConstraint(
            "role IN ('admin', 'platform', 'auditor', 'provider')", name=op.f("ck_api_token_role_known")
        ),
        sa.CheckConstraint("(role = 'provider') = (customer_id IS NOT NULL)", name=op.f("ck_api_token_provider_named")),
        sa.ForeignKeyConstraint(["customer_id"], ["user.customer_id"], name=op.f("fk_api_token_customer_id_user")),
        sa.PrimaryKeyConstraint("token_id", name=op.f("pk_api_token")),
    )
    op.create_table(
        "machine",
        sa.Column("hardware_id", sa.String(), nullable=False),
        sa.Column("customer_id", sa.String(), nullable=False),
        sa.Column("gpu_model", sa.String(), nullable=True),
        sa.Column("cpu_model", sa.String(), nullable=True),
        sa.Column("ram_gb", sa.Integer(), nullable=True),
        sa.Column("disk_type", sa.String(), nullable=True),
        sa.Column("disk_size_gb", sa.Integer(), nullable=True),
        sa.Column("network_bandwidth", sa.String(), nullable=True),
        sa.Column("os", sa.String(), nullable=True),
        sa.Column("provider_agent_status", sa.String(), nullable=False),
        sa.Column("health_indicators", Json(), nullable=True),
        sa.CheckConstraint(
            "provider_agent_status IN ('online', 'offline')", name=op.f("ck_machine_provider_agent_status_known")
        ),
        sa.ForeignKeyConstraint(["customer_id"], ["user.customer_id"], name=op.f("fk_machine_customer_id_user")),
        sa.PrimaryKeyConstraint("hardware_id", name=op.f("pk_machine")),
    )
    op.create_index(op.f("ix_machine_customer_id"), "machine", ["customer_id"], unique=False)
    op.create_index(
        "ix_machine_listed", "machine", ["hardware_id", "customer_id", "gpu_model", "cpu_model", "os"], unique=False
    )
    op.create_table(
        "enrollment_token",
        sa.Column("token_id", sa.String(), nullable=False),
        sa.Column("secret_sha256", sa.String(), nullable=False),
        sa.Column("customer_id", sa.String(), nullable=False),
        sa.Column("hardware_id", sa.String(), nullable=True),
        sa.Column("created_at", Utc(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("expires_at", Utc(), nullable=False),
        sa.Column("used_at", Utc(), nullable=True),
        sa.Column("used_by", sa.String(), nullable=True),
        sa.Column("used_with_keys", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["user.customer_id"], name=op.f("fk_enrollment_token_customer_id_user")
        ),
        sa.ForeignKeyConstraint(
            ["hardware_id"], ["machine.hardware_id"], name=op.f("fk_enrollment_token_hardware_id_machine")
        ),
        sa.PrimaryKeyConstraint("token_id", name=op.f("pk_enrollment_token")),
    )
    op.create_table(
        "health_sample",
        sa.Column("hardware_id", sa.String(), nullable=False),
        sa.Column("outbox_id", sa.String(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("boot_id", sa.String(), nullable=False),
        sa.Column("collected_at", Utc(), nullable=False),
        sa.Column("received_at", Utc(), nullable=False),
        sa.Column("at", Utc(), nullable=False),
        sa.Column("indicators", Json(), nullable=False),
        sa.ForeignKeyConstraint(
            ["hardware_id"], ["machine.hardware_id"], name=op.f("fk_health_sample_hardware_id_machine")
        ),
        sa.PrimaryKeyConstraint("hardware_id", "outbox_id", "seq", name=op.f("pk_health_sample")),
    )
    op.create_index(op.f("ix_health_sample_at"), "health_sample", ["at"], unique=False)
    op.create_table(
        "health_chunk",
        sa.Column("hardware_id", sa.String(), nullable=False),
        sa.Column("tier", sa.String(), nullable=False),
        sa.Column("start_at", Utc(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("tier IN ('raw', '1m', '15m', '1h')", name=op.f("ck_health_chunk_tier_known")),
        sa.ForeignKeyConstraint(
            ["hardware_id"], ["machine.hardware_id"], name=op.f("fk_health_chunk_hardware_id_machine")
        ),
        sa.PrimaryKeyConstraint("hardware_id", "tier", "start_at", name=op.f("pk_health_chunk")),
    )
    op.create_index("ix_health_chunk_tier_start_at", "health_chunk", ["tier", "start_at"], unique=False)
    op.create_table(
        "health_gap",
        sa.Column("hardware_id", sa.String(), nullable=False),
        sa.Column("outbox_id", sa.String(), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("started_at", Utc(), nullable=False),
        sa.Column("ended_at", Utc(), nullable=False),
        sa.Column("filled_at", Utc(), nullable=True),
        sa.CheckConstraint(
            "cause IN ('silent', 'agent_stopped', 'machine_down', 'disk_full', 'disk_failed', 'outbox_full', "
            "'outbox_lost', 'refused', 'unknown')",
            name=op.f("ck_health_gap_cause_known"),
        ),
        sa.ForeignKeyConstraint(
            ["hardware_id"], ["machine.hardware_id"], name=op.f("fk_health_gap_hardware_id_machine")
        ),
        sa.PrimaryKeyConstraint("hardware_id", "outbox_id", "first_seq", name=op.f("pk_health_gap")),
    )
    op.create_index("ix_health_gap_hardware_id_ended_at", "health_gap", ["hardware_id", "ended_at"], unique=False)
    op.create_table(
        "listing",
        sa.Column("listing_id", sa.String(), nullable=False),
        sa.Column("hardware_id", sa.String(), nullable=False),
        sa.Column("price_hour", sa.Float(precision=53), nullable=False),
        sa.Column("price_day", sa.Float(precision=53), nullable=False),
        sa.Column("price_week", sa.Float(precision=53), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("created_at", Utc(), nullable=False),
        sa.Column("updated_at", Utc(), nullable=False),
        sa.CheckConstraint("status IN ('active', 'paused', 'archived')", name=op.f("ck_listing_status_known")),
        sa.ForeignKeyConstraint(["hardware_id"], ["machine.hardware_id"], name=op.f("fk_listing_hardware_id_machine")),
        sa.PrimaryKeyConstraint("listing_id", name=op.f("pk_listing")),
    )
    op.create_index(op.f("ix_listing_hardware_id"), "listing", ["hardware_id"], unique=False)
    op.create_table(
        "live",
        sa.Column("hardware_id", sa.String(), nullable=False),
        sa.Column("presence", sa.String(), nullable=False),
        sa.Column("presence_since", Utc(), nullable=False),
        sa.Column("last_received_at", Utc(), nullable=True),
        sa.Column("boot_id", sa.String(), nullable=True),
        sa.Column("run_id", sa.String(), nullable=True),
        sa.Column("outbox_id", sa.String(), nullable=True),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("agent_version", sa.String(), nullable=True),
        sa.Column("policy_hash", sa.String(), nullable=True),
        sa.Column("clock_skew_ms", sa.BigInteger(), nullable=True),
        sa.Column("join_confirmed", sa.BigInteger(), nullable=False),
        sa.Column("join_offered", sa.BigInteger(), nullable=False),
        sa.Column("order_seq", sa.BigInteger(), nullable=False),
        sa.Column("benchmark_due_at", Utc(), nullable=False),
        sa.Column("sample_at", Utc(), nullable=True),
        sa.Column("sample_boot_id", sa.String(), nullable=True),
        sa.Column("health_state", sa.String(), nullable=False),
        sa.Column("health_since", Utc(), nullable=False),
        sa.Column("health_reasons", Json(), nullable=False),
        sa.Column("gpus_expected", sa.Integer(), nullable=True),
        sa.CheckConstraint(
            "health_state IN ('healthy', 'degraded', 'unhealthy', 'unknown')", name=op.f("ck_live_health_state_known")
        ),
        sa.CheckConstraint(
            "presence IN ('never', 'online', 'stale', 'offline', 'overdue')", name=op.f("ck_live_presence_known")
        ),
        sa.ForeignKeyConstraint(["hardware_id"], ["machine.hardware_id"], name=op.f("fk_live_hardware_id_machine")),
        sa.PrimaryKeyConstraint("hardware_id", name=op.f("pk_live")),
    )
    op.create_index(op.f("ix_live_presence"), "live", ["presence"], unique=False)
    op.create_index(op.f("ix_live_health_state"), "live", ["health_state"], unique=False)
    op.create_index(op.f("ix_live_benchmark_due_at"), "live", ["benchmark_due_at"], unique=False)
    op.create_table(
        "machine_key",
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("hardware_id", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", Utc(), nullable=False),
        sa.Column("revoked_at", Utc(), nullable=True),
        sa.CheckConstraint("role IN ('agent', 'wiper')", name=op.f("ck_machine_key_role_known")),
        sa.ForeignKeyConstraint(
            ["hardware_id"], ["machine.hardware_id"], name=op.f("fk_machine_key_hardware_id_machine")
        ),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_machine_key")),
    )
    op.create_index(op.f("ix_machine_key_hardware_id"), "machine_key", ["hardware_id"], unique=False)
    op.create_table(
        "health_event",
        sa.Column("event_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("hardware_id", sa.String(), nullable=False),
        sa.Column("at", Utc(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("item", sa.String(), nullable=False),
        sa.Column("from_state", sa.String(), nullable=False),
        sa.Column("to_state", sa.String(), nullable=False),
        sa.Column("words", sa.String(), nullable=False),
        sa.Column("shadow", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "from_state IN ('healthy', 'degraded', 'unhealthy', 'unknown')",
            name=op.f("ck_health_event_from_state_known"),
        ),
        sa.CheckConstraint(
            "to_state IN ('healthy', 'degraded', 'unhealthy', 'unknown')",
            name=op.f("ck_health_event_to_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["hardware_id"], ["machine.hardware_id"], name=op.f("fk_health_event_hardware_id_machine")
        ),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_health_event")),
    )
    op.create_index(op.f("ix_health_event_at"), "health_event", ["at"], unique=False)
    op.create_index("ix_health_event_hardware_id_event_id", "health_event", ["hardware_id", "event_id"], unique=False)
    op.create_table(
        "presence_event",
        sa.Column("event_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("hardware_id", sa.String(), nullable=False),
        sa.Column("at", Utc(), nullable=False),
        sa.Column("told_at", Utc(), nullable=False),
        sa.Column("from_state", sa.String(), nullable=False),
        sa.Column("to_state", sa.String(), nullable=False),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("words", sa.String(), nullable=False),
        sa.CheckConstraint(
            "cause IN ('first_report', 'reports_again', 'agent_restarted', 'rebooted', 'stopped', 'link_closed', "
            "'silence', 'mass_silence', 'revoked', 'clone')",
            name=op.f("ck_presence_event_cause_known"),
        ),
        sa.CheckConstraint(
            "from_state IN ('never', 'online', 'stale', 'offline', 'overdue')",
            name=op.f("ck_presence_event_from_state_known"),
        ),
        sa.CheckConstraint(
            "to_state IN ('never', 'online', 'stale', 'offline', 'overdue')",
            name=op.f("ck_presence_event_to_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["hardware_id"], ["machine.hardware_id"], name=op.f("fk_presence_event_hardware_id_machine")
        ),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_presence_event")),
    )
    op.create_index(
        "ix_presence_event_hardware_id_event_id", "presence_event", ["hardware_id", "event_id"], unique=False
    )
    op.create_index("ix_presence_event_hardware_id_at", "presence_event", ["hardware_id", "at"], unique=False)
    op.create_table(
        "collector_run",
        sa.Column("run_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("started_at", Utc(), nullable=False),
        sa.Column("alive_at", Utc(), nullable=False),
        sa.Column("stopped_at", Utc(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_collector_run")),
    )
    op.create_index(op.f("ix_collector_run_started_at"), "collector_run", ["started_at"], unique=False)
    op.create_table(
        "booking",
        sa.Column("booking_id", sa.String(), nullable=False),
        sa.Column("listing_id", sa.String(), nullable=False),
        sa.Column("hardware_id", sa.String(), nullable=False),
        sa.Column("buyer_id", sa.String(), nullable=False),
        sa.Column("start_timestamp", Utc(), nullable=False),
        sa.Column("end_timestamp", Utc(), nullable=False),
        sa.Column("created_at", Utc(), nullable=False),
        sa.Column("booking_status", sa.String(), nullable=False),
        sa.Column("tenant_username", sa.String(), nullable=True),
        sa.Column("tenant_ssh_keys", Json(), nullable=False),
        sa.CheckConstraint(
            "booking_status IN ('pending', 'active', 'completed', 'canceled', 'disputed')",
            name=op.f("ck_booking_booking_status_known"),
        ),
        sa.ForeignKeyConstraint(["buyer_id"], ["user.customer_id"], name=op.f("fk_booking_buyer_id_user")),
        sa.ForeignKeyConstraint(["hardware_id"], ["machine.hardware_id"], name=op.f("fk_booking_hardware_id_machine")),
        sa.ForeignKeyConstraint(["listing_id"], ["listing.listing_id"], name=op.f("fk_booking_listing_id_listing")),
        sa.PrimaryKeyConstraint("booking_id", name=op.f("pk_booking")),
    )
    op.create_index(op.f("ix_booking_buyer_id"), "booking", ["buyer_id"], unique=False)
    op.create_index(op.f("ix_booking_hardware_id"), "booking", ["hardware_id"], unique=False)
    op.create_index(op.f("ix_booking_listing_id"), "booking", ["listing_id"], unique=False)
    op.create_table(
        "command",
        sa.Column("command_id", sa.String(), nullable=False),
        sa.Column("hardware_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("booking_id", sa.String(), nullable=True),
        sa.Column("requested_by", sa.String(), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("order_sha256", sa.String(), nullable=False),
        sa.Column("created_at", Utc(), nullable=False),
        sa.Column("expires_at", Utc(), nullable=False),
        sa.Column("sent_at", Utc(), nullable=True),
        sa.Column("accepted_at", Utc(), nullable=True),
        sa.Column("finished_at", Utc(), nullable=True),
        sa.Column("code", sa.String(), nullable=True),
        sa.Column("detail", sa.String(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("progress", Json(), nullable=True),
        sa.CheckConstraint(
            "kind IN ('benchmark', 'wipe', 'access_grant', 'access_revoke')", name=op.f("ck_command_kind_known")
        ),
        sa.CheckConstraint(
            "state IN ('queued', 'sent', 'accepted', 'running', 'succeeded', 'partial', 'failed', 'refused', "
            "'expired', 'canceled', 'unknown')",
            name=op.f("ck_command_state_known"),
        ),
        sa.ForeignKeyConstraint(["booking_id"], ["booking.booking_id"], name=op.f("fk_command_booking_id_booking")),
        sa.ForeignKeyConstraint(["hardware_id"], ["machine.hardware_id"], name=op.f("fk_command_hardware_id_machine")),
        sa.PrimaryKeyConstraint("command_id", name=op.f("pk_command")),
        sa.UniqueConstraint("hardware_id", "seq", name=op.f("uq_command_hardware_id_seq")),
    )
    op.create_index("ix_command_state_expires_at", "command", ["state", "expires_at"], unique=False)
    op.create_table(
        "payment",
        sa.Column("payment_id", sa.String(), nullable=False),
        sa.Column("booking_id", sa.String(), nullable=False),
        sa.Column("hardware_id", sa.String(), nullable=True),
        sa.Column("payer_id", sa.String(), nullable=False),
        sa.Column("provider_id", sa.String(), nullable=True),
        sa.Column("amount_total", Money(), nullable=False),
        sa.Column("currency", sa.String(), nullable=True),
        sa.Column("payment_status", sa.String(), nullable=False),
        sa.Column("timestamp", Utc(), nullable=False),
        sa.Column("invoice_number", sa.String(), nullable=True),
        sa.CheckConstraint(
            "payment_status IN ('incomplete', 'paid', 'failed')", name=op.f("ck_payment_payment_status_known")
        ),
        sa.ForeignKeyConstraint(["booking_id"], ["booking.booking_id"], name=op.f("fk_payment_booking_id_booking")),
        sa.ForeignKeyConstraint(["hardware_id"], ["machine.hardware_id"], name=op.f("fk_payment_hardware_id_machine")),
        sa.ForeignKeyConstraint(["payer_id"], ["user.customer_id"], name=op.f("fk_payment_payer_id_user")),
        sa.ForeignKeyConstraint(["provider_id"], ["user.customer_id"], name=op.f("fk_payment_provider_id_user")),
        sa.PrimaryKeyConstraint("payment_id", name=op.f("pk_payment")),
    )
    op.create_index(op.f("ix_payment_booking_id"), "payment", ["booking_id"], unique=False)
    op.create_index(op.f("ix_payment_payer_id"), "payment", ["payer_id"], unique=False)
    op.create_table(
        "benchmark",
        sa.Column("benchmark_id", sa.String(), nullable=False),
        sa.Column("hardware_id", sa.String(), nullable=False),
        sa.Column("gpu_throughput_fp16", sa.Float(precision=53), nullable=True),
        sa.Column("gpu_throughput_fp32", sa.Float(precision=53), nullable=True),
        sa.Column("cpu_score", sa.Float(precision=53), nullable=True),
        sa.Column("disk_read_mb_s", sa.Float(precision=53), nullable=True),
        sa.Column("disk_write_mb_s", sa.Float(precision=53), nullable=True),
        sa.Column("network_bandwidth_gbps", sa.Float(precision=53), nullable=True),
        sa.Column("collected_at", Utc(), nullable=False),
        sa.Column("admin_verification_status", sa.String(), nullable=False),
        sa.Column("details", Json(), nullable=False),
        sa.Column("assurance", sa.String(), nullable=False),
        sa.Column("method_version", sa.String(), nullable=False),
        sa.Column("verified_by", sa.String(), nullable=True),
        sa.Column("verified_at", Utc(), nullable=True),
        sa.Column("rejection_reason", sa.String(), nullable=True),
        sa.Column("command_id", sa.String(), nullable=True),
        sa.Column("flags", Json(), nullable=False),
        sa.Column("flagged", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "admin_verification_status IN ('pending', 'approved', 'rejected')",
            name=op.f("ck_benchmark_admin_verification_status_known"),
        ),
        sa.CheckConstraint(
            "assurance IN ('self_reported', 'challenged', 'attested')", name=op.f("ck_benchmark_assurance_known")
        ),
        sa.ForeignKeyConstraint(["command_id"], ["command.command_id"], name=op.f("fk_benchmark_command_id_command")),
        sa.ForeignKeyConstraint(
            ["hardware_id"], ["machine.hardware_id"], name=op.f("fk_benchmark_hardware_id_machine")
        ),
        sa.PrimaryKeyConstraint("benchmark_id", name=op.f("pk_benchmark")),
        sa.UniqueConstraint("command_id", name=op.f("uq_benchmark_command_id")),
    )
    op.create_index("ix_benchmark_hardware_id_collected_at", "benchmark", ["hardware_id", "collected_at"], unique=False)
    op.create_index(
        "ix_benchmark_admin_verification_status_benchmark_id",
        "benchmark",
        ["admin_verification_status", "benchmark_id"],
        unique=False,
    )
    op.create_table(
        "benchmark_figure",
        sa.Column("benchmark_id", sa.String(), nullable=False),
        sa.Column("figure", sa.String(), nullable=False),
        sa.Column("hardware_id", sa.String(), nullable=False),
        sa.Column("value", sa.Float(precision=53), nullable=False),
        sa.Column("digits", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("method_version", sa.String(), nullable=False),
        sa.Column("received_at", Utc(), nullable=False),
        sa.Column("unmarked", sa.Boolean(), nullable=False),
        sa.Column("counts", sa.Boolean(), nullable=False),
        sa.Column("least", sa.Float(precision=53), nullable=True),
        sa.Column("most", sa.Float(precision=53), nullable=True),
        sa.ForeignKeyConstraint(
            ["benchmark_id"], ["benchmark.benchmark_id"], name=op.f("fk_benchmark_figure_benchmark_id_benchmark")
        ),
        sa.ForeignKeyConstraint(
            ["hardware_id"], ["machine.hardware_id"], name=op.f("fk_benchmark_figure_hardware_id_machine")
        ),
        sa.PrimaryKeyConstraint("benchmark_id", "figure", name=op.f("pk_benchmark_figure")),
    )
    op.create_index(op.f("ix_benchmark_figure_digits"), "benchmark_figure", ["digits"], unique=False)
    op.create_index(
        "ix_benchmark_figure_peers",
        "benchmark_figure",
        ["figure", "method_version", "model", "counts", "received_at"],
        unique=False,
    )
    op.create_index(
        "ix_benchmark_figure_hardware_id_received_at", "benchmark_figure", ["hardware_id", "received_at"], unique=False
    )
    op.create_table(
        "benchmark_gpu",
        sa.Column("uuid", sa.String(), nullable=False),
        sa.Column("hardware_id", sa.String(), nullable=False),
        sa.Column("seen_at", Utc(), nullable=False),
        sa.ForeignKeyConstraint(
            ["hardware_id"], ["machine.hardware_id"], name=op.f("fk_benchmark_gpu_hardware_id_machine")
        ),
        sa.PrimaryKeyConstraint("uuid", "hardware_id", name=op.f("pk_benchmark_gpu")),
    )
    op.create_table(
        "data_wipe",
        sa.Column("wipe_id", sa.String(), nullable=False),
        sa.Column("hardware_id", sa.String(), nullable=False),
        sa.Column("booking_id", sa.String(), nullable=True),
        sa.Column("timestamp", Utc(), nullable=False),
        sa.Column("wipe_method_executed", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("wipe_evidence_uri", sa.String(), nullable=True),
        sa.Column("command_id", sa.String(), nullable=True),
        sa.Column("evidence_sha256", sa.String(), nullable=True),
        sa.Column("signed_by", sa.String(), nullable=True),
        sa.Column("previous_sha256", sa.String(), nullable=True),
        sa.Column("chain_gap", sa.Boolean(), nullable=False),
        sa.Column("reimage_recommended", sa.Boolean(), nullable=False),
        sa.CheckConstraint("status IN ('success', 'partial', 'failed')", name=op.f("ck_data_wipe_status_known")),
        sa.CheckConstraint(
            "wipe_method_executed IN ('user_deletion', 'ssh_key_removal', 'home_directory_purge')",
            name=op.f("ck_data_wipe_wipe_method_executed_known"),
        ),
        sa.ForeignKeyConstraint(["booking_id"], ["booking.booking_id"], name=op.f("fk_data_wipe_booking_id_booking")),
        sa.ForeignKeyConstraint(["command_id"], ["command.command_id"], name=op.f("fk_data_wipe_command_id_command")),
        sa.ForeignKeyConstraint(
            ["hardware_id"], ["machine.hardware_id"], name=op.f("fk_data_wipe_hardware_id_machine")
        ),
        sa.PrimaryKeyConstraint("wipe_id", name=op.f("pk_data_wipe")),
        sa.UniqueConstraint(
            "command_id", "wipe_method_executed", name=op.f("uq_data_wipe_command_id_wipe_method_executed")
        ),
    )
    op.create_index(op.f("ix_data_wipe_booking_id"), "data_wipe", ["booking_id"], unique=False)
    op.create_index(op.f("ix_data_wipe_evidence_sha256"), "data_wipe", ["evidence_sha256"], unique=False)
    op.create_index(op.f("ix_data_wipe_hardware_id"), "data_wipe", ["hardware_id"], unique=False)
    op.create_table(
        "tenant_account",
        sa.Column("hardware_id", sa.String(), nullable=False),
        sa.Column("generation", sa.String(), nullable=False),
        sa.Column("username", sa.String(), nullable=False),
        sa.Column("uid", sa.BigInteger(), nullable=False),
        sa.Column("booking_id", sa.String(), nullable=True),
        sa.Column("command_id", sa.String(), nullable=False),
        sa.Column("granted_at", Utc(), nullable=False),
        sa.Column("wiped_at", Utc(), nullable=True),
        sa.ForeignKeyConstraint(
            ["booking_id"], ["booking.booking_id"], name=op.f("fk_tenant_account_booking_id_booking")
        ),
        sa.ForeignKeyConstraint(
            ["command_id"], ["command.command_id"], name=op.f("fk_tenant_account_command_id_command")
        ),
        sa.ForeignKeyConstraint(
            ["hardware_id"], ["machine.hardware_id"], name=op.f("fk_tenant_account_hardware_id_machine")
        ),
        sa.PrimaryKeyConstraint("hardware_id", "generation", name=op.f("pk_tenant_account")),
    )
    op.create_index(
        "ix_tenant_account_hardware_id_username", "tenant_account", ["hardware_id", "username"], unique=False
    )
    if op.get_bind().dialect.name == "postgresql":
        for statement in APPEND_ONLY_POSTGRESQL:
            op.execute(statement)
    else:
        for verb in ("UPDATE", "DELETE"):
            op.execute(APPEND_ONLY_SQLITE.format(verb=verb))
