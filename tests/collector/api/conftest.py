"""The whole API in this process, over either database, asked through a real socket."""

import pytest
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

    async def put(self, path: str, body):
        return await self.ask("PUT", path, body)

    async def get(self, path: str):
        return await self.ask("GET", path)


@pytest.fixture
async def served(database, tmp_path):
    """The application over a database with usr_1 and hw_1; gives a client for a role."""

    async def never(_reports):
        raise AssertionError("no link is open")

    settings = Settings(data_dir=str(tmp_path), origins=("http://collector.test",))
    parts = assemble(settings, database, keyring.load_or_create(tmp_path / "keys"), never)
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
    async with TestClient(TestServer(app)) as http:
        yield lambda role="platform": Client(http, made[role])
