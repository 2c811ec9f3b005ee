"""The schema is the data model: names, types, keys and foreign keys, on both databases."""

import json
import re
from pathlib import Path

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from collector.store.tables import metadata
from shared import records

MODEL = json.loads((Path(__file__).parent / "model.json").read_text())

TYPES = {
    "sqlite": {
        "string": "VARCHAR",
        "integer": "INTEGER",
        "boolean": "BOOLEAN",
        "float": "FLOAT",
        "datetime": "DATETIME_TEXT",
        "json": "JSON_TEXT",
        "decimal": "DECIMAL_TEXT",
    },
    "postgresql": {
        "string": "VARCHAR",
        "integer": "INTEGER",
        "boolean": "BOOLEAN",
        "float": "DOUBLE PRECISION",
        "datetime": "TIMESTAMP",
        "json": "JSON",
        "decimal": "NUMERIC(18, 6)",
    },
}
"""What each type of the model is called by each database."""

BEYOND = {
    "Booking": {"tenant_username", "tenant_ssh_keys"},
    "Benchmark": {
        "details",
        "assurance",
        "method_version",
        "verified_by",
        "verified_at",
        "rejection_reason",
        "command_id",
        "flags",
        "flagged",
    },
    "DataWipe": {
        "command_id",
        "evidence_sha256",
        "signed_by",
        "previous_sha256",
        "chain_gap",
        "reimage_recommended",
    },
}
"""Columns that we add after the model's own."""


def snake(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


async def looked_at(database):
    """What the database itself says of its tables."""

    def look(connection):
        # SQLite's reflection knows no types but its own; ours are asked for by name.
        found = {}
        for entity in MODEL:
            table = snake(entity)
            inspector = inspect(connection)
            if connection.dialect.name == "sqlite":
                rows = connection.exec_driver_sql(f'PRAGMA table_info("{table}")').fetchall()
                columns = [(row[1], row[2]) for row in rows]
            else:
                columns = [(one["name"], str(one["type"])) for one in inspector.get_columns(table)]
            keys = {tuple(one["constrained_columns"]): one for one in inspector.get_foreign_keys(table)}
            found[entity] = {
                "columns": columns,
                "primary_key": inspector.get_pk_constraint(table)["constrained_columns"],
                "foreign_keys": {
                    name: f"{one['referred_table']}.{one['referred_columns'][0]}" for (name,), one in keys.items()
                },
                "checks": " ".join(str(one["sqltext"]) for one in inspector.get_check_constraints(table)),
            }
        return found

    async with database.read() as conn:
        return await conn.run_sync(look)


async def test_a_fresh_database_is_the_data_model(database):
    """Tables, columns in the model's order, types, primary and foreign keys; and nothing more but what is listed."""
    found = await looked_at(database)
    for entity, model in MODEL.items():
        table = found[entity]
        attributes = [(one["name"], TYPES[database.dialect][one["type"]]) for one in model["attributes"]]
        assert table["columns"][: len(attributes)] == attributes, entity
        assert {name for name, _ in table["columns"][len(attributes) :]} == BEYOND.get(entity, set()), entity
        assert table["primary_key"] == [model["primary_key"]], entity
        wanted = {
            name: f"{snake(target.split('.')[0])}.{target.split('.')[1]}"
            for name, target in model["foreign_keys"].items()
        }
        ours = {name: target for name, target in table["foreign_keys"].items() if name not in BEYOND.get(entity, set())}
        assert ours == wanted, entity


async def test_the_database_knows_the_value_sets(database):
    """Every word that the model names for a column stands in one of its checks."""
    found = await looked_at(database)
    words = [
        (entity, one["name"], word)
        for entity, model in MODEL.items()
        for one in model["attributes"]
        for word in one.get("values", [])
    ]
    assert len(words) > 15
    for entity, column, word in words:
        assert re.search(rf"{column}\b.*'{word}'", found[entity]["checks"]), (entity, column, word)


def test_the_records_are_the_data_model():
    """The Structs that cross the wire have the model's attributes first, in its order."""
    by_name = {kind.__name__: kind for kind in records.RECORDS}
    assert set(by_name) == set(MODEL)
    for entity, model in MODEL.items():
        fields = [one.name for one in msgspec.structs.fields(by_name[entity])]
        attributes = [one["name"] for one in model["attributes"]]
        assert fields[: len(attributes)] == attributes
        assert set(fields[len(attributes) :]) == BEYOND.get(entity, set())


async def test_the_migrations_make_the_tables_that_the_program_speaks_to(database):
    """Alembic finds no difference between the migrated schema and the table definitions."""
    async with database.read() as conn:
        found = await conn.run_sync(
            lambda connection: compare_metadata(MigrationContext.configure(connection), metadata)
        )
    # SQLite's reflection reads our type names as text; types are compared by name above.
    assert [one for one in found if not (isinstance(one, list) and one[0][0] == "modify_type")] == []


@pytest.mark.parametrize("entity", MODEL)
def test_the_model_file_is_whole(entity):
    """The data file itself has not lost an entity's key."""
    assert MODEL[entity]["primary_key"] in {one["name"] for one in MODEL[entity]["attributes"]}
