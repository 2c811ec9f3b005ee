"""Prometheus' own programs, as Debian ships them: what it says of figures and rules, and a server on loopback."""

import contextlib
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.bucket import free_port


def promtool(missing) -> str:
    found = shutil.which("promtool")
    if found is None:
        missing("no promtool is installed (Debian: prometheus)")
    return found


def complaints(tool: str, text: str) -> str:
    """What promtool has against figures; nothing is well."""
    done = subprocess.run([tool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode or done.stdout or done.stderr else ""


class Prometheus:
    """A server that scrapes what its configuration names."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._listen = f"127.0.0.1:{free_port()}"
        self._address = f"http://{self._listen}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, config: Path) -> None:
        """Start it and wait until it answers."""
        log = (self._folder / "prometheus.log").open("wb")
        argv = [
            self._program,
            f"--config.file={config}",
            f"--storage.tsdb.path={self._folder / 'tsdb'}",
            f"--web.listen-address={self._listen}",
        ]
        with log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, cwd=self._folder)
        for _ in range(600):
            assert self._process.poll() is None, (self._folder / "prometheus.log").read_text()
            # Not there yet, or there and still reading its files: 503.
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self._address}/-/ready", timeout=10):
                return
            time.sleep(0.1)
        raise AssertionError("Prometheus does not answer")

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Every series that an expression gives now."""
        answer = json.loads(self._get("/api/v1/query?" + urllib.parse.urlencode({"query": expression})))
        found = answer["data"]["result"]
        return found if answer["data"]["resultType"] == "vector" else [{"value": found}]

    def ask(self, path: str) -> Any:
        """One of its answers about itself."""
        return json.loads(self._get(path))["data"]

    def _get(self, path: str) -> bytes:
        try:
            with urllib.request.urlopen(f"{self._address}{path}", timeout=10) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{path}: {error.read().decode()}") from None
