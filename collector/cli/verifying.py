"""`rackproof verify`: certificates checked offline, with no database and no network."""

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import Struct

from collector.certificates import MAX_BYTES, Examined, Trust, examine, parse
from collector.chain import gap
from shared.codes import Code, Trouble
from shared.command_line import Exit, explain
from shared.documents import WipeEvidence, sha256_of
from shared.envelope import key_id, public_key

MAX_KEY_BYTES = 65_536
"""Of a file of public keys."""

TRUST_WORDS = {
    Trust.MACHINE: "signed by a machine's key that you named",
    Trust.COLLECTOR: "signed by the machine's key, for which a collector that you named vouches",
    Trust.NOBODY: "NOT PROVEN: no key was given. It is consistent with the key inside the file, and anyone could have "
    "made that; name the machine's or the collector's with --machine-key or --collector-key",
}
COUNTERSIGNED = {True: "checked", False: "NOT checked: no --collector-key was given"}


class Checked(Struct, frozen=True, kw_only=True):
    """One file: what it holds, or why not. `exit_code`: what it alone would end the command with."""

    path: str
    examined: Examined | None = None
    problems: tuple[Trouble, ...] = ()
    exit_code: Exit = Exit.FINE


def verify(
    paths: Sequence[Path], machine_keys: Sequence[str], collector_keys: Sequence[str], program: str, *, as_json: bool
) -> Exit:
    """
    Check these files and directories, print what they hold on stdout and each problem as one line on stderr.

    Returns:
        The exit code; a key that is none is a mistake of the caller, and nothing is checked then.
    """
    try:
        machines = [key for given in machine_keys for key in keys_in(given)]
        collectors = [key for given in collector_keys for key in keys_in(given)]
    except Trouble as trouble:
        explain(program, trouble)
        return Exit.USAGE
    checked = chained([check(path, machines, collectors) for path in files(paths)])
    for one in checked:
        click.echo(msgspec.json.encode(as_plain(one)).decode() if as_json else as_text(one), nl=True)
        for problem in one.problems:
            explain(program, Trouble(problem.code, f"{_shown(one.path)}: {problem.detail}"))
    return worst(one.exit_code for one in checked)


def worst(codes: Iterable[Exit]) -> Exit:
    """Return the exit code for several files: a certificate that does not hold says more than a file that is none."""
    order = (Exit.FOUND_A_PROBLEM, Exit.BAD_DATA, Exit.NO_INPUT, Exit.UNVOUCHED)
    found = set(codes)
    return next((one for one in order if one in found), Exit.FINE)


def keys_in(given: str) -> list[bytes]:
    """
    Return public keys: 64 hex digits, or a file with such a word at the start of each line.

    Raises:
        Trouble: `invalid`, `weak_key` or `not_found`.
    """
    texts = [given] if _is_key(given) else _lines(Path(given))
    keys = []
    for text in texts:
        if not _is_key(text):
            raise Trouble(Code.INVALID, f"{_shown(given)}: a public key is 64 hex digits")
        raw = bytes.fromhex(text)
        public_key(raw)
        keys.append(raw)
    if not keys:
        raise Trouble(Code.INVALID, f"{_shown(given)} holds no key")
    return keys


def _is_key(text: str) -> bool:
    return len(text) == 64 and all(one in "0123456789abcdefABCDEF" for one in text)


def _lines(path: Path) -> list[str]:
    try:
        text = _content(path, MAX_KEY_BYTES).decode("ascii")
    except UnicodeDecodeError as error:
        raise Trouble(Code.INVALID, f"{_shown(path)}: a public key is 64 hex digits") from error
    return [line.split()[0] for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def files(paths: Sequence[Path]) -> list[Path]:
    """Return the files that these paths mean: of a directory, those in it and below that end in .json."""
    found: list[Path] = []
    for path in paths:
        # Not the method of the path: that one raises where a name is too long or a folder is closed.
        inside = sorted(path.rglob("*.json")) if os.path.isdir(path) else []  # noqa: PTH112
        # A directory without any is told as what it is, not as nothing to complain about.
        found += inside or [path]
    return list(dict.fromkeys(found))


def check(path: Path, machine_keys: Sequence[bytes], collector_keys: Sequence[bytes]) -> Checked:
    """Return what one file holds."""
    name = str(path)
    try:
        certificate = parse(_content(path, MAX_BYTES))
    except Trouble as trouble:
        missing = trouble.code in {Code.NOT_FOUND, Code.FORBIDDEN}
        return Checked(path=name, problems=(trouble,), exit_code=Exit.NO_INPUT if missing else Exit.BAD_DATA)
    try:
        examined = examine(certificate, machine_keys, collector_keys)
    except Trouble as trouble:
        return Checked(path=name, problems=(trouble,), exit_code=Exit.FOUND_A_PROBLEM)
    problems = _misnamed(path.stem, sha256_of(certificate.evidence))
    code = Exit.UNVOUCHED if examined.trust is Trust.NOBODY else Exit.FINE
    return Checked(
        path=name, examined=examined, problems=problems, exit_code=Exit.FOUND_A_PROBLEM if problems else code
    )


def _misnamed(stem: str, digest: str) -> tuple[Trouble, ...]:
    """Certificates are named by their digest; a file that bears another one has been put in another's place."""
    if not _is_key(stem) or stem.lower() == digest:
        return ()
    return (Trouble(Code.WRONG_DOCUMENT, f"the file's name is not the digest of the evidence in it, {digest}"),)


def chained(checked: Sequence[Checked]) -> list[Checked]:
    """Return the same with what is wrong about the machines' chains; one certificate alone has none to be checked."""
    links = list(dict.fromkeys(one.examined.link for one in checked if one.examined is not None))
    if len(links) < 2:
        return list(checked)
    return [_placed(one, [link for link in links if one.examined and link != one.examined.link]) for one in checked]


def _placed(one: Checked, others: list[Any]) -> Checked:
    broken = gap(one.examined.link, others) if one.examined is not None else None
    if broken is None:
        return one
    problems = (*one.problems, Trouble(Code.CHAIN_GAP, broken))
    return msgspec.structs.replace(one, problems=problems, exit_code=Exit.FOUND_A_PROBLEM)


def as_plain(one: Checked) -> dict[str, Any]:
    """Return one file's result for programs."""
    found = one.examined
    plain: dict[str, Any] = {
        "file": _shown(one.path),
        "holds": one.exit_code is Exit.FINE,
        "problems": [{"code": str(problem.code), "detail": problem.detail} for problem in one.problems],
    }
    if found is not None:
        plain |= {
            "trust": found.trust,
            "countersigned": found.countersigned,
            "evidence_sha256": found.digest,
            "signed_by": key_id(found.machine_key),
            "received_at": found.receipt.received_at,
            "evidence": found.evidence,
        }
    return plain


def as_text(one: Checked) -> str:
    """Return one file's result for a person; nothing in it can move the cursor or colour the terminal."""
    found = one.examined
    if found is None:
        return f"{_shown(one.path)}\n  not verified"
    evidence = found.evidence
    received = f"{found.receipt.received_at:%Y-%m-%d %H:%M:%S} UTC"
    lines = [
        _shown(one.path),
        f"  digest     {found.digest}",
        f"  signature  {TRUST_WORDS[found.trust]} ({key_id(found.machine_key)})",
        f"  receipt    {received} by {_shown(found.collector_key_id)}, signature {COUNTERSIGNED[found.countersigned]}",
        f"  before it  {evidence.previous_sha256 or 'none: the first of this machine'}",
        *(f"  {line}" for line in _facts(evidence)),
    ]
    return "\n".join(lines)


def _facts(evidence: WipeEvidence) -> list[str]:
    target, scope = evidence.target, evidence.verification
    simulated = " (simulated)" if evidence.simulated else ""
    return [
        f"machine    {evidence.hardware_id}{simulated}, {_shown(evidence.os)}",
        f"account    {_shown(target.username)}, uid {target.uid}",
        f"order      {evidence.command_id} by {_shown(evidence.requested_by)}",
        f"when       {evidence.started_at:%Y-%m-%d %H:%M:%S} to {evidence.ended_at:%Y-%m-%d %H:%M:%S} UTC",
        *(f"method     {one.method}: {one.status}" for one in evidence.methods),
        *(f"             {_shown(reason)}" for one in evidence.methods for reason in one.reasons),
        *(
            f"place      {place.name} {place.state}: found {place.found}, removed {place.removed}, left {place.left}"
            for place in evidence.places
        ),
        *([f"looked at  {scope.inodes} files in {scope.file_systems} file systems"] if scope is not None else []),
        *([f"canaries   {scope.canaries_planted} planted, {scope.canaries_found} found"] if scope is not None else []),
        *(
            f"left out   {one.count} {_shown(one.what)}: {_shown(one.reason)}"
            for one in (scope.skipped if scope else ())
        ),
        *(f"finding    {_shown(finding)}" for finding in evidence.findings),
        *(["advice     install the machine anew: the tenant had root"] if evidence.reimage_recommended else []),
        *(f"limit      {_shown(limit)}" for limit in evidence.limits),
    ]


def _shown(words: object) -> str:
    """Return text with everything unprintable as escapes: a name from outside must not steer the terminal."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in str(words))


def _content(path: Path, limit: int) -> bytes:
    """
    Return a file's bytes; a pipe or a device is not waited for.

    Raises:
        Trouble: `not_found`, `forbidden`, `too_large`, or `wrong_document` where it is no file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Trouble(Code.WRONG_DOCUMENT, "not a regular file, and no directory with certificates")
            raw = file.read(limit + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, IsADirectoryError):
            raise Trouble(Code.WRONG_DOCUMENT, "a directory without certificates") from error
        code = Code.FORBIDDEN if getattr(error, "errno", 0) in {errno.EACCES, errno.EPERM} else Code.NOT_FOUND
        raise Trouble(code, f"{_shown(path)}: {getattr(error, 'strerror', None) or error}") from error
    if len(raw) > limit:
        raise Trouble(Code.TOO_LARGE, f"larger than {limit} bytes")
    return raw
