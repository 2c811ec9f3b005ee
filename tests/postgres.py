"""A PostgreSQL server of the tests' own, on loopback."""

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

from tests.bucket import free_port


def binaries() -> Path | None:
    """Where the server's programs are; None where none is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    there = found[0].parent if found else None
    on_path = shutil.which("initdb")
    return there or (Path(os.path.realpath(on_path)).parent if on_path else None)


@contextlib.contextmanager
def running(programs: Path, *, durable: bool = False) -> Iterator[str]:
    """Run a server; gives its URL without a database name. Tests do without the flush to the disk, measurements not."""
    folder = Path(tempfile.mkdtemp(prefix="rackproof-pg-"))
    data, port = folder / "data", free_port()
    # The server refuses to run as root.
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    if user:
        shutil.chown(folder, "postgres", "postgres")
    make = ["-U", "rackproof", "--auth=trust", "--no-sync", "-E", "UTF8", "--no-locale"]
    subprocess.run([*user, programs / "initdb", "-D", data, *make], check=True, capture_output=True, cwd="/")
    settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=60".split()
    log = (folder / "log").open("wb")
    argv = [*user, programs / "postgres", "-D", data, *settings, *([] if durable else ["-F"])]
    server = subprocess.Popen(argv, stdout=log, stderr=log, cwd="/")
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
