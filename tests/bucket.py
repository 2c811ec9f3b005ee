"""An S3-compatible server of the tests' own, that can be killed and started again over the same data."""

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

PROGRAM = "weed"
PORTS = ("master.port", "volume.port", "filer.port", "s3.port")
START_S = 60.0


def free_port() -> int:
    """Return a port of loopback that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def program() -> str | None:
    """Where the server is installed, beside the tests' Python or on the path."""
    beside = Path(sys.prefix, "bin", PROGRAM)
    return str(beside) if beside.exists() else shutil.which(PROGRAM)


class Bucket:
    """
    The server; `url` is a bucket in it, `environment` says how to reach it.

    Source of the options: SeaweedFS 4, `weed server -h`.
    """

    url = "s3://evidence/certificates"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        identity = {"name": "tests", "credentials": [{"accessKey": "key", "secretKey": "secret"}]}
        identity["actions"] = ["Admin", "Read", "Write", "List"]
        config = folder / "identities.json"
        config.write_text(json.dumps({"identities": [identity]}))
        ports = {name: free_port() for one in PORTS for name in (one, f"{one}.grpc")}
        self._ports = tuple(ports.values())
        self.environment = {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3.port']}",
            "AWS_ALLOW_HTTP": "true",
        }
        self._argv = [
            *(str(program()), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
            *("-filer", "-s3", f"-s3.config={config}", "-s3.port.iceberg=0", "-s3.port.lance=0"),
            *("-master.telemetry=false", "-master.volumeSizeLimitMB=32", "-volume.max=8"),
            *(f"-{name}={port}" for name, port in ports.items()),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it stores something."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._argv, stdout=log, stderr=log, cwd=self._folder)
        retries = {"max_retries": 0, "retry_timeout": timedelta(seconds=2)}
        endpoint = self.environment["AWS_ENDPOINT_URL"]
        store = from_url(
            self.url,
            access_key_id="key",
            secret_access_key="secret",
            region="us-east-1",
            endpoint=endpoint,
            client_options={"allow_http": True, "timeout": timedelta(seconds=2)},
            retry_config=retries,
        )
        until, last = time.monotonic() + START_S, None
        while time.monotonic() < until:
            assert self._process.poll() is None, (self._folder / "log").read_text()[-2000:]
            try:
                obstore.put(store, "ready", b"1")
            except BaseError as error:
                last = error
                time.sleep(0.2)
            else:
                return
        raise AssertionError(f"the bucket does not answer: {last}")

    def kill(self) -> None:
        """End it as a crash does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        for port in self._ports:
            for socket_ in Path(tempfile.gettempdir()).glob(f"seaweedfs-*-{port}.sock"):
                socket_.unlink()
