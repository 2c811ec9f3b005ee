"""The whole API in this process, over either database, asked through a real socket."""

import pytest
from aiohttp import TCPConnector
from aiohttp.test_utils import TestClient, TestServer

from collector import keyring
from collector.api.middleware import Doorkeeper
from collector.app import make_app
from collector.compose import assemble, utc_now
from collector.config import Settings
from collector.store import records, tokens
from collector.store.tokens import ApiToken
from collector.tokens import new_token
from shared.records import User
from tests.collector.known import NOW, add_machine


class Client:
    """Asks as one role; answers are (status, body)."""

    def __init__(self, http: TestClient, token: str) -> None:
        self._http = http
        self._headers = {"Authorization": f"Bearer {token}"}

    async def ask(self, method: str, path: str, body=None, **headers):
        async with self._http.request(method, path, json=body, headers=self._headers | headers) as response:
            kind = response.headers["Content-Type"].partition(";")[0]
            return response.status, await (
                response.json(content_type=None) if kind.endswith("json") else response.text()
            )

    async def open(self, path: str, **headers):
        """Begin a response that goes on; the caller closes it."""
        return await self._http.get(path, headers=self._headers | headers)

    async def put(self, path: str, body):
        return await self.ask("PUT", path, body)

    async def get(self, path: str):
        return await self.ask("GET", path)


@pytest.fixture
def parts(database, tmp_path):
    """The collector's parts over a database."""

    async def never(_reports):
        raise AssertionError("no link is open")

    settings = Settings(data_dir=str(tmp_path), origins=("http://collector.test",))
    return assemble(settings, database, keyring.load_or_create(tmp_path / "keys"), never)


@pytest.fixture
def feed(parts):
    """Where changes are published."""
    return parts.feed


@pytest.fixture
async def served(database, parts):
    """The application over a database with usr_1 and hw_1; gives a client for a role, or a provider's."""
    app = make_app(parts.routes, Doorkeeper(database, utc_now), parts.gateway, "1")
    made = {}
    async with database.write() as conn:
        await add_machine(conn, "hw_1")
        await records.upsert(conn, User(customer_id="usr_buyer", email="buyer@example.com", signup_date=NOW))
        for role in ("admin", "platform", "auditor"):
            token = new_token("rps")
            made[role] = token.shown
            row = ApiToken(
                token_id=token.token_id, secret_sha256=token.secret_sha256, name=role, role=role, created_at=NOW
            )
            await tokens.create(conn, row)
        for customer_id in ("usr_1", "usr_buyer"):
            token = new_token("rps")
            made[customer_id] = token.shown
            row = ApiToken(
                token_id=token.token_id,
                secret_sha256=token.secret_sha256,
                name=customer_id,
                role="provider",
                customer_id=customer_id,
                created_at=NOW,
            )
            await tokens.create(conn, row)
    # Streams stay open: a test may hold more of them than a client would usually open.
    async with TestClient(TestServer(app), connector=TCPConnector(limit=0)) as http:
        yield lambda role="platform": Client(http, made[role])
