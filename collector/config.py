"""The collector's settings: one flat table, every default here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from shared.codes import Code, Trouble
from shared.command_line import TRACEBACK
from shared.settings import settle, text_of

DEFAULT_FILE = Path("/etc/rackproof/collector.toml")
PREFIX = "RACKPROOF_"


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    What an operator can set.

    Attributes:
        data_dir: Keys, and with the embedded default database and evidence too.
        database: Where records are kept: "sqlite:///path" or "postgresql://…"; empty for SQLite in `data_dir`.
        evidence: Where evidence is kept: "file:///path" or "s3://bucket/prefix"; empty for files in `data_dir`.
        listen: HOST:PORT of this process.
        origins: Addresses under which agents reach this collector ("https://collector.example"); the first one is
            told to people. Empty for the address listened on.
        heartbeat_s: Seconds between two health reports; at most 20, so that one that is lost makes nobody stale.
        commit_every_s: Longest time a report waits for its group commit.
        health_kept_h: Hours that the numbers of every single health report are kept; coarser ones stay longer.
        bandwidth_server: Address of the measuring server ("https://measure.example:8480"); empty for none.
        bandwidth_server_key: Its public key, hex, as `rackproof bandwidth-server --show-key` prints it.
        challenge_mode: "off"; "shadow": answers are checked and told, and count for nothing; "on".
        benchmark_every_days: Days between two benchmarks of a machine; the first is when it is new. 0 for never.
        log: "json", "text", or "auto" for JSON unless at a terminal.
    """

    data_dir: str = "/var/lib/rackproof"
    database: str = ""
    evidence: str = ""
    listen: Annotated[str, Meta(pattern=r"^\S+:\d{1,5}\Z")] = "127.0.0.1:8470"
    origins: tuple[str, ...] = ()
    heartbeat_s: Annotated[float, Meta(ge=0.5, le=20)] = 15.0
    commit_every_s: Annotated[float, Meta(gt=0, le=5)] = 0.2
    health_kept_h: Annotated[int, Meta(ge=1, le=24 * 31)] = 24
    bandwidth_server: str = ""
    bandwidth_server_key: str = ""
    challenge_mode: Literal["off", "shadow", "on"] = "shadow"
    benchmark_every_days: Annotated[int, Meta(ge=0, le=365)] = 30
    log: Literal["auto", "json", "text"] = "auto"
    log_level: Annotated[str, Meta(pattern="^(debug|info|warning|error)$")] = "info"

    @property
    def database_url(self) -> str:
        """Where records are kept."""
        return self.database or f"sqlite:///{Path(self.data_dir, 'rackproof.db').absolute()}"

    @property
    def evidence_url(self) -> str:
        """Where evidence is kept."""
        return self.evidence or Path(self.data_dir, "evidence").absolute().as_uri()

    @property
    def host(self) -> str:
        """The address listened on."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port listened on."""
        return int(self.listen.rpartition(":")[2])

    @property
    def known_origins(self) -> frozenset[str]:
        """Every address under which an agent may mean this collector."""
        return frozenset(one.rstrip("/") for one in self.origins) or frozenset({f"http://{self.listen}"})


def read_settings(file: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any]) -> Settings:
    """
    Read the settings; a file named by the user must exist, the default one need not.

    Raises:
        Trouble: `bad_configuration`.
    """
    path = file or DEFAULT_FILE
    text = text_of(path.read_text, path, named=file is not None)
    # The agent's variables share the first half of their prefix.
    ours = {
        name: text for name, text in environment.items() if not name.startswith(f"{PREFIX}AGENT_") and name != TRACEBACK
    }
    settings = settle(Settings, file_text=text, environment=ours, prefix=PREFIX, flags=flags)
    if settings.port > 65_535:
        raise Trouble(Code.BAD_CONFIGURATION, f"port {settings.port} in listen = {settings.listen!r}")
    return settings
