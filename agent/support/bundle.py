"""The support bundle: what is in it, and how it is written."""

import asyncio
import io
import os
import secrets
import sys
import tarfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from posixpath import normpath
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from msgspec import Struct

from agent import checks as check_files
from agent import indicators as indicator_files
from agent.checking import run_checks
from agent.checks import Check, Scene
from agent.config import Settings
from agent.health import Sampler, read_one
from agent.host import Host
from agent.host.recorded import Answers, RecordedHost
from agent.host.recording import RecordingHost
from agent.indicators import Indicator
from agent.inventory import facts, hardware_id
from agent.plugins import load
from agent.status import read_status
from agent.support.files import without_names
from agent.support.known import tell
from agent.support.redaction import Kind, Redactor
from shared.codes import Code, Trouble
from shared.messages import Failed, Indicators

RECORDING = "recording"
"""The folder in the bundle that `RecordedHost` replays."""

OURS = (
    "aiohttp",
    "apscheduler",
    "cryptography",
    "msgspec",
    "numpy",
    "nvidia-ml-py",
    "psutil",
    "rackproof",
    "structlog",
)
"""Distributions whose versions are told."""


class Bundle(Struct, frozen=True, kw_only=True):
    """What would be sent: contents by name, and how many different things of each kind were taken out."""

    contents: dict[str, bytes]
    taken_out: dict[Kind, int]


class Seen(Struct, frozen=True, kw_only=True):
    """A recorded machine: its texts by path, its other answers, and the report that was made of it."""

    files: dict[str, str]
    answers: Answers
    indicators: Indicators


def bundle(scene: Scene, moment: datetime, key: bytes | None = None) -> Bundle:
    """
    Look at this machine and return what a bundle of it holds; nothing is written.

    Args:
        scene: The machine and its settings.
        moment: Now.
        key: Of the pseudonyms; random when left out.
    """
    subjects = load(indicator_files, "INDICATOR", Indicator)
    seen = record(scene.host, subjects)
    lines = run_checks(load(check_files, "CHECK", Check), scene)
    redactor = redactor_for(scene.host, subjects, key or secrets.token_bytes(32))
    files, answers = without_names(seen.files, seen.answers, redactor)
    contents = {f"{RECORDING}{normpath(path)}": text.encode() for path, text in files.items()}
    contents[f"{RECORDING}/machine.json"] = _json(answers)
    contents["report.json"] = _json(_report(subjects, seen.indicators, contents, redactor))
    contents["doctor.json"] = _json(redactor.plain(msgspec.to_builtins(lines)))
    contents["settings.json"] = _json(redactor.plain(msgspec.to_builtins(scene.settings)))
    contents["status.json"] = _json(redactor.plain(_status(scene.settings)))
    contents["version.json"] = _json(_versions(moment))
    taken_out = {kind: len(found) for kind, found in sorted(redactor.taken.items())}
    contents["README.txt"] = readme(contents, taken_out).encode()
    return Bundle(contents=dict(sorted(contents.items())), taken_out=taken_out)


def redactor_for(host: Host, subjects: Sequence[Indicator], key: bytes) -> Redactor:
    """Return what takes out of a text whatever names this machine; the names of readings stay."""
    redactor = Redactor(key)
    tell(host, redactor)
    redactor.spare([*(one.name for one in subjects), *(name for one in subjects for name in one.describes)])
    return redactor


def record(host: Host, subjects: Sequence[Indicator]) -> Seen:
    """Read every indicator and the machine's facts once, and return all that was read for it."""
    recording = RecordingHost(host)
    # First, as it waits for GPUs that take their time; then they are there, as they are for the running agent.
    facts(recording)
    _hardware_id(recording)
    indicators = asyncio.run(Sampler(recording, subjects, dict).sample())
    return Seen(files=dict(recording.files), answers=recording.answers(), indicators=indicators)


def _report(
    subjects: Sequence[Indicator], live: Indicators, contents: Mapping[str, bytes], redactor: Redactor
) -> dict[str, Any]:
    """Return the report as the recording replays it, with the real durations; what failed is told as it failed here."""
    with TemporaryDirectory(prefix="rackproof-") as folder:
        unpack(contents, Path(folder))
        host = RecordedHost(Path(folder, RECORDING))
        outcomes: dict[str, Any] = {}
        for one in subjects:
            lived = live[one.name]
            outcome = lived if isinstance(lived, Failed) else read_one(one, host, None)[0]
            plain = msgspec.to_builtins(msgspec.structs.replace(outcome, took_ms=lived.took_ms))
            outcomes[one.name] = redactor.plain(plain) if isinstance(lived, Failed) else plain
        return {"facts": facts(host), "hardware_id": _hardware_id(host), "indicators": outcomes}


def unpack(contents: Mapping[str, bytes], folder: Path) -> None:
    """Write contents below a folder of this process's own."""
    for name, content in contents.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def _hardware_id(host: Host) -> str | None:
    try:
        return hardware_id(host)
    except Trouble:
        return None  # the check of the hardware says so


def _status(settings: Settings) -> Any:
    try:
        return msgspec.to_builtins(read_status(settings.status_file))
    except Trouble as trouble:
        return {"code": trouble.code, "detail": trouble.detail}


def _versions(moment: datetime) -> dict[str, Any]:
    versions = {one.name.lower(): one.version for one in distributions() if one.name and one.name.lower() in OURS}
    return {
        "made_at": moment.astimezone(UTC).isoformat(timespec="seconds"),
        "python": sys.version.split()[0],
        "architecture": os.uname().machine,
        "distributions": dict(sorted(versions.items())),
    }


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def readme(contents: Mapping[str, bytes], taken_out: Mapping[Kind, int]) -> str:
    """Return what is in a bundle, for whoever is about to send it."""
    return "\n".join(
        [
            "A recording of a machine, made by: rackproof-agent support-bundle",
            "",
            *summary(contents, taken_out),
            "",
            "Not in it: keys, tenants' files, environment variables, logs. If you are asked for the log, read",
            "it through before you send it: journalctl -u rackproof-agent --since -1h > agent.log",
            "Names shorter than three letters, and names that are words of the report too, are not taken out.",
            "",
            f"{RECORDING}/ replays in the tests of the source code, see tests/host/recordings/README.md there.",
            "",
        ]
    )


def summary(contents: Mapping[str, bytes], taken_out: Mapping[Kind, int]) -> list[str]:
    """Return the lines that say what is in a bundle and what was taken out."""
    what = {
        "report.json": "the health report, with how long each reading took",
        "doctor.json": "what `rackproof-agent doctor` found",
        "settings.json": "the agent's settings",
        "status.json": "what the running agent told last",
        "version.json": "versions",
    }
    recorded = {name: content for name, content in contents.items() if name.startswith(f"{RECORDING}/")}
    size = sum(map(len, recorded.values()))
    lines = [f"  {name:<14} {words}" for name, words in what.items()]
    lines.append(
        f"  {RECORDING + '/':<14} {len(recorded)} files of /proc, /sys and others that were read for it, {size:,} bytes"
    )
    gone = [f"  {number:>6} {kind}" for kind, number in taken_out.items()]
    return ["It holds:", *lines, "Taken out, or replaced by made-up ones of the same shape:", *(gone or ["  nothing"])]


def write(made: Bundle, file: Path, moment: datetime) -> int:
    """
    Write a bundle as a compressed archive that only its owner can read; return its size in bytes.

    Raises:
        Trouble: `cannot_create`: the file is there already, or cannot be made; what was begun is taken away.
    """
    packed = _packed(made.contents, moment)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise Trouble(Code.CANNOT_CREATE, f"{file} is there already", "name another one: --output FILE") from error
    except OSError as error:
        raise Trouble(Code.CANNOT_CREATE, f"{file}: {error.strerror}", "name another one: --output FILE") from error
    try:
        with os.fdopen(descriptor, "wb") as archive:
            os.fchmod(descriptor, 0o600)
            archive.write(packed)
    except OSError as error:
        file.unlink(missing_ok=True)
        raise Trouble(
            Code.CANNOT_CREATE, f"{file}: {error.strerror}", "free some space, or name another place"
        ) from error
    return len(packed)


def _packed(contents: Mapping[str, bytes], moment: datetime) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        for name, content in contents.items():
            entry = tarfile.TarInfo(f"rackproof-support/{name}")
            entry.size, entry.mode, entry.mtime = len(content), 0o600, int(moment.timestamp())
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
