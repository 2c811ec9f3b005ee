"""
What a wipe must not touch: things of another user's, of root's and of the system's, most of them near the tenant's.

`python -m tests.host.tenant.sentinels make TENANT MANIFEST` makes them and writes down what they are; `verify MANIFEST`
prints each damage in words and exits with 1 where there is one. Make them before the traps, on throw-away machines
only. As a script it wants kernel.py beside it.
"""

import argparse
import ctypes
import grp
import hashlib
import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

if __package__:
    from tests.host.tenant import kernel
else:
    import kernel

Facts = dict[str, Any]
ADMINS_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "R" * 42 + "A admin@console"
BOBS_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "B" * 42 + "A"


class Sentinel(NamedTuple):
    """
    One of them.

    Args:
        name: What it is, in words.
        kind: Which of the looks below sees it.
        where: Its path, its id or its row.
        facts: What was seen when it was made.
    """

    name: str
    kind: str
    where: str
    facts: Facts


# --- looks: what is there now; empty where there is nothing ----------------------------------------------------------


def _inode(path: str) -> Facts:
    try:
        found = os.lstat(path)
    except OSError:
        return {}
    facts: Facts = {
        "owner": [found.st_uid, found.st_gid],
        "mode": oct(found.st_mode),
        "inode": found.st_ino,
    }
    facts["attributes"] = {
        name: os.getxattr(path, name, follow_symlinks=False).hex() for name in os.listxattr(path, follow_symlinks=False)
    }
    if stat.S_ISREG(found.st_mode):
        content = Path(path).read_bytes()
        facts |= {"content": hashlib.sha256(content).hexdigest(), "time of change": found.st_mtime_ns}
    if stat.S_ISLNK(found.st_mode):
        facts["target"] = str(Path(path).readlink())
    if stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode):
        facts["flags"] = kernel.flags_of(path) & (kernel.IMMUTABLE | kernel.APPEND_ONLY)
    if stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
        facts["device"] = found.st_rdev
    return facts


def _content(path: str) -> Facts:
    """Of a file in which the tenant may have had a part: its owner's part is looked at by the other looks."""
    return {key: value for key, value in _inode(path).items() if key in {"owner", "mode"}}


def _tree(top: str) -> Facts:
    facts: Facts = {}
    for folder, folders, files in os.walk(top):
        for name in (".", *folders, *files):
            path = os.path.normpath(Path(folder, name))
            facts[path] = _inode(path)
    return facts


def _line(where: str) -> Facts:
    """A line of a file, with the file's owner and mode."""
    path, text = where.split("\0")
    found = [line.strip() for line in kernel.system_lines(path)]
    return {"line": "there", **_content(path)} if text.strip() in found else {}


def _rows(where: str) -> Facts:
    """All rows of an account file but the tenant's and the groups' members."""
    path, name = where.split("\0")
    rows = [line.split(":") for line in kernel.system_lines(path)]
    members = path.startswith(("/etc/group", "/etc/gshadow"))
    kept = [row[:-1] if members else row for row in rows if row[0] != name]
    if path.startswith("/etc/gshadow"):
        kept = [row[:-1] for row in kept]  # the group's administrators
    return {"rows": {row[0]: ":".join(row) for row in kept}, **_content(path)} if rows else {}


def _member(where: str) -> Facts:
    group, name = where.split("\0")
    try:
        return {"member": "yes"} if name in grp.getgrnam(group).gr_mem else {}
    except KeyError:
        return {}


def _process(where: str) -> Facts:
    try:
        held = Path(f"/proc/{where}/stat").read_text()
        uids = next(line for line in kernel.system_lines(f"/proc/{where}/status") if line.startswith("Uid:"))
    except (OSError, StopIteration):
        return {}
    fields = held.rpartition(")")[2].split()
    return {} if fields[0] == "Z" else {"start": fields[19], "uids": uids, "stopped": fields[0] in "Tt"}


def _system_v(where: str) -> Facts:
    kind, number = where.split()
    lines = [line.split() for line in kernel.system_lines(f"/proc/sysvipc/{kind}")]
    heads = lines[0] if lines else []
    for row in lines[1:]:
        facts = dict(zip(heads, row, strict=False))
        if facts["msqid" if kind == "msg" else f"{kind}id"] == number:
            return {key: facts[key] for key in ("perms", "uid", "gid", "cuid")}
    return {}


def _queue(name: str) -> Facts:
    """Opened, which root may always do."""
    kernel.libc.mq_open.restype = ctypes.c_int
    fd = kernel.libc.mq_open(name.encode(), os.O_RDONLY)
    if fd < 0:
        return {}
    found = os.fstat(fd)
    os.close(fd)
    return {"owner": [found.st_uid, found.st_gid], "mode": oct(found.st_mode)}


def _mount(point: str) -> Facts:
    found = [one for one in kernel.mounts() if one.point == point]
    return {"file systems": [[one.kind, one.root, one.device] for one in found]} if found else {}


LOOKS: dict[str, Callable[[str], Facts]] = {
    "inode": _inode,
    "tree": _tree,
    "line": _line,
    "rows": _rows,
    "member": _member,
    "process": _process,
    "system v": _system_v,
    "queue": _queue,
    "mount": _mount,
}


# --- making them -----------------------------------------------------------------------------------------------------


class Maker:
    """Makes them for one neighbour of one tenant."""

    def __init__(self, tenant: str, neighbour: str) -> None:
        try:
            self.tenant = pwd.getpwnam(tenant)
        except KeyError:  # he comes later
            self.tenant = pwd.struct_passwd((tenant, "x", -1, -1, "", f"/home/{tenant}", "/bin/sh"))
        self._account(neighbour)
        self._account(f"{tenant}2")
        self.bob = pwd.getpwnam(neighbour)
        self.twin = pwd.getpwnam(f"{tenant}2")
        self.made: list[tuple[str, str, str]] = []

    @staticmethod
    def _account(name: str) -> None:
        try:
            pwd.getpwnam(name)
        except KeyError:
            subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", name], check=True, capture_output=True)

    def add(self, name: str, kind: str, where: str) -> str:
        self.made.append((name, kind, where))
        return where

    def file(self, path: str, text: str, owner: pwd.struct_passwd | None = None, mode: int = 0o644) -> str:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)
        if owner is not None:
            os.chown(path, owner.pw_uid, owner.pw_gid)
        Path(path).chmod(mode)
        os.utime(path, (1_600_000_000, 1_600_000_000))
        return path

    def line(self, name: str, path: str, text: str) -> None:
        """Add it where the file is there, or is made in a directory that is."""
        if not Path(path).parent.is_dir():
            return
        held = Path(path)
        before = held.read_text() if held.exists() else ""
        if text not in before.splitlines():
            held.write_text(before + ("" if before.endswith("\n") or not before else "\n") + text + "\n")
        self.add(name, "line", f"{path}\0{text}")

    def manifest(self) -> list[Sentinel]:
        """Look at all that was made."""
        found = [Sentinel(*one, facts=LOOKS[one[1]](one[2])) for one in self.made]
        absent = [one.name for one in found if not one.facts]
        assert not absent, absent
        return found


def settle(tenant: str, neighbour: str = "bob") -> None:
    """Make those that only root makes, before the tenant comes: afterwards they would look like his work."""
    maker = Maker(tenant, neighbour)
    for work in (_keys, _schedules, _privileges, _system):
        work(maker)


def make(tenant: str, neighbour: str = "bob") -> list[Sentinel]:
    """Make them all, but for what is settled already, and return what they are."""
    maker = Maker(tenant, neighbour)
    for work in (_files, _near_the_home, _keys, _schedules, _privileges, _accounts, _kernel_objects, _records, _system):
        work(maker)
    return maker.manifest()


def _files(m: Maker) -> None:
    home = m.bob.pw_dir
    for number in range(20):
        m.file(f"{home}/work/d{number % 3}/file{number}", f"bob's work {number}\n", m.bob, 0o640)
    for path in (f"{home}/work", *(f"{home}/work/d{number}" for number in range(3))):
        os.chown(path, m.bob.pw_uid, m.bob.pw_gid)
    m.add("bob's tree of files", "tree", f"{home}/work")
    m.add("bob's home", "inode", home)
    for place in ("/tmp", "/var/tmp", "/dev/shm", "/srv", "/opt"):
        if Path(place).is_dir():
            m.add(f"bob's file in {place}", "inode", m.file(f"{place}/s-bob", f"precious in {place}\n", m.bob, 0o666))
    path = m.add("bob's file with attributes", "inode", m.file(f"{home}/s-attributes", "x\n", m.bob, 0o600))
    try:
        os.setxattr(path, "user.origin", b"bob")
        os.setxattr(path, "system.posix_acl_access", kernel.acl((kernel.ACL_USER, 6, m.twin.pw_uid)))
    except OSError:
        os.removexattr(path, "user.origin") if "user.origin" in os.listxattr(path) else None
    nobodys = m.add("a file of a uid without an account", "inode", m.file("/var/tmp/s-orphan", "orphan\n"))
    os.chown(nobodys, 54321, 54321)
    Path(f"{home}/s-fifo").unlink(missing_ok=True)
    os.mkfifo(f"{home}/s-fifo", 0o600)
    m.add("bob's pipe", "inode", f"{home}/s-fifo")
    Path(f"{home}/s-link").symlink_to(m.tenant.pw_dir)
    m.add("bob's link to the tenant's home", "inode", f"{home}/s-link")
    m.add("a file of the account with a longer name", "inode", m.file(f"{m.twin.pw_dir}/file", "twin's\n", m.twin))
    m.add("the home of the account with a longer name", "inode", m.twin.pw_dir)


def _near_the_home(m: Maker) -> None:
    """Reached from the tenant's home by hard links, symbolic links and bind mounts."""
    own = m.tenant.pw_dir
    ours = "/var/lib/s-data"
    for number in range(5):
        m.file(f"{ours}/inner/file{number}", f"data {number}\n", m.bob)
    m.add("a directory that the tenant has linked to and mounted", "tree", ours)
    Path(f"{own}/s-symlink").symlink_to(ours)
    Path(f"{own}/s-symlink-file").symlink_to(f"{ours}/inner/file0")
    for name, flags in (("s-bind", 0), ("s-bind-ro", kernel.MS_REMOUNT | kernel.MS_RDONLY)):
        Path(f"{own}/{name}").mkdir()
        os.chown(f"{own}/{name}", m.tenant.pw_uid, m.tenant.pw_gid)
        kernel.mount(ours, f"{own}/{name}", "", kernel.MS_BIND)
        if flags:
            kernel.mount("none", f"{own}/{name}", "", kernel.MS_BIND | flags)
    for name, owner, flags in (
        ("bob's file with a second name in the tenant's home", m.bob, 0),
        ("root's file with a second name in the tenant's home", None, 0),
        ("bob's immutable file with a second name in the tenant's home", m.bob, kernel.IMMUTABLE),
        ("root's append-only file with a second name in the tenant's home", None, kernel.APPEND_ONLY),
    ):
        number = len(m.made)
        path = m.file(f"/var/lib/s-linked-{number}", f"linked {number}\n", owner, 0o666)
        try:
            os.link(path, f"{own}/s-hard-{number}")
        except OSError:
            continue  # another file system
        if flags:
            try:
                kernel.add_flags(path, flags)
            except kernel.Skip:
                continue
        m.add(name, "inode", path)
    shared = m.file("/var/lib/s-in-his-group", "bob's, in the tenant's group\n", m.bob, 0o664)
    os.chown(shared, m.bob.pw_uid, m.tenant.pw_gid)
    m.add("bob's file in the tenant's group", "owned", shared)
    listed = m.file("/var/lib/s-in-an-acl", "bob's, the tenant may read it\n", m.bob, 0o640)
    entries = ((kernel.ACL_USER, 4, m.tenant.pw_uid), (kernel.ACL_USER, 6, m.twin.pw_uid))
    try:
        os.setxattr(listed, "system.posix_acl_access", kernel.acl(*entries))
    except OSError:
        return
    m.add("another's entry in the ACL of bob's file", "acl", f"{listed}\0{m.twin.pw_uid}")


def _owned(path: str) -> Facts:
    """A file whose group may change."""
    facts = _inode(path)
    return {key: value for key, value in facts.items() if key in {"content", "time of change"}} | (
        {"owner": facts["owner"][0]} if facts else {}
    )


def _acl(where: str) -> Facts:
    path, uid = where.split("\0")
    try:
        entries = kernel.acl_entries(os.getxattr(path, "system.posix_acl_access"))
    except OSError:
        return {}
    found = [entry for entry in entries if entry[2] == int(uid)]
    return {"entry": [list(entry) for entry in found], **_owned(path)} if found else {}


LOOKS |= {"owned": _owned, "acl": _acl}


def _keys(m: Maker) -> None:
    for name, home, owner, keys in (
        ("root's", "/root", pwd.getpwuid(0), (ADMINS_KEY, f'from="10.0.0.0/8",no-pty {BOBS_KEY} second')),
        ("bob's", m.bob.pw_dir, m.bob, (f"{BOBS_KEY} {m.tenant.pw_name}@laptop", f'command="a b" {ADMINS_KEY}')),
    ):
        folder = Path(home, ".ssh")
        folder.mkdir(mode=0o700, exist_ok=True)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        path = f"{folder}/authorized_keys"
        for number, key in enumerate(keys):
            m.line(f"{name} key {number}", path, key)
        os.chown(path, owner.pw_uid, owner.pw_gid)
        Path(path).chmod(0o600)
    own = Path(m.tenant.pw_dir, ".ssh/authorized_keys")
    if own.is_file():
        own.write_text(own.read_text() + ADMINS_KEY + "\n")


def _schedules(m: Maker) -> None:
    name = m.tenant.pw_name
    for place in ("/var/spool/cron/crontabs", "/var/spool/cron"):
        if Path(place).is_dir():
            path = m.file(f"{place}/{m.bob.pw_name}", "0 1 * * * true\n", m.bob, 0o600)
            m.add("bob's crontab", "inode", path)
            break
    if Path("/var/spool/cron/atjobs").is_dir():
        path = m.file("/var/spool/cron/atjobs/a000ff0fffffff", f"# atrun uid={m.bob.pw_uid}\ntrue\n", m.bob, 0o700)
        m.add("bob's at job", "inode", path)
    m.line("root's line in a system crontab", "/etc/cron.d/s-root", "1 2 * * * root /bin/true")
    m.line("bob's line in a system crontab", "/etc/cron.d/s-root", f"1 2 * * * {m.bob.pw_name} /bin/true {name}2")
    m.line("a line of the account with a longer name", "/etc/cron.d/s-root", f"1 3 * * * {name}2 /bin/true")
    m.line("bob's service", "/etc/systemd/system/s-bob.service", f"User={m.bob.pw_name}")
    if Path("/var/lib/systemd/linger").is_dir():
        m.add("bob's lingering", "inode", m.file(f"/var/lib/systemd/linger/{m.bob.pw_name}", ""))


def _privileges(m: Maker) -> None:
    name = m.tenant.pw_name
    for path, text in (
        ("/etc/sudoers.d/s-bob", f"{m.bob.pw_name} ALL=(root) NOPASSWD: /bin/true"),
        ("/etc/sudoers.d/s-bob", f"{name}2 ALL=(root) /bin/true"),
        ("/etc/security/limits.d/s-bob.conf", f"{m.bob.pw_name} hard nofile 4096"),
        ("/etc/security/access.conf", f"+:{m.bob.pw_name} {name}2:ALL"),
        ("/etc/polkit-1/rules.d/50-s.rules", f'// only "{m.bob.pw_name}" and "{name}2"'),
        ("/etc/fstab", "s-nothing /mnt/s-nothing tmpfs noauto 0 0"),
    ):
        m.line(f"bob's line in {path}: {text[:20]}", path, text)
    if Path("/etc/sudoers.d/s-bob").exists():
        Path("/etc/sudoers.d/s-bob").chmod(0o440)
    if Path("/run/sudo/ts").is_dir():
        m.add("bob's sudo timestamp", "inode", m.file(f"/run/sudo/ts/{m.bob.pw_name}", "x", None, 0o600))
    if Path("/run/faillock").is_dir():
        m.add("bob's failed log-ins", "inode", m.file(f"/run/faillock/{m.bob.pw_name}", "x", None, 0o600))


def _accounts(m: Maker) -> None:
    for group in ("audio", "staff"):
        subprocess.run(["usermod", "--append", "--groups", group, m.bob.pw_name], check=True, capture_output=True)
        subprocess.run(["usermod", "--append", "--groups", group, m.tenant.pw_name], check=True, capture_output=True)
        m.add(f"bob in the group {group}", "member", f"{group}\0{m.bob.pw_name}")
    for path in ("/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow", "/etc/subuid", "/etc/subgid"):
        if Path(path).exists() and Path(path).read_text():
            m.add(f"the other rows of {path}", "rows", f"{path}\0{m.tenant.pw_name}")


def _kernel_objects(m: Maker) -> None:
    bob = kernel.Who(m.bob.pw_uid, m.bob.pw_gid)

    def wait(ready: Callable[[], None]) -> None:
        kernel.call_name("bobs-work")
        ready()
        kernel.sleep_on()

    m.add("bob's process", "process", str(kernel.start_as(bob, wait)))

    def named(ready: Callable[[], None]) -> None:
        ready()
        os.execvp("sleep", [m.tenant.pw_name, str(kernel.LIFETIME_S)])

    m.add("root's process with the tenant's name in its arguments", "process", str(kernel.start_as(kernel.ROOT, named)))
    held = f"{m.tenant.pw_dir}/s-held"
    m.file(held, "root reads this\n")

    def hold(ready: Callable[[], None]) -> None:
        fd = os.open(held, os.O_RDONLY)
        kernel.call_name("roots-reader")
        ready()
        kernel.sleep_on()
        os.close(fd)

    m.add("root's process with a file of the home open", "process", str(kernel.start_as(kernel.ROOT, hold)))
    libc = kernel.libc

    def objects() -> list[int]:
        size = ctypes.c_size_t(4096)
        return [libc.shmget(0x7C00, size, 0o1600), libc.semget(0x7C00, 1, 0o1600), libc.msgget(0x7C00, 0o1600)]

    for kind, number in zip(("shm", "sem", "msg"), kernel.run_as(bob, objects), strict=True):
        m.add(f"bob's {kind}", "system v", f"{kind} {number}")
    kernel.run_as(bob, lambda: libc.mq_open(b"/s-bob", os.O_CREAT | os.O_RDWR, 0o666, None))
    m.add("bob's message queue", "queue", "/s-bob")
    Path("/mnt/s-bob").mkdir(parents=True, exist_ok=True)
    kernel.mount("s-bob", "/mnt/s-bob", "tmpfs", 0, "size=64k")
    m.add("bob's file system", "mount", "/mnt/s-bob")
    m.add("the file on it", "inode", m.file("/mnt/s-bob/file", "on a mount\n", m.bob))
    Path("/mnt/s-bind").mkdir(exist_ok=True)
    kernel.mount("/var/lib/s-data", "/mnt/s-bind", "", kernel.MS_BIND)
    m.add("a bind mount of others", "mount", "/mnt/s-bind")


def _records(m: Maker) -> None:
    """The provider's own records: they name the tenant, and stay."""
    name = m.tenant.pw_name
    m.line("a line of the log about the tenant", "/var/log/s-auth.log", f"sshd[1]: Accepted publickey for {name}")
    for place in ("/var/mail", "/var/spool/mail"):
        if Path(place).is_dir():
            m.add("bob's mail", "inode", m.file(f"{place}/{m.bob.pw_name}", "From x\n", m.bob, 0o660))
            break
    if Path("/var/lib/systemd/coredump").is_dir():
        path = f"/var/lib/systemd/coredump/core.{m.tenant.pw_uid}.{m.bob.pw_uid}.{'0' * 32}.1.1.zst"
        m.add("bob's core dump of a program named like the tenant's uid", "inode", m.file(path, "core", None, 0o640))


def _system(m: Maker) -> None:
    program = "/usr/local/bin/s-program"
    Path(program).parent.mkdir(parents=True, exist_ok=True)
    if not Path(program).exists():
        shutil.copy("/bin/true", program)
        Path(program).chmod(0o4755)
        os.setxattr(program, "security.capability", b"\x01\x00\x00\x02\x00\x20\x00\x00" + b"\x00" * 12)
    m.add("root's setuid program with a capability", "inode", program)
    for path in ("/tmp", "/var/tmp", "/home", "/root", "/etc", "/dev/null", "/etc/hosts", "/bin/true", "/etc/ssh"):
        if Path(path).exists():
            m.add(f"the system's {path}", "inode", path)


# --- looking again ---------------------------------------------------------------------------------------------------


def verify(manifest: list[Sentinel]) -> list[str]:
    """Return each damage in words; none where all is as it was."""
    return [text for one in manifest for text in _damages(one)]


def _damages(one: Sentinel) -> list[str]:
    place = one.where.split("\0")[0]
    now: Facts = json.loads(json.dumps(LOOKS[one.kind](one.where)))
    if not now:
        return [f"{one.name} ({place}) is gone"]
    return [f"{one.name} ({place}): {text}" for text in _changes(one.facts, now)]


def _changes(before: Facts, now: Facts) -> list[str]:
    told = []
    for key, was in json.loads(json.dumps(before)).items():
        if key not in now:
            told.append(f"{key} is gone")
        elif isinstance(was, dict) and isinstance(now[key], dict):
            told += [f"{key}: {text}" for text in _changes(was, now[key])]
        elif now[key] != was:
            told.append(f"{key} was {was} and is {now[key]}")
    return told


def save(manifest: list[Sentinel], path: Path) -> None:
    """Write it down; outside the machine's own places is best."""
    path.write_text(json.dumps([one._asdict() for one in manifest]))


def load(path: Path) -> list[Sentinel]:
    """Read it again."""
    return [Sentinel(**one) for one in json.loads(path.read_text())]


def main() -> None:
    """Make them, or look for damage."""
    parser = argparse.ArgumentParser(prog="sentinels", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("tenant")
    making.add_argument("manifest", type=Path)
    making.add_argument("--neighbour", default="bob")
    commands.add_parser("verify").add_argument("manifest", type=Path)
    given = parser.parse_args()
    if given.command == "make":
        manifest = make(given.tenant, given.neighbour)
        save(manifest, given.manifest)
        kernel.show([one.name for one in manifest])
    else:
        damages = verify(load(given.manifest))
        kernel.show(damages)
        sys.exit(bool(damages))


if __name__ == "__main__":
    main()
