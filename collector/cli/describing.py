"""`rackproof openapi`: the document without a running collector."""

import asyncio
import tempfile
from collections.abc import Sequence
from importlib.metadata import version

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from collector.api.openapi import document
from collector.compose import assemble
from collector.config import Settings
from collector.keyring import Keyring
from collector.store.engine import open_database
from collector.store.health import Report


def openapi_text() -> str:
    """Return the OpenAPI document as indented JSON."""
    return asyncio.run(_text())


async def _text() -> str:
    async def never(_reports: Sequence[Report]) -> None:
        raise AssertionError("describing the API stores nothing")

    with tempfile.TemporaryDirectory() as empty:
        keys = Keyring(link=Ed25519PrivateKey.generate(), order=Ed25519PrivateKey.generate())
        settings = Settings(data_dir=empty)
        database = open_database(settings.database_url)
        try:
            routes = assemble(settings, database, keys, never).routes
        finally:
            await database.close()
    return msgspec.json.format(msgspec.json.encode(document(routes, version("rackproof")))).decode()
