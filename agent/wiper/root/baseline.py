"""
What only root writes on a machine: written down when access is granted, compared when it has ended.

A tenant without root changes nothing of this. What has changed, and was changed by no package of the distribution, is
either the provider's doing or proof that the tenant had root; nobody can tell which, so it leaves a doubt for good.
"""

import errno
import hashlib
import os
import stat
import zlib
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct

from agent.files import flush_directory
from agent.wiper.root.powers import capability, gives_power
from agent.wiper.system.ground import Ground
from agent.wiper.system.kernel import open_beneath
from agent.wiper.system.lines import changed
from agent.wiper.system.walk import walk
from agent.wiper.tenant import sshd
from agent.wiper.tenant.accounts import Account, Tenant
from agent.wiper.tenant.groups import POWERFUL
from agent.wiper.tenant.inspection import accounts_of

SETTINGS = (
    *("/etc/cron.d", "/etc/cron.hourly", "/etc/cron.daily", "/etc/cron.weekly", "/etc/cron.monthly", "/etc/crontab"),
    *("/etc/anacrontab", "/var/spool/cron/crontabs/root", "/var/spool/cron/root"),
    *("/etc/systemd", "/usr/local/lib/systemd", "/etc/init.d", "/etc/rc.local", "/etc/inittab"),
    *("/etc/sudoers", "/etc/sudoers.d", "/etc/doas.conf", "/etc/doas.d", "/etc/polkit-1"),
    *("/etc/ssh", "/etc/pam.d", "/etc/security", "/etc/nsswitch.conf", "/etc/login.defs"),
    *("/etc/ld.so.preload", "/etc/ld.so.conf", "/etc/ld.so.conf.d"),
    *("/etc/profile", "/etc/profile.d", "/etc/bash.bashrc", "/etc/environment", "/etc/update-motd.d"),
    *("/etc/modules", "/etc/modules-load.d", "/etc/modprobe.d", "/etc/udev/rules.d", "/etc/sysctl.conf"),
    *("/etc/sysctl.d", "/etc/tmpfiles.d", "/etc/sysusers.d", "/etc/binfmt.d", "/etc/fstab", "/etc/crypttab"),
    *("/etc/apt/apt.conf", "/etc/apt/apt.conf.d", "/etc/NetworkManager/dispatcher.d", "/etc/networkd-dispatcher"),
    *("/etc/logrotate.conf", "/etc/logrotate.d", "/etc/sudo.conf", "/etc/pam.conf", "/etc/dpkg/dpkg.cfg.d"),
    *("/etc/kernel", "/etc/initramfs-tools", "/etc/network", "/etc/dhcp", "/etc/dbus-1", "/etc/hosts.equiv"),
    *("/etc/docker", "/etc/containers", "/etc/containerd"),
    *("/usr/lib/systemd/system", "/usr/lib/udev/rules.d", "/lib/systemd/system", "/lib/udev/rules.d"),
    *("/root/.ssh", "/root/.bashrc", "/root/.profile", "/root/.bash_profile", "/root/.config/systemd"),
)
"""What decides what runs as root, who becomes root and who may log in: files, and directories with all below them."""

ACCOUNT_FILES = ("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow")
"""Who may write or read them; what is in them changes with every account."""

PIPE = "/proc/sys/kernel/core_pattern"
"""Starts a program as root for whoever crashes, where it begins with "|". Source: core(5)."""

LOCKED = ("!", "*")
"""How a password begins that lets nobody in. Source: shadow(5)."""

VOLATILE = ("/etc/security/opasswd", "/root/.ssh/known_hosts")
"""Among them, but changed by ordinary use."""

PROGRAMS = (
    *("/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec", "/usr/local", "/opt"),
    *("/bin", "/sbin", "/lib", "/lib64"),
)
"""Where programs that make root belong; elsewhere one is noticed by its time (`agent.wiper.steps.elsewhere`)."""

SETTING, PROGRAM, KEYS = "setting", "program", "keys"
ORDINARY_UID = 1000
HALF = 16
"""Letters of each of the two digests."""
MAX_BYTES = 64 * 2**20
"""Of one file that is read; of a larger one only the size counts."""

FOLDER = "baselines"
"""In the wiper's state directory."""
MOST_KEPT = 200
"""Baselines: about 30 kB each; accounts are wiped long before so many others were granted."""

log = structlog.get_logger()


class Entry(Struct, frozen=True, array_like=True):
    """One file: its path, what it is there for, and two digests in one: of owner, mode and powers, and of content."""

    path: str
    kind: str
    digest: str


class Baseline(Struct, frozen=True, array_like=True):
    """Every entry, in the order of paths."""

    entries: tuple[Entry, ...]

    def write(self) -> bytes:
        """Return it as it is kept."""
        return zlib.compress(msgspec.json.encode(self))

    @property
    def sha256(self) -> str:
        """The digest that the tenant's record holds."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


def read(raw: bytes, sha256: str) -> Baseline:
    """
    Read what was kept.

    Raises:
        ValueError: it is damaged, or not the one of this digest.
    """
    try:
        baseline = msgspec.json.decode(zlib.decompress(raw), type=Baseline)
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ValueError(f"the baseline cannot be read: {error}") from error
    if baseline.sha256 != sha256:
        raise ValueError("the baseline is not the one that was written down with the grant")
    return baseline


class Change(Struct, frozen=True):
    """One difference: `how` is "new", "changed" or "gone"; `only_content`: owner, mode and powers are as they were."""

    path: str
    kind: str
    how: str
    only_content: bool = False


def changes(before: Baseline, now: Baseline) -> tuple[Change, ...]:
    """Return what came, changed or went. Pure. A program that went harms nobody."""
    old = {(one.path, one.kind): one.digest for one in before.entries}
    new = {(one.path, one.kind): one.digest for one in now.entries}
    found = [Change(path, kind, "new") for path, kind in new.keys() - old.keys()]
    found += [
        Change(*key, "changed", only_content=new[key][:HALF] == old[key][:HALF])
        for key in new.keys() & old.keys()
        if new[key] != old[key]
    ]
    found += [Change(path, kind, "gone") for path, kind in old.keys() - new.keys() if kind != PROGRAM]
    found = [one for one in found if one.how == "changed" or not one.path.endswith("/")]
    return tuple(sorted(found, key=lambda one: (one.kind, one.path)))


def take(
    ground: Ground, tenants: Container[str], blobs: frozenset[str], alive: Callable[[], None] = lambda: None
) -> Baseline:
    """
    Look at the machine.

    Args:
        ground: The machine.
        tenants: Names of tenants' accounts: what they may do and who may be them does not count.
        blobs: Key bodies that do not count in others' key files: who lets a tenant in there needs no root for it.
        alive: Called whenever it gets on.

    Raises:
        OSError: a place is there and cannot be looked at.
        Trouble: `account_mismatch`: the account files cannot be read.
    """
    accounts = [one for one in accounts_of(ground) if one.name not in tenants]
    # A file may be reached twice, as a key file and as a setting, or where /bin leads to /usr/bin: it counts once.
    found = {one.path: one for one in _rows(ground, accounts, tenants)}
    for kind, tops in ((PROGRAM, PROGRAMS), (SETTING, SETTINGS)):
        for top in tops:
            found.update((one.path, one) for one in _below(ground, top, kind, alive) if one.path not in VOLATILE)
    found.update((one.path, one) for one in (*_passwords(ground, accounts), *_account_files(ground), *_pipe()))
    for path, entry in _keys(ground, accounts, blobs):
        found.pop(path, None)
        found |= {path: entry} if entry is not None else {}
    return Baseline(tuple(sorted(found.values(), key=lambda one: one.path)))


def _rows(ground: Ground, accounts: Iterable[Account], tenants: Container[str]) -> Iterator[Entry]:
    """Give the accounts that are root by their number, and who is in the groups whose members can become root."""
    for one in accounts:
        if one.uid == 0:
            yield Entry(f"/etc/passwd: {_printable(one.name)}", SETTING, _digest(one.home.encode()))
    for line in ground.read("/etc/group").splitlines():
        row = line.split(":")
        if len(row) == 4 and row[0] in POWERFUL:
            members = sorted(one for one in row[3].split(",") if one and one not in tenants)
            yield Entry(f"/etc/group: {row[0]}", SETTING, _digest(",".join(members).encode()))


def _passwords(ground: Ground, accounts: Iterable[Account]) -> Iterator[Entry]:
    """Give who may log in by a password; of an ordinary user, who changes it himself, only that he may."""
    ordinary = {one.name for one in accounts if one.uid >= ORDINARY_UID}
    known = ordinary | {one.name for one in accounts}
    for line in ground.read("/etc/shadow").splitlines():
        name, _, rest = line.partition(":")
        password = rest.partition(":")[0]
        if name in known and not password.startswith(LOCKED):
            told = "" if name in ordinary and password else password
            yield Entry(f"/etc/shadow: {_printable(name)}", SETTING, _digest(f"{bool(password)} {told}".encode()))


def _account_files(ground: Ground) -> Iterator[Entry]:
    directory = ground.open_directory("/etc")
    try:
        for path in ACCOUNT_FILES:
            try:
                facts = os.stat(path.rpartition("/")[2], dir_fd=directory, follow_symlinks=False)
            except FileNotFoundError:
                continue
            words = f"{facts.st_uid} {facts.st_gid} {facts.st_mode:o}"
            yield Entry(f"{path}: who may read and write it", SETTING, _digest(words.encode()))
    finally:
        os.close(directory)


def _pipe() -> Iterator[Entry]:
    text = Path(PIPE).read_bytes()
    if text.startswith(b"|"):
        yield Entry(PIPE, PROGRAM, _digest(text))


def _keys(ground: Ground, accounts: Iterable[Account], blobs: frozenset[str]) -> Iterator[tuple[str, Entry | None]]:
    """Give each path where keys are looked for, with what is there; one that holds none is as good as missing."""
    for file in sshd.survey(ground, accounts).files:
        try:
            text, _ = changed(sshd.read(file), sshd.without(blobs))
        except OSError as error:
            # A link, say: what it is counts, not what is behind it. The step for keys tells of it.
            log.info("wiper.key_file_unread", uid=file.uid, error=error.strerror)
            text = f"unreadable: {error.errno}"
        raw = text.strip().encode("utf-8", "surrogateescape")
        yield file.path, Entry(file.path, KEYS, _digest(raw)) if raw else None


def _below(ground: Ground, top: str, kind: str, alive: Callable[[], None]) -> Iterator[Entry]:
    """Give an entry for a file, or for everything in a directory."""
    folder, _, name = top.rpartition("/")
    try:
        parent = ground.open_directory(folder or "/")
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            return
        raise
    try:
        facts = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISDIR(facts.st_mode):
            yield from _entry(parent, name, facts, top, kind)
            return
        directory = open_beneath(parent, name, os.O_RDONLY | os.O_DIRECTORY, cross_mounts=True)
    except FileNotFoundError:
        return
    finally:
        os.close(parent)
    try:
        yield from _in(directory, top, kind, alive)
    finally:
        os.close(directory)


def _in(directory: int, top: str, kind: str, alive: Callable[[], None]) -> list[Entry]:
    found: list[Entry] = []
    start = len(_path(directory))

    if kind == SETTING:
        found.append(_folder(top, os.fstat(directory)))

    def seen(inside: int, name: str, facts: os.stat_result) -> None:
        if stat.S_ISDIR(facts.st_mode):
            if kind == SETTING:
                found.append(_folder(f"{top}{_path(inside)[start:]}/{name}", facts))
            return
        # Most files of a directory of programs are none of ours, so their paths are not asked for.
        if kind == PROGRAM and not gives_power(inside, name, facts):
            return
        found.extend(_entry(inside, name, facts, f"{top}{_path(inside)[start:]}/{name}", kind))

    walked = walk(directory, seen, alive=alive)
    if walked.unread or walked.mounts:
        # What lies behind is not seen, so that it came in the way is a change by itself.
        found.append(Entry(f"{top}: not entered", SETTING, f"{walked.unread} {walked.mounts}"))
    return found


def _folder(path: str, facts: os.stat_result) -> Entry:
    """Return who may put something into a directory; that there is one more, or less, says nothing."""
    return Entry(_printable(path) + "/", SETTING, _digest(_facts(facts).encode())[:HALF] + "-" * HALF)


def _facts(facts: os.stat_result) -> str:
    return f"{facts.st_uid} {facts.st_gid} {stat.S_IMODE(facts.st_mode):o} {stat.S_IFMT(facts.st_mode):o} "


def _path(directory: int) -> str:
    return os.readlink(f"/proc/self/fd/{directory}")  # noqa: PTH115 - of a descriptor


def _entry(directory: int, name: str, facts: os.stat_result, path: str, kind: str) -> Iterator[Entry]:
    if kind == PROGRAM and not gives_power(directory, name, facts):
        return
    what = _facts(facts)
    try:
        raw, powers = _content(directory, name, facts), capability(directory, name) or b""
    except FileNotFoundError:
        return
    yield Entry(_printable(path), kind, _digest(what.encode() + powers)[:HALF] + _digest(raw)[:HALF])


def _content(directory: int, name: str, facts: os.stat_result) -> bytes:
    """Return what is in a file, or where a link leads; of anything else, and of what is too large, no content."""
    if stat.S_ISLNK(facts.st_mode):
        return os.fsencode(os.readlink(name, dir_fd=directory))
    if not stat.S_ISREG(facts.st_mode):
        return b""
    if facts.st_size > MAX_BYTES:
        return b"%d bytes" % facts.st_size
    fd = open_beneath(directory, name, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        return hashlib.sha256(file.read(MAX_BYTES)).digest()


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:32]


def _printable(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def keep(state_dir: Path, generation: str, baseline: Baseline) -> None:
    """
    Write a baseline down under the grant's generation; the oldest go when there are many.

    Raises:
        OSError: it cannot be written.
    """
    folder = state_dir / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    beside = folder / f".{generation}.new"
    with beside.open("wb") as file:
        file.write(baseline.write())
        file.flush()
        os.fsync(file.fileno())
    beside.rename(folder / generation)
    flush_directory(folder)
    flush_directory(state_dir)
    kept = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    for old in kept[:-MOST_KEPT]:
        old.unlink()


def recall(state_dir: Path, tenant: Tenant) -> Baseline | None:
    """Return the baseline of a grant; None where there is none, or it is damaged, which is logged."""
    if tenant.baseline is None:
        return None
    try:
        return read((state_dir / FOLDER / tenant.generation).read_bytes(), tenant.baseline)
    except (OSError, ValueError) as error:
        log.warning("wiper.no_baseline", error=str(error))
        return None
