"""The agent's settings: one flat table, every default here."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from shared.codes import Code, Trouble
from shared.settings import settle, text_of

DEFAULT_FILE = Path("/etc/rackproof/agent.toml")
PREFIX = "RACKPROOF_AGENT_"


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    What a provider can set.

    Attributes:
        state_dir: The agent's own directory: key, outbox, journal.
        wiper_dir: The wiper's own directory; the agent never reads it, it only passes the path to the wiper it starts.
        policy_file: What this provider allows; read by the wiper.
        benchmark_dir: Where the disk benchmark measures: the file system that tenants use.
        ca_file: A private certificate authority for the collector's address; empty for the system's.
        network_tool: What measures bandwidth: "rackproof" at the platform's measuring server, or "iperf3", which nobody
            witnesses.
        iperf3_server: "HOST:PORT" of an iperf3 server, for that tool.
        network_budget_gb: GB (10^9) that bandwidth measurements may move in a month, both ways together; 0 for none at
            all. A full one moves 2.5 GB at 1 Gbit/s, 25 GB at 10 Gbit/s; a month has one or two.
        wiper_command: How the wiper is started; empty for this program's own.
        wiper_socket: Where the wiper listens that is a service of its own; empty to start one as a child process.
        expected_gpus: How many NVIDIA GPUs this machine has; left out, nobody misses one that is gone from the PCI bus.
        sandbox_dir: A tree that stands for the machine, for demonstrations without root; empty on a real machine.
        log: "json", "text", or "auto" for JSON unless at a terminal.
    """

    state_dir: str = "/var/lib/rackproof-agent"
    wiper_dir: str = "/var/lib/rackproof-wiper"
    policy_file: str = "/etc/rackproof/policy.toml"
    benchmark_dir: str = "/var/tmp"  # noqa: S108 - a directory of tenants' file system; the test file has no name
    ca_file: str = ""
    network_tool: Literal["rackproof", "iperf3"] = "rackproof"
    iperf3_server: Annotated[str, Meta(max_length=300)] = ""
    network_budget_gb: Annotated[int, Meta(ge=0, le=1_000_000)] = 200
    wiper_command: tuple[str, ...] = ()
    wiper_socket: str = ""
    expected_gpus: Annotated[int, Meta(ge=0, le=64)] | None = None
    sandbox_dir: str = ""
    log: Literal["auto", "json", "text"] = "auto"
    log_level: Annotated[str, Meta(pattern="^(debug|info|warning|error)$")] = "info"

    @property
    def state_file(self) -> Path:
        """The agent's database: outbox and journal."""
        return Path(self.state_dir, "agent.db")

    @property
    def key_file(self) -> Path:
        """The agent's private key."""
        return Path(self.state_dir, "agent.key")

    @property
    def pinned_file(self) -> Path:
        """What enrollment pinned, the agent's copy."""
        return Path(self.state_dir, "pinned.json")

    @property
    def status_file(self) -> Path:
        """What `rackproof-agent status` reads."""
        return Path(self.state_dir, "status.json")

    @property
    def network_file(self) -> Path:
        """What bandwidth measurements have moved this month."""
        return Path(self.state_dir, "network.json")

    @property
    def wiper_key_file(self) -> Path:
        """The wiper's private key."""
        return Path(self.wiper_dir, "wiper.key")

    @property
    def wiper_pinned_file(self) -> Path:
        """What enrollment pinned, the wiper's copy."""
        return Path(self.wiper_dir, "pinned.json")


def read_settings(file: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any]) -> Settings:
    """
    Read the settings.

    Args:
        file: A file named by the user, which must exist; None for the default one, which need not.
        environment: The process's variables.
        flags: Flags given on the command line.

    Raises:
        Trouble: `bad_configuration`.
    """
    path = file or DEFAULT_FILE
    text = text_of(path.read_text, path, named=file is not None)
    return settle(Settings, file_text=text, environment=environment, prefix=PREFIX, flags=flags)


def prepare(directory: Path) -> None:
    """
    Make a state directory, or see that it can be written.

    Raises:
        Trouble: `state_unwritable`.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Trouble(Code.STATE_UNWRITABLE, f"{directory}: {error.strerror}") from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise Trouble(Code.STATE_UNWRITABLE, f"{directory} is not writable by this user")


def digest(settings: Settings) -> str:
    """Return a name for these settings, so that a changed configuration is visible from afar."""
    return hashlib.sha256(msgspec.json.encode(settings, order="deterministic")).hexdigest()[:16]
