"""Column types that mean the same on both databases."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import CheckConstraint, DateTime, Dialect, Numeric, Text, types
from sqlalchemy.dialects.postgresql import JSON


class DatetimeText(types.UserDefinedType[str]):
    """SQLite's column for a time: "TEXT" in its name gives text affinity. Source: sqlite.org/datatype3.html, 3.1."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Return the type's name in DDL."""
        return "DATETIME_TEXT"


class DecimalText(types.UserDefinedType[str]):
    """SQLite's column for money: as text it is exact, as a number it would be a float."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Return the type's name in DDL."""
        return "DECIMAL_TEXT"


class JsonText(types.UserDefinedType[str]):
    """SQLite's column for JSON."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Return the type's name in DDL."""
        return "JSON_TEXT"


class Utc(types.TypeDecorator[datetime]):
    """An aware time in UTC: TIMESTAMPTZ on PostgreSQL, sortable ISO 8601 text with microseconds on SQLite."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> types.TypeEngine[Any]:
        """Choose the column of this database."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(DatetimeText())
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Write a time; a naive one is a defect and is refused."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("times are aware")
        at = value.astimezone(UTC)
        return at.isoformat(timespec="microseconds") if dialect.name == "sqlite" else at

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Read a time."""
        if value is None:
            return None
        read: datetime = datetime.fromisoformat(value) if dialect.name == "sqlite" else value
        return read.astimezone(UTC)


class Money(types.TypeDecorator[Decimal]):
    """An exact decimal with up to 6 places: NUMERIC(18, 6) on PostgreSQL, text on SQLite."""

    impl = Numeric
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> types.TypeEngine[Any]:
        """Choose the column of this database."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(DecimalText())
        return dialect.type_descriptor(Numeric(18, 6))

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        """Write an amount; what would not fit is refused on both databases alike."""
        if value is None:
            return None
        if not value.is_finite() or abs(value) >= Decimal(10) ** 12 or value != round(value, 6):
            raise ValueError(f"an amount has at most 12 digits before and 6 after the point, not {value}")
        return str(value) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """Read an amount, without the zeros that PostgreSQL fills in beyond two places."""
        if value is None:
            return None
        amount = Decimal(value)
        cents = amount.quantize(Decimal("0.01"))
        return cents if cents == amount else amount.normalize()


class Json(types.TypeDecorator[Any]):
    """
    JSON as text: `JSON` on PostgreSQL, whose binary `JSONB` takes five times as long to write.

    Bytes are taken as JSON that is encoded already.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> types.TypeEngine[Any]:
        """Choose the column of this database."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(JsonText())
        return dialect.type_descriptor(JSON())

    def bind_processor(self, dialect: Dialect) -> Any:
        """Write the text as it is: the database's own JSON type must not encode it a second time."""

        def write(value: Any) -> str | None:
            if value is None:
                return None
            if isinstance(value, bytes):
                return value.decode()
            return json.dumps(value, separators=(",", ":"), default=msgspec.to_builtins)

        return write

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """Read what either driver gives: text, or values already."""

        def read(value: Any) -> Any:
            return json.loads(value) if isinstance(value, str) else value

        return read


def one_of(column: str, values: type[StrEnum] | tuple[str, ...]) -> CheckConstraint:
    """Return the check that a column holds one of a value set."""
    words = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({words})", name=f"{column}_known")
