"""Real collectors and agents as processes, for tests that stop, kill and confuse them."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from collector.history import chunk
from tests.bucket import free_port

USER = {"customer_id": "usr_1", "email": "one@example.com", "signup_date": "2026-01-01T00:00:00Z"}


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("RACKPROOF_")}


def program(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


class Refused(Exception):  # noqa: N818 - an answer, looked at by tests
    """The API answered with a problem."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        super().__init__(f"{status} {problem}")
        self.status = status
        self.code = problem.get("code")
        self.problem = problem


class Program:
    """One program that can be started again after it was killed."""

    def __init__(self, name: str, folder: Path, argv: list[str]) -> None:
        self.log = folder / f"{name}.log"
        self._argv = argv
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environment()
            )

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)

    def events(self) -> list[dict[str, Any]]:
        """What it logged, one entry a line."""
        found = []
        for line in self.log.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                found.append(json.loads(line))
        return found


class Collector(Program):
    def __init__(self, folder: Path, database: str = "", evidence: str = "") -> None:
        self.port = free_port()
        self.origin = f"http://127.0.0.1:{self.port}"
        self.data = folder / "collector"
        self.config = folder / "collector.toml"
        lines = [f'data_dir = "{self.data}"', f'listen = "127.0.0.1:{self.port}"', "heartbeat_s = 1.0"]
        lines.append("benchmark_every_days = 0")  # none but those that a test orders
        if database:
            lines.append(f'database = "{database}"')
        if evidence:
            lines.append(f'evidence = "{evidence}"')
        self.config.write_text("\n".join(lines) + "\n")
        super().__init__("collector", folder, program("collector", "serve", "--migrate", "--config", str(self.config)))
        self.token = ""

    def cli(self, *arguments: str) -> str:
        command = program("collector", *arguments, "--config", str(self.config))
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment()).stdout.strip()

    def up(self) -> "Collector":
        """Start, wait until it answers, and make an admin's token."""
        self.start()
        self.await_ready()
        self.token = self.cli("token", "create", "--role", "admin", "--name", "tests")
        self.ask("PUT", "/v1/users/usr_1", USER)
        return self

    def await_ready(self, limit_s: float = 60) -> None:
        ends = time.monotonic() + limit_s
        while time.monotonic() < ends:
            with contextlib.suppress(OSError, Refused):
                self.ask("GET", "/readyz")
                return
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(f"not ready: {self.log.read_text()[-2000:]}")

    def ask(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Any:
        data = json.dumps(body).encode() if body is not None and not isinstance(body, bytes) else body
        request = urllib.request.Request(
            self.origin + path,
            data=data,
            method=method,
            headers={"Authorization": f"Bearer {self.token}"} | (headers or {}),
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(error.code, json.loads(error.read())) from None
        return json.loads(text) if response.headers["Content-Type"].startswith("application/json") else text.decode()

    def enrollment_token(self, **more: object) -> str:
        return self.ask("POST", "/v1/enrollment_tokens", {"customer_id": "usr_1", **more})["token"]

    def items(self, path: str) -> list[dict[str, Any]]:
        return self.ask("GET", path)["items"]

    def report_numbers(self) -> set[int]:
        """The numbers of the health reports that are stored: in the log, or in the chunks of closed hours."""
        with self.database() as database:
            found = {row["seq"] for row in database.execute("SELECT seq FROM health_sample")}
            chunks = [row["content"] for row in database.execute("SELECT content FROM health_chunk WHERE tier = '15m'")]
        for content in chunks:
            for ranges in chunk.decode(content).covered.values():
                found |= {seq for first, last in ranges for seq in range(first, last + 1)}
        return found

    def database(self) -> sqlite3.Connection:
        """The embedded database itself, to look at what the API does not show."""
        connection = sqlite3.connect(self.data / "rackproof.db")
        connection.row_factory = sqlite3.Row
        return connection


class Agent(Program):
    def __init__(self, folder: Path, collector: Collector, name: str = "agent") -> None:
        self.folder = folder / name
        self.folder.mkdir()
        self.simulated = self.folder / "simulated"
        self.collector = collector
        self.config = self.folder / "agent.toml"
        lines = [
            f'state_dir = "{self.folder}/state"',
            f'wiper_dir = "{self.folder}/wiper"',
            f'sandbox_dir = "{self.simulated}"',
            f'benchmark_dir = "{self.folder}"',
            f'policy_file = "{self.folder}/policy.toml"',
        ]
        self.config.write_text("\n".join(lines) + "\n")
        super().__init__(name, self.folder, program("agent", "run", "--config", str(self.config)))
        self.hardware_id = ""

    def cli(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        command = program("agent", *arguments, "--config", str(self.config))
        return subprocess.run(command, input=given, capture_output=True, text=True, env=environment(), check=False)

    def enroll(self, token: str | None = None) -> "Agent":
        done = self.cli(
            "enroll", "--collector", self.collector.origin, given=token or self.collector.enrollment_token()
        )
        assert done.returncode == 0, done.stderr
        self.hardware_id = done.stdout.strip()
        return self

    def up(self) -> "Agent":
        self.enroll()
        self.start()
        self.await_online()
        return self

    def await_online(self, limit_s: float = 40) -> None:
        def online() -> bool:
            row = self.collector.ask("GET", f"/v1/machines/{self.hardware_id}")
            return row["provider_agent_status"] == "online" and row["health_indicators"] is not None

        wait_for(online, limit_s, "the agent to be online")

    def state(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.folder / "state" / "agent.db")
        connection.row_factory = sqlite3.Row
        return connection

    def order(self, **body: object) -> dict[str, Any]:
        return self.collector.ask("POST", "/v1/commands", {"hardware_id": self.hardware_id, **body})

    def ended(self, command_id: str, limit_s: float = 60) -> dict[str, Any]:
        ends = {"succeeded", "partial", "failed", "refused", "expired", "canceled"}
        row: dict[str, Any] = {}

        def over() -> bool:
            row.update(self.collector.ask("GET", f"/v1/commands/{command_id}"))
            return row["state"] in ends

        wait_for(over, limit_s, f"{command_id} to end")
        return row


def wait_for(true, limit_s: float, what: str) -> None:
    """Wait for something; a collector that is away at this moment is waited for too."""
    ends = time.monotonic() + limit_s
    while time.monotonic() < ends:
        with contextlib.suppress(OSError):
            if true():
                return
        time.sleep(0.05)
    raise AssertionError(f"waited {limit_s} s for {what}")


def children(pid: int) -> list[int]:
    """A process's children, at this moment."""
    with contextlib.suppress(OSError):
        return [int(one) for one in Path("/proc", str(pid), "task", str(pid), "children").read_text().split()]
    return []


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it, at this moment."""
    found = [pid]
    for one in found:
        found += [child for child in children(one) if child not in found]
    return found


def memory_mb(pids: list[int], kind: str) -> float:
    """Return processes' resident ("Rss") or proportional ("Pss") set size in MB (10^6). Source: proc(5), smaps_rollup."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):  # a child that ended meanwhile has none
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith(f"{kind}:"):
                    total += int(line.split()[1])
    return total * 1024 / 1e6
