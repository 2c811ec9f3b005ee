"""
An inspection from outside: what is left of a tenant on this machine, looked for without knowing how it was removed.

`python -m tests.host.tenant.inspector describe NAME` prints who that is, while the account is there;
`look RECORD --scope user_deletion` prints every residue afterwards and exits with 1 where there is one. As a script it
wants kernel.py beside it. Needs root.

Every file system is looked at through a mount namespace of the inspection's own, from which mounts are taken off one
after the other, so that what they cover is seen too. What could not be looked at is told as `unseen`, never as clean.
"""

# Most is said relative to an open directory, and what a tenant has named may be no text.
# ruff: noqa: PTH115, PTH116, PTH208

import argparse
import json
import os
import pwd
import re
import select
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

if __package__:
    from tests.host.tenant import kernel
else:
    import kernel

Scope = Literal["ssh_key_removal", "home_directory_purge", "user_deletion"]

KEYS = frozenset({"keys"})
STORED = frozenset(
    {"processes", "open_files", "home", "files", "hidden_files", "setuid", "flags", "hard_links", "nodes", "mounts"}
    | {"swap", "loop", "ipc", "keyrings", "namespaces", "dumps", "mail", "runtime"}
)
NAMED = frozenset({"schedules", "privileges", "account", "group_files", "acl", "traces"})
PROMISED: dict[Scope, frozenset[str]] = {
    "ssh_key_removal": KEYS,
    "home_directory_purge": KEYS | STORED,
    "user_deletion": KEYS | STORED | NAMED,
}

PSEUDO = frozenset(
    {"proc", "sysfs", "cgroup", "cgroup2", "securityfs", "debugfs", "tracefs", "bpf", "pstore", "configfs", "fusectl"}
    | {"mqueue", "binfmt_misc", "nsfs", "autofs", "efivarfs", "rpc_pipefs", "selinuxfs", "nfsd"}
)
REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "afs", "ceph", "glusterfs", "lustre", "beegfs", "virtiofs"})
MOST = 1000
"""So many residues of a category are told one by one, the rest as a number."""
PATIENCE_S = 300.0


class Record(NamedTuple):
    """
    Who the tenant was.

    Args:
        subuids: First id and number of each range; `subgids` alike.
        key_blobs: The base64 words of the keys that were his.
        siblings: The names beside his home when he was described; None where that is not known.
    """

    name: str
    uid: int
    gid: int
    home: str
    subuids: list[tuple[int, int]]
    subgids: list[tuple[int, int]]
    key_blobs: list[str]
    siblings: list[str] | None = None

    def his_uid(self, uid: int) -> bool:
        return uid == self.uid or any(start <= uid < start + count for start, count in self.subuids)

    def his_gid(self, gid: int) -> bool:
        return gid == self.gid or any(start <= gid < start + count for start, count in self.subgids)


class Residue(NamedTuple):
    """Something left."""

    category: str
    where: str
    what: str


@dataclass
class Report:
    """What an inspection says: clean only where `residues` and `unseen` are both empty."""

    scope: Scope
    residues: list[Residue] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    file_systems: int = 0
    inodes: int = 0
    seconds: float = 0.0


Found = Iterator[Residue]
Tell = Callable[[str, str, str], None]


def describe(name: str) -> Record:
    """Return who that is; asked while the account is there."""
    row = pwd.getpwnam(name)
    keys = kernel.system_lines(f"{row.pw_dir}/.ssh/authorized_keys")
    blobs = [word for line in keys for word in line.split() if word.startswith("AAAA")]
    siblings = sorted(os.listdir(Path(row.pw_dir).parent))
    ranges = {
        kind: [
            (int(start), int(count))
            for owner, start, count in (line.split(":") for line in kernel.system_lines(f"/etc/{kind}"))
            if owner in {name, str(row.pw_uid)}
        ]
        for kind in ("subuid", "subgid")
    }
    return Record(name, row.pw_uid, row.pw_gid, row.pw_dir, ranges["subuid"], ranges["subgid"], blobs, siblings)


def record(held: dict[str, Any]) -> Record:
    """Return one that was written as JSON."""
    ranges = {kind: [(start, count) for start, count in held[kind]] for kind in ("subuids", "subgids")}
    return Record(**(held | ranges))


def inspect(who: Record, scope: Scope = "user_deletion") -> Report:
    """Look at the whole machine and return what the scope's method has promised to remove and did not."""
    started = time.monotonic()
    report = Report(scope)
    looks = (
        _processes, _open_files, _other_views, _namespaces, _system_v, _queues, _keyrings, _mounted, _swaps, _loops,
        _account_files, _named_in_settings, _effective_keys, _services, _beside_the_home,
    )  # fmt: skip
    found: list[Residue] = []
    for look in looks:
        try:
            found += look(who)
        except OSError as error:
            report.unseen.append(f"{look.__name__.strip('_')}: {error}")
    walked = _in_a_child(lambda tell: _walk_everything(who, tell), PATIENCE_S)
    found += [Residue(*one) for one in walked["residues"]]
    report.unseen += walked["unseen"]
    report.file_systems, report.inodes = walked["file_systems"], walked["inodes"]
    promised = [one for one in dict.fromkeys(found) if one.category in PROMISED[scope]]
    report.residues = list(_shortened(one for one in promised if not _may_stay(one, who, scope)))
    report.seconds = round(time.monotonic() - started, 2)
    return report


def _may_stay(one: Residue, who: Record, scope: Scope) -> bool:
    """Where the account stays, so may a home that is empty."""
    return scope != "user_deletion" and one == Residue("home", kernel.printable(who.home), EMPTY)


EMPTY = "an empty directory"


def _shortened(found: Iterable[Residue]) -> Iterator[Residue]:
    numbers: Counter[str] = Counter()
    for one in found:
        numbers[one.category] += 1
        if numbers[one.category] <= MOST:
            yield one
    for category, number in numbers.items():
        if number > MOST:
            yield Residue(category, "", f"and {number - MOST} more")


def _in_a_child(work: Callable[[list[Residue]], dict[str, Any]], patience_s: float) -> dict[str, Any]:
    """Do it in a process that may hang: whoever waits for it goes on."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        answer: dict[str, Any] = {"residues": [], "unseen": [], "file_systems": 0, "inodes": 0}
        try:
            told: list[Residue] = []
            answer = work(told) | {"residues": told}
        except BaseException as error:  # noqa: BLE001 - whatever it was, nothing is clean then
            answer["unseen"] = [f"the walk ended: {type(error).__name__}: {error}"]
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(json.dumps(answer).encode())
        os._exit(0)
    os.close(writer)
    deadline, parts = time.monotonic() + patience_s, []
    while select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(reader, 1 << 20)
        if not part:
            break
        parts.append(part)
    else:
        os.kill(child, signal.SIGKILL)
        parts = []
    os.close(reader)
    if parts:
        os.waitpid(child, 0)
        answer = json.loads(b"".join(parts))
        return dict(answer)
    return {"residues": [], "unseen": ["the walk did not end in time"], "file_systems": 0, "inodes": 0}


# --- every file system -----------------------------------------------------------------------------------------------


def _walk_everything(who: Record, told: list[Residue]) -> dict[str, Any]:
    """Take off mount after mount in a namespace of its own and walk what each leaves bare."""
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    os.chdir("/")
    fdinfo = os.open("/proc/self/fdinfo", os.O_RDONLY | os.O_DIRECTORY)  # stays when /proc is taken off
    walk = Walk(who, told)
    whole = kernel.mounts()
    roots = _whole_roots(whole)
    covers = Covers(whole)
    unseen = []
    left = {one.id: one for one in whole}
    while left:
        parents = {one.parent for one in left.values() if one.parent != one.id}
        # The last is on top where several lie on one point.
        bare = [one for one in reversed(left.values()) if one.id not in parents]
        before = len(left)
        for one in bare:
            if not _on_top(one, fdinfo):
                continue
            if one.kind in REMOTE or one.kind.startswith("fuse"):
                unseen.append(f"{one.kind} on {kernel.printable(one.point)}")
            elif one.kind not in PSEUDO and roots.get((one.device, one.root)) == one.id:
                walk.mount(one, covers)
            del left[one.id]
            if one.point != "/":
                kernel.umount(one.point)
        if len(left) == before:
            unseen += [f"{one.kind} on {kernel.printable(one.point)} cannot be reached" for one in left.values()]
            break
    if walk.deeper:
        walk.tell("files", "", f"{walk.deeper} more that lie deeper than {LEVELS} levels")
    return {"unseen": unseen + walk.unseen, "file_systems": walk.file_systems, "inodes": walk.inodes}


def _whole_roots(whole: Sequence[kernel.Mount]) -> dict[tuple[str, str], int]:
    """Return, of all mounts, those that show a file system's largest parts: each part is walked once."""
    chosen: dict[tuple[str, str], int] = {}
    for one in whole:
        chosen.setdefault((one.device, one.root), one.id)
    return {
        (device, root): number
        for (device, root), number in chosen.items()
        if not any(
            other_device == device and other != root and root.startswith(other.rstrip("/") + "/")
            for other_device, other in chosen
        )
    }


def _on_top(one: kernel.Mount, fdinfo: int) -> bool:
    """Whether its path leads to it and to nothing that lies over it; never asks a FUSE file system."""
    try:
        fd = os.open(one.point, os.O_PATH | os.O_NOFOLLOW)
    except OSError:
        return False
    held = os.open(str(fd), os.O_RDONLY, dir_fd=fdinfo)
    facts = os.read(held, 4096)
    os.close(held)
    os.close(fd)
    return b"mnt_id:\t%d\n" % one.id in facts


class Covers:
    """Which places lie under mounts."""

    def __init__(self, whole: Sequence[kernel.Mount]) -> None:
        self.whole = whole
        self.ids = {one.id: one for one in whole}

    def all_of(self, one: kernel.Mount) -> bool:
        """Whether all of a mount is covered, by another on the same point or over a directory above."""
        for other in self.whole:
            if other.id == one.id:
                continue
            if other.parent == one.id and other.point == one.point:
                return True
            if other.parent == one.parent and one.point.startswith(other.point.rstrip("/") + "/"):
                return True
        parent = self.ids.get(one.parent)
        return parent is not None and parent.id != one.id and self.all_of(parent)

    def points(self, one: kernel.Mount) -> frozenset[str]:
        """Return the mount points in it."""
        return frozenset(other.point for other in self.whole if other.parent == one.id and other.point != one.point)


@dataclass
class Place:
    """A directory that is being walked; `fd` is None where it is so far up that it was closed."""

    path: str
    hidden: bool
    in_home: str | None
    identity: tuple[int, int]
    fd: int | None
    below: list[str]


OPEN_AT_MOST = 200
LEVELS = 40
"""What lies deeper is counted only."""


def _identity(fd: int) -> tuple[int, int]:
    facts = os.fstat(fd)
    return facts.st_dev, facts.st_ino


class Walk:
    """Looks at every inode of one mount after the other, without recursion and without following anything."""

    def __init__(self, who: Record, told: list[Residue]) -> None:
        self.who = who
        self.told = told
        self.unseen: list[str] = []
        self.file_systems = 0
        self.inodes = 0
        self.home_entries: Counter[str] = Counter()
        self.deeper = 0
        self.file_name = re.compile(rf"(?<![\w.-]){re.escape(who.name)}(?![\w-])")
        self.blobs = [blob.encode() for blob in who.key_blobs]

    def tell(self, category: str, where: str, what: str) -> None:
        self.told.append(Residue(category, kernel.printable(where), what))

    def mount(self, one: kernel.Mount, covers: Covers) -> None:
        """Walk one that nothing lies on any more."""
        self.file_systems += 1
        self.home_entries.clear()
        points = covers.points(one)
        top = os.open(one.point, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        if not stat.S_ISDIR(os.fstat(top).st_mode):
            os.close(top)  # one file, bound over another; it belongs to a file system that is walked if it is local
            self._single(one)
            return
        hidden = covers.all_of(one)
        path = one.point if one.point != "/" else ""
        os.fchdir(top)
        self._entry(".", path or "/", os.stat("."), hidden=hidden, in_home=None)
        stack = [self._place(path, top, hidden=hidden, in_home=self._home_of(path), points=points)]
        while stack:
            place = stack[-1]
            if place.fd is None or not place.below:
                self._up(stack)
                continue
            name = place.below.pop()
            inner = f"{place.path}/{name}"
            try:
                fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=place.fd)
            except OSError as error:
                if not isinstance(error, FileNotFoundError):
                    self.unseen.append(f"{kernel.printable(inner)}: {error.strerror}")
                continue
            in_home = place.in_home
            if in_home is None:
                in_home = self._home_of(inner)
            elif in_home == "":
                in_home = inner
            stack.append(self._place(inner, fd, hidden=place.hidden or inner in points, in_home=in_home, points=points))
        os.chdir("/")
        self._home_told()

    def _up(self, stack: list[Place]) -> None:
        """Leave a directory; the one above is opened again where it had to be closed."""
        done = stack.pop()
        if done.fd is None:
            return  # nothing in it could be come back to; said already
        if stack and stack[-1].fd is None:
            above = os.open("..", os.O_RDONLY | os.O_DIRECTORY, dir_fd=done.fd)
            if _identity(above) == stack[-1].identity:
                stack[-1].fd = above
            else:
                os.close(above)
                self.unseen.append(f"{kernel.printable(stack[-1].path)}: moved while it was walked")
        os.close(done.fd)

    def _single(self, one: kernel.Mount) -> None:
        facts = os.lstat(one.point)
        if self.who.his_uid(facts.st_uid):
            self.tell("files", one.point, f"a file of uid {facts.st_uid}, mounted")

    def _home_of(self, path: str) -> str | None:
        """Return None outside the home, and "" in the home itself: what lies directly in it is told by name."""
        if path == self.who.home:
            return ""
        return None

    def _place(self, path: str, fd: int, *, hidden: bool, in_home: str | None, points: frozenset[str]) -> Place:
        """Look at all entries of a directory; what is kept is which of them are directories."""
        os.fchdir(fd)
        below = []
        with os.scandir(fd) as entries:
            names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for name, is_directory in names:
            inner = f"{path}/{name}"
            try:
                facts = os.lstat(name)
            except FileNotFoundError:
                continue
            except OSError as error:
                self.unseen.append(f"{kernel.printable(inner)}: {error.strerror}")
                continue
            self.inodes += 1
            if is_directory:
                below.append(name)
            entry_home = inner if in_home == "" else in_home
            self._entry(name, inner, facts, hidden=hidden, in_home=entry_home)
        if in_home == "" and not names:
            self.tell("home", path, EMPTY)
        return Place(path, hidden, in_home, _identity(fd), fd, below)

    def _home_told(self) -> None:
        for top, number in self.home_entries.items():
            self.tell("home", top, f"still in the home, with {number - 1} below" if number > 1 else "still in the home")

    def _entry(self, name: str, path: str, facts: os.stat_result, *, hidden: bool, in_home: str | None) -> None:
        """Judge one inode; the working directory is the one it lies in."""
        his = self.who.his_uid(facts.st_uid)
        if in_home is not None:
            self.home_entries[in_home] += 1
        if his or in_home is not None:
            self._special(name, path, facts, his=his)
        if his and in_home is None and path != self.who.home:
            self._of_his_uid(path, facts, hidden=hidden)
        elif hidden and in_home is not None:
            self.tell("hidden_files", path, "in the home, under a mount")
        if not his and in_home is None and self.who.his_gid(facts.st_gid):
            setgid = ", and gives it on" if facts.st_mode & stat.S_ISGID else ""
            self.tell("group_files", path, f"in the group {facts.st_gid} only{setgid}")
        self._attributes(name, path, his=his)
        if in_home is None and not stat.S_ISDIR(facts.st_mode):
            self._by_name(name, path, facts)
        elif in_home is None and self.file_name.search(name) and path != self.who.home:
            self._named(path)
        if stat.S_ISREG(facts.st_mode) and self.blobs and _may_hold_keys(name, path) and facts.st_size < 1 << 20:
            self._key_file(name, path)

    def _of_his_uid(self, path: str, facts: os.stat_result, *, hidden: bool) -> None:
        kind = _kind(facts.st_mode)
        if hidden:
            self.tell("hidden_files", path, f"a {kind} of uid {facts.st_uid}, under a mount")
        elif path.startswith("/run/user/"):
            self.tell("runtime", path, f"a {kind} of uid {facts.st_uid}")
        elif path.startswith(("/var/mail/", "/var/spool/mail/")):
            self.tell("mail", path, f"a {kind} of uid {facts.st_uid}")
        elif path.startswith("/var/spool/") and ("/cron" in path or "/at" in path):
            self.tell("schedules", path, f"a {kind} of uid {facts.st_uid} among the schedules")
            self.tell("files", path, f"a {kind} of uid {facts.st_uid}")
        elif path.count("/") > LEVELS:
            self.deeper += 1
        else:
            self.tell("files", path, f"a {kind} of uid {facts.st_uid}")

    def _special(self, name: str, path: str, facts: os.stat_result, *, his: bool) -> None:
        mode = facts.st_mode
        if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
            self.tell("setuid", path, f"setuid or setgid, of uid {facts.st_uid}")
        if stat.S_ISBLK(mode) or stat.S_ISCHR(mode):
            self.tell("nodes", path, f"a {_kind(mode)}")
        if stat.S_ISREG(mode) and facts.st_nlink > 1:
            self.tell("hard_links", path, f"{facts.st_nlink} names, of uid {facts.st_uid}")
        if (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) and his:
            flags = kernel.flags_of(name)
            if flags & kernel.IMMUTABLE:
                self.tell("flags", path, "immutable")
            if flags & kernel.APPEND_ONLY:
                self.tell("flags", path, "append-only")

    def _attributes(self, name: str, path: str, *, his: bool) -> None:
        try:
            held = os.listxattr(name, follow_symlinks=False)
        except OSError:
            return
        if not held:
            return
        if his and "security.capability" in held:
            self.tell("setuid", path, "has capabilities")
        if path.startswith(("/var/log/journal/", "/run/log/journal/", "/var/lib/systemd/coredump/")):
            return  # the provider's records; dumps are told by name
        for attribute in ("system.posix_acl_access", "system.posix_acl_default"):
            if attribute in held:
                for tag, _permissions, owner in kernel.acl_entries(os.getxattr(name, attribute, follow_symlinks=False)):
                    user, group = tag == kernel.ACL_USER, tag == kernel.ACL_GROUP
                    if (user and self.who.his_uid(owner)) or (group and self.who.his_gid(owner)):
                        kind = "user" if user else "group"
                        self.tell("acl", path, f"{attribute.rpartition('_')[2]} entry of {kind} {owner}")

    def _by_name(self, name: str, path: str, facts: os.stat_result) -> None:
        if self.file_name.search(name):
            self._named(path)
        if name == str(self.who.uid) and path.startswith(("/run/sudo/", "/var/lib/sudo/")):
            self.tell("privileges", path, "named by the uid")
        if name == str(self.who.uid) and path.startswith("/run/systemd/users/"):
            self.tell("runtime", path, "the log-in service knows the uid")
        if path.startswith(DUMPS) and _dump_of(name) == self.who.uid:
            self.tell("dumps", path, "a core dump of the uid")

    def _named(self, path: str) -> None:
        if path.startswith(NAMED_PLACES):
            self.tell(_category_of(path), path, "named like the tenant")

    def _key_file(self, name: str, path: str) -> None:
        content = kernel.content(name)
        if any(blob in content for blob in self.blobs):
            self.tell("keys", path, "lists a key of the tenant's")
        elif path.startswith(f"{self.who.home}/.ssh/authorized_keys") and b"AAAA" in content:
            self.tell("keys", path, "lists a key in the tenant's own file")


NAMED_PLACES = (
    "/etc/", "/run/", "/usr/local/", "/var/mail/", "/var/spool/", "/var/lib/systemd/", "/var/lib/sudo/", "/var/db/sudo/",
    "/var/lib/AccountsService/", "/var/lib/polkit-1/",
)  # fmt: skip
"""Where a name means something to the system; logs and the provider's own records are not among them."""
DUMPS = (
    "/var/lib/systemd/coredump/",
    "/var/crash/",
    "/var/lib/apport/coredump/",
    "/var/cores/",
    "/var/core/",
    "/cores/",
)
DUMP_NAMES = (
    re.compile(r"^core\.(?P<comm>.+)\.(?P<uid>\d+)\.[0-9a-f]{32}\.\d+\.\d+(\.\w+)?$"),
    re.compile(r"^.+\.(?P<uid>\d+)\.(crash|upload|uploaded)$"),
    re.compile(r"^core\..+\.(?P<uid>\d+)\.[0-9a-f-]{36}\.\d+\.\d+$"),
)
"""Source: systemd-coredump's make_filename(); apport's reports and core directory."""


def _dump_of(name: str) -> int | None:
    for pattern in DUMP_NAMES:
        found = pattern.match(name)
        if found is not None:
            return int(found["uid"])
    return None


def _may_hold_keys(name: str, path: str) -> bool:
    return name.startswith("authorized_keys") or "/.ssh/authorized_keys" in path


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "directory",
        stat.S_IFLNK: "symbolic link",
        stat.S_IFIFO: "pipe",
        stat.S_IFSOCK: "socket",
        stat.S_IFCHR: "character device",
        stat.S_IFBLK: "block device",
    }
    return kinds.get(stat.S_IFMT(mode), "file")


# --- processes and the kernel's objects ------------------------------------------------------------------------------


def _pids() -> list[int]:
    return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())


def _numbers(status: dict[str, str], key: str) -> list[int]:
    return [int(word) for word in status.get(key, "").split()]


def _status(pid: int) -> dict[str, str]:
    rows = (line.partition(":") for line in kernel.system_lines(f"/proc/{pid}/status"))
    return {key: value.strip() for key, _colon, value in rows}


ROUNDS = 20
"""A process may have another id each time; among so many looks one meets it."""


def _processes(who: Record) -> Found:
    """Any of the four uids and gids, a supplementary group, the login uid, the slice."""
    for _ in range(ROUNDS):
        for pid in reversed(_pids()):
            status = _status(pid)
            if status and not (status["State"].startswith("Z") and _tasks(pid) <= 1):
                reasons = ", ".join(_his(pid, status, who))
                if reasons:
                    yield Residue("processes", f"process {pid} ({status['Name']})", f"{reasons}; {_argv(pid)}")


def _his(pid: int, status: dict[str, str], who: Record) -> Iterator[str]:
    yield from (f"uid {one}" for one in sorted(set(_numbers(status, "Uid"))) if who.his_uid(one))
    yield from (f"gid {one}" for one in sorted(set(_numbers(status, "Gid"))) if who.his_gid(one))
    yield from (f"group {one}" for one in _numbers(status, "Groups") if who.his_gid(one))
    login = kernel.system_lines(f"/proc/{pid}/loginuid")
    yield from (f"login uid {one}" for one in login if one.isdecimal() and who.his_uid(int(one)))
    groups = kernel.system_lines(f"/proc/{pid}/cgroup")
    yield from ["in his slice" for one in groups if f"/user-{who.uid}.slice" in one][:1]


def _tasks(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0


def _argv(pid: int) -> str:
    try:
        return kernel.printable(os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").strip()))[
            :120
        ]
    except OSError:
        return ""


def _open_files(who: Record) -> Found:
    """Files without a name whose inode is his, whoever holds them."""
    for pid in _pids():
        for folder in ("fd", "map_files"):
            try:
                names = os.listdir(f"/proc/{pid}/{folder}")
            except OSError:
                continue
            for name in names:
                path = f"/proc/{pid}/{folder}/{name}"
                try:
                    target = os.readlink(path)
                    # Only what has no name is asked: a FUSE file system could hang.
                    owner = os.stat(path).st_uid if target.endswith(" (deleted)") else 0
                except OSError:
                    continue
                if who.his_uid(owner):
                    held = kernel.printable(target)
                    comm = "".join(kernel.system_lines(f"/proc/{pid}/comm"))
                    yield Residue("open_files", f"process {pid} ({comm})", f"{held}, of uid {owner}")


def _other_views(who: Record) -> Found:
    """Mounts of his home, or of tmpfs he owns, in the mount namespaces of others' processes."""
    seen = {os.readlink("/proc/self/ns/mnt")}
    for pid in _pids():
        try:
            view = os.readlink(f"/proc/{pid}/ns/mnt")
        except OSError:
            continue
        if view in seen:
            continue
        seen.add(view)
        try:
            whole = kernel.mounts(pid)
        except OSError:
            continue
        comm = "".join(kernel.system_lines(f"/proc/{pid}/comm"))
        for one in whole:
            if _below(one.root.removesuffix("//deleted"), who.home) or _below(one.point, who.home):
                where = f"the mount namespace of process {pid} ({comm})"
                yield Residue("mounts", where, f"{kernel.printable(one.root)} on {kernel.printable(one.point)}")


def _below(path: str, top: str) -> bool:
    return path == top or path.startswith(top + "/")


def _namespaces(who: Record) -> Found:
    """Namespaces that live on as files: of a user namespace he made, or named like him."""
    name = re.compile(rf"(?<![\w.]){re.escape(who.name)}(?!\w)")
    for one in kernel.mounts():
        if one.kind != "nsfs":
            continue
        try:
            fd = os.open(one.point, os.O_RDONLY)
        except OSError:
            continue
        owner = kernel.owner_of_namespace(fd)
        os.close(fd)
        if owner is not None and who.his_uid(owner):
            yield Residue("namespaces", kernel.printable(one.point), f"{one.root}, made by uid {owner}")
        elif name.search(Path(one.point).name):
            yield Residue("namespaces", kernel.printable(one.point), f"{one.root}, named like the tenant")


SYSTEM_V = {"shm": "shmid", "sem": "semid", "msg": "msqid"}


def _system_v(who: Record) -> Found:
    for kind in SYSTEM_V:
        lines = [line.split() for line in kernel.system_lines(f"/proc/sysvipc/{kind}")]
        for row in lines[1:]:
            facts = {key: int(value) for key, value in zip(lines[0], row, strict=False)}
            for key in ("uid", "cuid", "gid", "cgid"):
                his = who.his_uid if key.endswith("uid") else who.his_gid
                if his(facts[key]):
                    yield Residue("ipc", f"{kind} {facts[SYSTEM_V[kind]]} ", f"{key} {facts[key]}")
                    break


def _queues(who: Record) -> Found:
    """POSIX queues, through a mount of their file system that nobody else sees."""

    def look(told: list[Residue]) -> dict[str, Any]:
        kernel.unshare(kernel.CLONE_NEWNS)
        kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
        kernel.mount("queues", "/proc", "mqueue")
        for entry in os.scandir("/proc"):
            facts = entry.stat(follow_symlinks=False)
            if who.his_uid(facts.st_uid) or who.his_gid(facts.st_gid):
                told.append(Residue("ipc", f"/{entry.name}", f"a message queue of uid {facts.st_uid}"))
        return {"unseen": []}

    answer = _in_a_child(look, 20)
    if answer["unseen"]:
        raise OSError("; ".join(answer["unseen"]))
    yield from (Residue(*one) for one in answer["residues"])


def _keyrings(who: Record) -> Found:
    """More keys than the two empty rings that a log-in leaves; a dead key takes a moment to go."""
    for _ in range(10):
        found = dict(_key_counts(who))
        if not found:
            return
        time.sleep(0.05)
    for uid, (number, size) in found.items():
        yield Residue("keyrings", f"uid {uid}", f"{number} keys, {size} bytes")


def _key_counts(who: Record) -> Iterator[tuple[int, tuple[int, int]]]:
    # Source: keyrings(7): "uid: usage nkeys/nikeys qnkeys/maxkeys qnbytes/maxbytes".
    for line in kernel.system_lines("/proc/key-users"):
        fields = line.replace(":", " ").split()
        uid, number, size = int(fields[0]), int(fields[3].split("/")[0]), int(fields[4].split("/")[0])
        if who.his_uid(uid) and (number > 2 or size > 64):
            yield uid, (number, size)


# --- mounts, swap, loop devices --------------------------------------------------------------------------------------


def _mounted(who: Record) -> Found:
    """In the home, from the home, or of a FUSE file system of his."""
    for one in kernel.mounts():
        root, point = kernel.printable(one.root), kernel.printable(one.point)
        mine = re.search(rf"\b(user_id|uid)={who.uid}\b", one.options)
        if _below(one.point.removesuffix("//deleted"), who.home):
            yield Residue("mounts", point, f"{one.kind} in the home, from {root}")
        elif one.kind not in PSEUDO and _below(one.root.removesuffix("//deleted"), who.home):
            yield Residue("mounts", point, f"{root} out of the home")
        elif one.source.startswith(who.home + "/") or mine or f"={who.home}/" in one.options:
            yield Residue("mounts", point, f"{one.kind} from {kernel.printable(one.source)}")


def _swaps(who: Record) -> Found:
    yield from swapped(who, kernel.system_lines("/proc/swaps"))


def swapped(who: Record, lines: Sequence[str]) -> Found:
    """Return the swap areas in his home, or on files of his; lines of /proc/swaps."""
    for line in lines[1:]:
        path = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), line.split()[0])
        named = path.removesuffix(" (deleted)")
        try:
            owner = os.stat(named).st_uid
        except OSError:
            owner = 0
        if _below(named, who.home) or who.his_uid(owner):
            yield Residue("swap", kernel.printable(named), line.split()[1])


def _loops(who: Record) -> Found:
    for device in sorted(Path("/sys/block").glob("loop*/loop/backing_file")):
        path = "".join(kernel.system_lines(str(device)))
        named = path.removesuffix(" (deleted)")
        try:
            owner = os.lstat(named).st_uid
        except OSError:
            owner = 0
        # A file that has lost its name has no owner that could be asked for; a trap's bears the tenant's.
        if (
            _below(named, who.home)
            or who.his_uid(owner)
            or re.search(rf"(?<!\w){re.escape(who.name)}(?!\w)", Path(named).name)
        ):
            yield Residue("loop", f"/dev/{device.parts[3]}", kernel.printable(path))


# --- accounts and settings -------------------------------------------------------------------------------------------


def _account_files(who: Record) -> Found:
    """Rows of the account files and of every copy of them."""
    for folder, suffix in (("/etc", ""), ("/etc", "-"), ("/etc", ".org"), ("/var/backups", ".bak")):
        copy = bool(suffix)
        for kind in ("passwd", "shadow", "group", "gshadow", "subuid", "subgid"):
            path = f"{folder}/{kind}{suffix}"
            for line in kernel.system_lines(path):
                yield from _row(who, path, kind, line.split(":"), copy=copy)


def _row(who: Record, path: str, kind: str, row: list[str], *, copy: bool) -> Found:
    sub = kind.startswith("sub")
    category = "privileges" if copy or sub else "account"
    if row[0] == who.name or (sub and row[0] == str(who.uid)):
        yield Residue(category, path, f"a row of {row[0]}")
    elif kind == "passwd" and row[2:3] == [str(who.uid)]:
        yield Residue(category, path, f"{row[0]} has the uid {who.uid}")
    elif kind == "group" and row[2:3] == [str(who.gid)]:
        yield Residue(category, path, f"{row[0]} has the gid {who.gid}")
    for place in {"group": (3,), "gshadow": (2, 3)}.get(kind, ()):
        if who.name in ",".join(row[place : place + 1]).split(","):
            yield Residue("privileges", f"{path}: {row[0]}", "member" if place == 3 else "administrator")


def _token(name: str) -> re.Pattern[str]:
    """Return what finds a name as a word: no part of a longer name, of a host's name or of an address."""
    return re.compile(rf"(?<![\w.-])(?<!\w@){re.escape(name)}(?![\w-])(?!\.\w)")


SETTINGS = (
    "/etc", "/usr/local", "/usr/lib/systemd", "/usr/lib/sysusers.d", "/usr/lib/tmpfiles.d", "/usr/share/polkit-1/rules.d",
    "/run/systemd/system", "/run/systemd/user", "/run/systemd/transient", "/run/tmpfiles.d", "/run/sysusers.d",
    "/var/spool/cron", "/var/lib/polkit-1",
)  # fmt: skip
OWN_LOOK = re.compile(r"^/etc/(passwd|shadow|group|gshadow|subuid|subgid)(-|\.org)?$")
UNIT = re.compile(r"^\s*(User|Group|SupplementaryGroups)\s*=")


def _named_in_settings(who: Record) -> Found:
    """Lines of settings that name him, his home or, where they may, his uid."""
    token = _token(who.name)
    numbers = _by_number(who)
    words = [word.encode() for word in (who.name, who.home, str(who.uid), str(who.gid))]
    for path in _setting_files():
        if OWN_LOOK.match(path) or f"/user-{who.uid}.slice" in path or f"user@{who.uid}.service" in path:
            if not OWN_LOOK.match(path):
                yield Residue("schedules", path, "settings of the uid's slice or manager")
            continue
        for number, line in enumerate(_plain_lines(path, words), 1):
            text = line.strip()
            meant = not text.startswith(("#", "//", ";"))
            by_name = meant and not _is_key(text) and (token.search(text) or f"{who.home}/" in text)
            if by_name or any(found.search(text) for area, found in numbers if path.startswith(area)):
                yield Residue(_category_of(path), path, f"line {number}: {kernel.printable(text)[:120]}")


def _by_number(who: Record) -> list[tuple[str, re.Pattern[str]]]:
    uid, gid = who.uid, who.gid
    unit = re.compile(rf"^(User|Group|SupplementaryGroups)\s*=.*\b({uid}|{gid})\b")
    return [
        ("/etc/sudoers", re.compile(rf"(?<![\w#])(#{uid}|%#{gid})\b")),
        ("/etc/security/limits", re.compile(rf"^@?({uid}:\d*|:{uid}|{gid}:\d*|:{gid})\s")),
        ("/etc/fstab", re.compile(rf"\b(uid={uid}|gid={gid})\b")),
        ("/etc/tmpfiles.d", re.compile(rf"^\S+\s+\S+\s+\S+\s+({uid}\s|\S+\s+{gid}\b)")),
        ("/etc/polkit-1", re.compile(rf"unix-user:{uid}\b")),
        ("/etc/systemd", unit),
        ("/run/systemd", unit),
        ("/usr/lib/systemd", unit),
    ]


def _setting_files() -> Iterator[str]:
    for top in SETTINGS:
        for folder, _folders, files in os.walk(top):
            yield from (f"{folder}/{name}" for name in sorted(files))


def _plain_lines(path: str, words: Sequence[bytes]) -> list[str]:
    """Return the lines of a file that holds one of the words at all."""
    try:
        facts = os.lstat(path)
    except OSError:
        return []
    if not stat.S_ISREG(facts.st_mode) or facts.st_size > 1 << 20:
        return []
    held = kernel.content(path)
    if b"\0" in held or not any(word in held for word in words):
        return []
    return held.decode("utf-8", "surrogateescape").splitlines()


def _is_key(line: str) -> bool:
    return bool(re.search(r"(^|\s)(ssh-|ecdsa-|sk-)\S+\s+AAAA", line))


def _category_of(path: str) -> str:
    table = (
        ("schedules", ("/etc/cron", "/etc/anacrontab", "/etc/systemd", "/usr/lib/systemd", "/run/systemd",
                       "/usr/local/lib/systemd", "/var/spool/cron", "/var/spool/at", "/var/lib/systemd/linger",
                       "/var/lib/systemd/timers")),
        ("privileges", ("/etc/sudoers", "/etc/doas", "/etc/polkit-1", "/usr/share/polkit-1", "/var/lib/polkit-1",
                        "/etc/dbus-1", "/etc/security", "/etc/pam.d", "/etc/ssh", "/run/sudo", "/var/lib/sudo",
                        "/run/faillock", "/var/lib/AccountsService", "/etc/at.", "/etc/ftpusers", "/etc/shosts")),
        ("account", ("/etc/sysusers.d", "/run/sysusers.d", "/usr/lib/sysusers.d", "/run/user")),
        ("mail", ("/var/mail", "/var/spool/mail", "/etc/aliases")),
        ("mounts", ("/etc/fstab", "/etc/auto")),
        ("namespaces", ("/run/netns",)),
    )  # fmt: skip
    if path in {"/etc/cron.allow", "/etc/cron.deny"}:
        return "privileges"
    return next((category for category, starts in table if path.startswith(starts)), "traces")


def _services(who: Record) -> Found:
    """What a running systemd still has loaded of his, and the log-in service."""
    if not Path("/run/systemd/system").is_dir():
        return
    for name in (f"user-{who.uid}.slice", f"user@{who.uid}.service", f"user-runtime-dir@{who.uid}.service"):
        if _said("systemctl", "is-active", name).strip() in {"active", "activating", "deactivating"}:
            yield Residue("processes", name, "active")
    for line in _said("systemctl", "show", "--property=Id,User", "*.service").split("\n\n"):
        facts = dict(row.split("=", 1) for row in line.splitlines() if "=" in row)
        if facts.get("User") in {who.name, str(who.uid)}:
            yield Residue("schedules", f"/etc/systemd/system/{facts['Id']}", "loaded, to run as the tenant")


def _said(*argv: str) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _beside_the_home(who: Record) -> Found:
    """What lies beside the home and was not there before, nor is anybody's home: a home renamed, for one."""
    parent = Path(who.home).parent
    homes = {Path(row.pw_dir) for row in pwd.getpwall()}
    before = set(who.siblings or ()) | {"lost+found"}
    try:
        found = sorted(os.listdir(parent))
    except OSError:
        return
    for name in found:
        path = parent / name
        if name not in before and path not in homes and who.siblings is not None:
            yield Residue("home", kernel.printable(str(path)), "beside the home, and nobody's")


# --- keys ------------------------------------------------------------------------------------------------------------


def _effective_keys(who: Record) -> Found:
    """His keys in every place where sshd looks for one, for whatever account."""
    settings = list(_sshd_settings())
    accounts = [row for row in pwd.getpwall() if row.pw_uid == 0 or row.pw_uid >= 1000]
    for user, values in settings:
        for row in accounts if user is None else [pwd.getpwnam(user)]:
            for path in _key_files(values, row):
                yield from _holds(who, path, f"accepted for {row.pw_name}")
        for setting in ("trustedusercakeys", "authorizedkeyscommand"):
            for value in values.get(setting, []):
                program = value.split()[0] if value.split() else "none"
                if program != "none":
                    yield from _holds(who, program, f"sshd's {setting}")
    yield from _commanded(who, settings, accounts)


def _holds(who: Record, path: str, how: str) -> Found:
    text = "\n".join(kernel.system_lines(path))
    if any(blob in text for blob in who.key_blobs):
        yield Residue("keys", kernel.printable(path), how)


def _key_files(values: dict[str, list[str]], row: pwd.struct_passwd) -> Iterator[str]:
    given = " ".join(values.get("authorizedkeysfile", [])).split()
    for pattern in given or [".ssh/authorized_keys", ".ssh/authorized_keys2"]:
        tokens = {"%%": "%", "%h": row.pw_dir, "%u": row.pw_name, "%U": str(row.pw_uid)}
        path = re.sub("%[%huU]", lambda found, tokens=tokens: tokens[found[0]], pattern)
        if pattern != "none":
            yield path if path.startswith("/") else f"{row.pw_dir}/{path}"


def _sshd_settings() -> Iterator[tuple[str | None, dict[str, list[str]]]]:
    """What sshd itself says for each account, and all that its files say under whatever condition."""
    yield None, _read_settings("/etc/ssh/sshd_config", depth=0)
    yield None, {}
    program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")
    if program is None:
        return
    for row in pwd.getpwall():
        if row.pw_uid != 0 and row.pw_uid < 1000:
            continue
        said = _said(program, "-T", "-C", f"user={row.pw_name},host=localhost,addr=127.0.0.1")
        values: dict[str, list[str]] = {}
        for line in said.splitlines():
            key, _space, value = line.partition(" ")
            values.setdefault(key.lower(), []).append(value)
        yield row.pw_name, values


def _read_settings(path: str, depth: int) -> dict[str, list[str]]:
    """Return every value of every setting, whatever Match block it stands in."""
    values: dict[str, list[str]] = {}
    for line in kernel.system_lines(path):
        words = line.strip().replace("=", " ", 1).split(None, 1)
        if len(words) < 2 or words[0].startswith("#"):
            continue
        key, value = words[0].lower(), words[1].strip().strip('"')
        if key == "include" and depth < 16:
            for pattern in value.split():
                whole = pattern if pattern.startswith("/") else f"/etc/ssh/{pattern}"
                for inner in sorted(Path("/").glob(whole.lstrip("/"))):
                    for inner_key, held in _read_settings(str(inner), depth + 1).items():
                        values.setdefault(inner_key, []).extend(held)
        else:
            values.setdefault(key, []).append(value)
    return values


def _commanded(
    who: Record, settings: Sequence[tuple[str | None, dict[str, list[str]]]], accounts: Sequence[pwd.struct_passwd]
) -> Found:
    """Run what sshd would run, as it would, and read what it says."""
    commands = {
        (command, (values.get("authorizedkeyscommanduser") or ["nobody"])[0])
        for _user, values in settings
        for command in values.get("authorizedkeyscommand", [])
        if command.startswith("/")
    }
    for command, user in sorted(commands):
        try:
            runner = pwd.getpwnam(user)
        except KeyError:
            continue
        for row in accounts[:50]:
            tokens = {"%u": row.pw_name, "%h": row.pw_dir, "%U": str(row.pw_uid), "%%": "%"}
            argv = [tokens.get(word, word) for word in command.split()]
            said = _said("setpriv", f"--reuid={runner.pw_uid}", f"--regid={runner.pw_gid}", "--clear-groups", *argv)
            if any(blob in said for blob in who.key_blobs):
                yield Residue("keys", argv[0], f"prints a key of the tenant's for {row.pw_name}")


def main() -> None:
    """Describe a tenant, or say what is left of one."""
    parser = argparse.ArgumentParser(prog="inspector", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("describe").add_argument("name")
    looking = commands.add_parser("look")
    looking.add_argument("record", type=Path)
    looking.add_argument("--scope", choices=list(PROMISED), default="user_deletion")
    given = parser.parse_args()
    if given.command == "describe":
        kernel.show(describe(given.name)._asdict())
        return
    report = inspect(record(json.loads(given.record.read_text())), given.scope)
    kernel.show(asdict(report) | {"residues": [one._asdict() for one in report.residues]})
    sys.exit(bool(report.residues or report.unseen))


if __name__ == "__main__":
    main()
