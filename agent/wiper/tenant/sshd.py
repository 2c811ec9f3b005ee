"""
Which files this machine's sshd takes keys from, by its own word, and what is in them.

Source: sshd_config(5), AuthorizedKeysFile, AuthorizedKeysCommand, TrustedUserCAKeys and TOKENS; sshd(8), -T and -C.
"""

import base64
import errno
import hashlib
import json
import os
import pwd
import re
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from agent.wiper.system import apart
from agent.wiper.system.children import in_child
from agent.wiper.system.ground import Ground
from agent.wiper.system.lines import Keep, changed
from agent.wiper.system.tasks import AskSshd, sshd_argv
from agent.wiper.system.tools import NOW, Ended, is_there, run, systemd_runs
from agent.wiper.tenant.accounts import Account

DEADLINE_S, EACH_S = 10.0, 0.25
"""How long it may take to say something, and how much longer for each user more."""
AT_ONCE = 200
"""Users of one task: all that sshd says of them stays below a few megabytes."""
USUAL = (".ssh/authorized_keys", ".ssh/authorized_keys2")
"""Where keys are looked for by default; they are looked at even where sshd is told otherwise, or is not installed."""
LEADS_NOWHERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG})
"""Errors that sshd, as the same user, gets too."""
MAX_FILE_BYTES = 4 * 2**20
_NO_DIRECTORY = re.compile(r"Missing privilege separation directory: (/run/[\w-]+|/var/run/[\w-]+)$")
MOST_ASKED = 200
"""How often a program that gives out keys is asked: once for each account and key."""
ANYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - how sshd writes "everywhere"
LISTENING = "0A"
"""Source: Linux, include/net/tcp_states.h, TCP_LISTEN, as /proc writes it."""
QUERY = "agent.sshquery"
QUERY_S, SLACK_S = 60.0, 5.0
APART = (
    *NOW,
    *("--property=DynamicUser=yes", "--property=NoNewPrivileges=yes"),
    *("--property=CapabilityBoundingSet=", "--property=PrivateDevices=yes"),
    *("--property=MemoryMax=256M", f"--property=RuntimeMaxSec={QUERY_S:.0f}"),
)
"""How the process that asks is kept apart. Source: systemd-run(1), systemd.exec(5)."""
_MATCH = re.compile(r"^\s*match\b", re.IGNORECASE | re.MULTILINE)


class Sources(NamedTuple):
    """
    Where sshd takes one user's keys from.

    `command`: a program that is asked, with its arguments; `command_user`: as whom; `authorities`: a file of CA keys.
    """

    files: tuple[str, ...] = USUAL
    command: str | None = None
    command_user: str = ""
    authorities: str | None = None


class KeyFile(NamedTuple):
    """A file that keys are taken from: for which accounts, and as whom it may be read and changed."""

    path: str
    names: tuple[str, ...]
    uid: int
    gid: int


def parse(text: str) -> Sources:
    """Read what `sshd -T` prints: a keyword and its value a line, keywords in lower case."""
    values = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
    files = tuple(values.get("authorizedkeysfile", " ".join(USUAL)).split())
    command, authorities = values.get("authorizedkeyscommand", "none"), values.get("trustedusercakeys", "none")
    return Sources(
        tuple(one for one in files if one != "none"),
        None if command == "none" else command,
        values.get("authorizedkeyscommanduser", ""),
        None if authorities == "none" else authorities,
    )


def expand(pattern: str, account: Account) -> str:
    """Return the path that a pattern means for an account; relative ones start in the home."""
    tokens = {"%%": "%", "%h": account.home, "%u": account.name, "%U": str(account.uid)}
    path = re.sub(r"%[%huU]", lambda found: tokens[found[0]], pattern)
    return os.path.normpath(path if path.startswith("/") else f"{account.home}/{path}")


def _answers(names: tuple[str, ...]) -> list[Ended]:
    """
    Return what sshd says of its configuration for each user, or how it ended without.

    Raises:
        OSError: it is not installed, or cannot be asked.
    """
    first = run(*sshd_argv(names[0]), deadline_s=DEADLINE_S)
    missing = _NO_DIRECTORY.search(first.words)
    if not (first.code and missing):
        return [first, *(run(*sshd_argv(name), deadline_s=DEADLINE_S) for name in names[1:])]
    # It only wants its empty run-time directory, which is there while it runs as a service: a process apart makes one
    # in a view of its own, so that asking changes nothing.
    said = json.loads(apart.do(AskSshd(names, missing[1]), len(names) * EACH_S + 2 * DEADLINE_S).said)
    return [Ended(*one) for one in said]


def _why_not(ended: Ended) -> str:
    return f"sshd -T ended with {ended.code}: {ended.words}"


def addresses() -> tuple[str, ...]:
    """
    Return where sshd may be reached on this machine itself: HOST:PORT, as its configuration says.

    Raises:
        OSError: it is not installed, or cannot say.
    """
    found = []
    (answer,) = _answers(("root",))
    if answer.code:
        raise OSError(errno.EIO, _why_not(answer))
    for line in answer.out.splitlines():
        keyword, _, where = line.partition(" ")
        host, _, port = where.rpartition(":")
        if keyword == "listenaddress" and host:
            found.append(f"{ANYWHERE.get(host, host)}:{port}")
    return tuple(found)


def is_listened_at(port: int) -> bool:
    """
    Return whether anybody on this machine takes TCP connections at a port.

    Asked of the first process, whose network is the machine's; this one may have none. Source: proc(5), net/tcp.
    """
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/1/net/{name}").read_text("ascii").splitlines()[1:]
        except FileNotFoundError:
            continue
        rows = (line.split() for line in lines)
        if any(int(row[1].rpartition(":")[2], 16) == port and row[3] == LISTENING for row in rows):
            return True
    return False


def accepts(name: str, blobs: Iterable[str]) -> list[bool] | None:
    """
    Offer public keys to the sshd that runs on this machine; return for each whether it would go on with it.

    None where none runs. The offering is done by a process of its own, which has the network that this one has not,
    and nothing else.

    Raises:
        OSError: it runs and cannot be asked, or does not answer.
    """
    keys = tuple(blobs)
    if not is_there("sshd"):
        return None
    places = [one for one in addresses() if is_listened_at(int(one.rpartition(":")[2]))]
    if not places or not keys:
        return None
    query = (sys.executable, "-I", "-m", QUERY, name, *(f"--at={one}" for one in places), "--", *keys)
    prefix = ("systemd-run", *APART, "--") if systemd_runs() else ()
    done = run(*prefix, *query, deadline_s=QUERY_S + SLACK_S)
    if done.code:
        raise OSError(errno.EIO, f"it could not be asked: {done.words or f'exit code {done.code}'}"[:200])
    try:
        answer = json.loads(done.out)["accepted"]
    except (ValueError, KeyError, TypeError) as error:
        raise OSError(errno.EPROTO, "what asked it said nothing that can be understood") from error
    return None if answer is None else [bool(one) for one in answer]


class Asking(NamedTuple):
    """A program that gives out keys, as whom it runs, and for which account it is asked."""

    command: str
    user: str
    account: Account


class Survey(NamedTuple):
    """All key files of a machine, the programs that give out keys, and what could not be looked at."""

    files: tuple[KeyFile, ...]
    programs: tuple[Asking, ...]
    unseen: tuple[str, ...]


def survey(ground: Ground, accounts: Iterable[Account]) -> Survey:
    """Return every file that sshd takes any account's keys from, and the usual ones; each once."""
    known = tuple(accounts)
    asked, unseen = _asked(ground, known)
    found: dict[str, KeyFile] = {}
    programs = []
    for account in known:
        chosen = asked.get(account.name, Sources())
        if chosen.command is not None:
            programs.append(Asking(chosen.command, chosen.command_user, account))
        patterns = dict.fromkeys((*chosen.files, *USUAL))
        for pattern in patterns:
            path = expand(pattern, account)
            own = path.startswith(account.home.rstrip("/") + "/") and account.home != "/"
            before = found.get(path)
            names = (*before.names, account.name) if before else (account.name,)
            uid, gid = (account.uid, account.gid) if own else (0, 0)
            found[path] = KeyFile(path, names, before.uid if before else uid, before.gid if before else gid)
        if chosen.authorities is not None:
            found.setdefault(chosen.authorities, KeyFile(chosen.authorities, (), 0, 0))
    return Survey(tuple(found.values()), tuple(programs), unseen)


def gives(asking: Asking, blob: str) -> bool:
    """
    Return whether a program would let a key in, asked as sshd asks it.

    Raises:
        OSError: it cannot be run, or not in time, or says that something is wrong.
    """
    try:
        user = pwd.getpwnam(asking.user)
    except KeyError as error:
        raise OSError(errno.ENOENT, f"no user {asking.user}") from error
    raw = base64.b64decode(blob)
    kind = raw[4 : 4 + int.from_bytes(raw[:4], "big")].decode("ascii", "replace")
    fingerprint = base64.b64encode(hashlib.sha256(raw).digest()).decode().rstrip("=")
    tokens = {
        "%%": "%",
        "%u": asking.account.name,
        "%U": str(asking.account.uid),
        "%h": asking.account.home,
        "%k": blob,
        "%t": kind,
        "%f": f"SHA256:{fingerprint}",
    }
    words = asking.command.split()
    argv = [re.sub(r"%[%uUhktf]", lambda found: tokens[found[0]], word) for word in words]
    done = run(*argv, *([asking.account.name] if len(words) == 1 else []), deadline_s=DEADLINE_S, user=user[2:4])
    if done.code:
        raise OSError(errno.EIO, f"it ended with {done.code}")
    return changed(done.out, without(frozenset({blob})))[1] > 0


def _asked(ground: Ground, accounts: tuple[Account, ...]) -> tuple[dict[str, Sources], tuple[str, ...]]:
    if ground.simulated or not is_there("sshd"):
        return {}, ()
    names = tuple(account.name for account in accounts)
    try:
        if _differs(ground):
            parts = (_answers(names[at : at + AT_ONCE]) for at in range(0, len(names), AT_ONCE))
            answers = [one for part in parts for one in part]
        else:
            answers = _answers(("root",)) * len(names)
    except OSError as error:
        return {}, (f"sshd's own configuration: {error.strerror}",)
    bad = dict.fromkeys(f"sshd's own configuration: {_why_not(one)}" for one in answers if one.code)
    known = zip(names, answers, strict=True)
    return {name: parse(one.out) for name, one in known if not one.code}, tuple(bad)[:1]


def _differs(ground: Ground) -> bool:
    """Return whether sshd treats users differently: a Match block anywhere in its configuration."""
    texts = [ground.read("/etc/ssh/sshd_config")]
    try:
        directory = ground.open_directory("/etc/ssh/sshd_config.d")
    except FileNotFoundError:
        return bool(_MATCH.search(texts[0]))
    try:
        names = os.listdir(directory)  # noqa: PTH208 - by descriptor
    finally:
        os.close(directory)
    texts += [ground.read(f"/etc/ssh/sshd_config.d/{name}") for name in names]
    return any(_MATCH.search(text) for text in texts)


def without(blobs: frozenset[str]) -> Keep:
    """Return what drops the lines that hold one of these key bodies, whatever options stand before it."""

    def keep(line: str) -> str | None:
        if line.lstrip().startswith("#"):
            return line
        return None if blobs & set(re.split(r"[\s,]+", line)) else line

    return keep


def read(file: KeyFile) -> str:
    """
    Return a key file's text as its owner sees it; empty where there is none, or where he, and so sshd, may not read it.

    Raises:
        OSError: it cannot be read; ETIMEDOUT on a file system that hangs; EFBIG.
    """
    try:
        return in_child(lambda: _bytes(file.path), DEADLINE_S, (file.uid, file.gid)).decode("utf-8", "surrogateescape")
    except OSError as error:
        if error.errno in LEADS_NOWHERE:
            return ""
        raise


def write(file: KeyFile, content: str) -> None:
    """
    Replace a key file as its owner: a link in it can then hurt only him.

    Raises:
        OSError: it cannot be written; it is as it was then.
    """
    raw = content.encode("utf-8", "surrogateescape")
    in_child(lambda: _replace(file.path, raw), DEADLINE_S, (file.uid, file.gid))


def _bytes(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        # A directory, a device: sshd takes keys from neither. Source: OpenSSH, misc.c or auth2-pubkeyfile.c.
        os.close(fd)
        return b""
    with os.fdopen(fd, "rb") as file:
        raw = file.read(MAX_FILE_BYTES + 1)
    if len(raw) > MAX_FILE_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return raw


def _replace(path: str, raw: bytes) -> bytes:
    true = os.path.realpath(path)
    mode = os.stat(true).st_mode & 0o777  # noqa: PTH116 - a fixed path
    beside = f"{true}.rackproof-{os.getpid()}"
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(raw)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.rename(beside, true)  # noqa: PTH104
    except BaseException:
        os.unlink(beside)  # noqa: PTH108
        raise
    return b""
