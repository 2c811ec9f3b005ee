"""What every test may use: the option that makes missing services a failure, and real servers."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.bucket import Bucket, free_port
from tests.bucket import program as bucket_program


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


def _postgres_bin() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    there = found[0].parent if found else None
    on_path = shutil.which("initdb")
    return there or (Path(os.path.realpath(on_path)).parent if on_path else None)


@pytest.fixture(scope="session")
def postgres_server(missing) -> Iterator[str]:
    """A PostgreSQL server of the tests' own on loopback; gives its URL without a database name."""
    binaries = _postgres_bin()
    if binaries is None:
        missing("no PostgreSQL server is installed (Debian: postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="rackproof-pg-"))
    data, port = folder / "data", free_port()
    # The server refuses to run as root.
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    if user:
        shutil.chown(folder, "postgres", "postgres")
    subprocess.run(
        [
            *user,
            binaries / "initdb",
            "-D",
            data,
            "-U",
            "rackproof",
            "--auth=trust",
            "--no-sync",
            "-E",
            "UTF8",
            "--no-locale",
        ],
        check=True,
        capture_output=True,
        cwd="/",
    )
    settings = f"-F -p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=60".split()
    log = (folder / "log").open("wb")
    server = subprocess.Popen([*user, binaries / "postgres", "-D", data, *settings], stdout=log, stderr=log, cwd="/")
    try:
        _await_port(port, server)
        url = f"postgresql://rackproof@127.0.0.1:{port}"
        _await_answer(f"{url}/postgres")
        yield url
    finally:
        server.terminate()
        server.wait(20)
        log.close()
        shutil.rmtree(folder)


def _await_port(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        assert server.poll() is None, "the server ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.05)
    raise AssertionError("the server does not answer")


def _await_answer(url: str) -> None:
    """A server that listens may still be starting, and says so to whoever asks."""
    for _ in range(200):
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url):
            return
        time.sleep(0.05)
    raise AssertionError("the server does not come up")


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
