"""Alembic looks for this file; migrations are run by `collector.store.migrate` alone."""
