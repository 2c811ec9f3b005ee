"""What every test may use: the option that makes missing services a failure, and real servers."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import postgres
from tests.bucket import Bucket
from tests.bucket import program as bucket_program

# How long an example takes says more about the machine's other tenants than about the code.
settings.register_profile("rackproof", deadline=None)
settings.load_profile("rackproof")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-services", action="store_true", help="a missing service is a failure, not a skip")
    parser.addoption("--kills", type=int, default=15, help="how often the kill test kills; 50 in CI")
    parser.addoption("--power-cuts", type=int, default=2, help="how many wipes have their power cut; 100 in a long run")


@pytest.fixture(scope="session")
def missing(request: pytest.FixtureRequest):
    """Call with a reason where a test needs what this machine lacks: a skip, or in CI a failure."""

    def told(reason: str):
        if request.config.getoption("--require-services"):
            pytest.fail(f"required but missing: {reason}")
        pytest.skip(reason)

    return told


@pytest.fixture(scope="session")
def postgres_server(missing) -> Iterator[str]:
    """A PostgreSQL server of the tests' own on loopback; gives its URL without a database name."""
    programs = postgres.binaries()
    if programs is None:
        missing("no PostgreSQL server is installed (Debian: postgresql)")
    with postgres.running(programs) as url:
        yield url


@pytest.fixture(scope="session")
def bucket_server(missing) -> Iterator[Bucket]:
    """An S3-compatible server, running."""
    if bucket_program() is None:
        missing("no S3 server is installed (uv sync --group services)")
    folder = Path(tempfile.mkdtemp(prefix="rackproof-s3-"))
    server = Bucket(folder)
    server.start()
    yield server
    server.kill()
    shutil.rmtree(folder)


@pytest.fixture
def bucket(bucket_server: Bucket, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """The same, with the environment in which the collector finds it."""
    for name, value in bucket_server.environment.items():
        monkeypatch.setenv(name, value)
    return bucket_server
