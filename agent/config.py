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
        wiper_command: How the wiper is started; empty for this program's own.
        wiper_socket: Where the wiper listens that is a service of its own; empty to start one as a child process.
        sandbox_dir: A tree that stands for the machine, for demonstrations without root; empty on a real machine.
        log: "json", "text", or "auto" for JSON unless at a terminal.
    """

    state_dir: str = "/var/lib/rackproof-agent"
    wiper_dir: str = "/var/lib/rackproof-wiper"
    policy_file: str = "/etc/rackproof/policy.toml"
    benchmark_dir: str = "/var/tmp"  # noqa: S108 - a directory of tenants' file system; the test file has no name
    ca_file: str = ""
    wiper_command: tuple[str, ...] = ()
    wiper_socket: str = ""
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
