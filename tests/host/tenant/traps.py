"""
A hostile tenant: named traps that a wipe has to find, each set as the one who could set it.

`python -m tests.host.tenant.traps NAME` sets them all for an account that exists; `--list` only names them. What the
machine cannot host (no at, no FUSE, ...) is `skipped` with the reason. It changes the machine it runs on: throw-away
ones only. As a script it wants kernel.py beside it.
"""

import argparse
import contextlib
import ctypes
import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

if __package__:
    from tests.host.tenant import kernel
else:
    import kernel

Skip = kernel.Skip
Marks = list[str]
By = Literal["tenant", "root"]


@dataclass(frozen=True)
class Tenant:
    """Whose traps they are; `neighbour` is another ordinary account whose things they point at, where there is one."""

    name: str
    uid: int
    gid: int
    home: str
    key: str
    sub: int | None
    neighbour: str | None
    files: int = 2000
    levels: int = 10_000
    whole_kernel: bool = False

    @property
    def who(self) -> kernel.Who:
        return kernel.Who(self.uid, self.gid, (self.gid,), self.home)

    @property
    def blob(self) -> str:
        return self.key.split()[1]

    def at(self, path: str) -> str:
        return f"{self.home}/{path}"

    def do(self, work: Callable[[], Any]) -> Any:
        """As the tenant, in his home."""
        return kernel.run_as(self.who, work)

    def write(self, path: str, text: str = "the tenant's\n", mode: int = 0o644) -> str:
        """As the tenant; relative paths are below his home."""

        def work() -> None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text)
            Path(path).chmod(mode)

        self.do(work)
        return path

    def others(self) -> str:
        """Return a directory of somebody else: the neighbour's home, or one of root's."""
        if self.neighbour is not None:
            return pwd.getpwnam(self.neighbour).pw_dir
        Path("/srv/others").mkdir(parents=True, exist_ok=True)
        Path("/srv/others/file").write_text("not the tenant's\n")
        return "/srv/others"

    def another(self) -> tuple[int, int]:
        """Return the uid and gid of somebody else."""
        one = pwd.getpwnam(self.neighbour or "nobody")
        return one.pw_uid, one.pw_gid


@dataclass(frozen=True)
class Trap:
    """
    One of them.

    Args:
        name: Its name.
        category: The category in which an inspection has to find it.
        by: Who sets it; `root` is an earlier administrator, or the tenant while he had root.
        beyond: Not in the table of places that a wipe has promised, but a residue all the same.
        stubborn: Nobody can remove it without harming others; it has to be told, not removed.
        plant: Sets it and returns marks: words of which each must occur in what an inspection says.
        about: What it is.
    """

    name: str
    category: str
    by: By
    beyond: bool
    stubborn: bool
    plant: Callable[[Tenant], Marks] = field(repr=False)
    about: str


@dataclass(frozen=True)
class Planted:
    """What became of one."""

    name: str
    category: str
    by: By
    beyond: bool
    stubborn: bool
    state: Literal["set", "skipped", "failed"]
    reason: str
    marks: Marks


TRAPS: dict[str, Trap] = {}


def trap(
    category: str, *, by: By = "root", beyond: bool = False, stubborn: bool = False
) -> Callable[[Callable[[Tenant], Marks]], Callable[[Tenant], Marks]]:
    """Name a function that sets one."""

    def kept(plant: Callable[[Tenant], Marks]) -> Callable[[Tenant], Marks]:
        name = plant.__name__
        assert name not in TRAPS
        TRAPS[name] = Trap(name, category, by, beyond, stubborn, plant, (plant.__doc__ or "").strip())
        return plant

    return kept


def need_directory(*paths: str) -> str:
    """Return the first that is there."""
    for path in paths:
        if Path(path).is_dir():
            return path
    raise Skip(f"no {' or '.join(paths)}")


def need_tool(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin")
    if found is None:
        raise Skip(f"no {name}")
    return found


def need_file(path: str) -> Path:
    if not Path(path).is_file():
        raise Skip(f"no {path}")
    return Path(path)


def add_line(path: str | Path, text: str) -> None:
    """As root, at the end of a file that is there."""
    held = need_file(str(path))
    before = held.read_text()
    held.write_text(before + ("" if before.endswith("\n") or not before else "\n") + text + "\n")


def root_file(path: str, text: str, mode: int = 0o644) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
    Path(path).chmod(mode)
    return path


def running(tenant: Tenant, name: str, work: Callable[[], None] = kernel.sleep_on) -> Marks:
    """Start a process as the tenant under a name by which it is found again."""

    def named(ready: Callable[[], None]) -> None:
        kernel.call_name(name)
        ready()
        work()

    kernel.start_as(tenant.who, named)
    return [name]


# --- processes -------------------------------------------------------------------------------------------------------


@trap("processes", by="tenant")
def respawner(tenant: Tenant) -> Marks:
    """Two processes that start each other again."""

    def guard(ready: Callable[[], None]) -> None:
        kernel.call_name("t-respawner")
        end = time.monotonic() + kernel.LIFETIME_S
        ready()
        while time.monotonic() < end:
            keeper = os.getpid()
            child = os.fork()
            if child == 0:
                while os.getppid() == keeper:
                    time.sleep(0.01)
                os.setsid()
                continue
            os.waitpid(child, 0)

    kernel.start_as(tenant.who, guard)
    return ["t-respawner"]


@trap("processes", by="tenant")
def hopper(tenant: Tenant) -> Marks:
    """A process with a new id all the time, never the one just listed."""

    def hop() -> None:
        end = time.monotonic() + kernel.LIFETIME_S
        while time.monotonic() < end:
            if os.fork():
                os._exit(0)
            time.sleep(0.004)

    return running(tenant, "t-hopper", hop)


@trap("processes", by="tenant")
def double_forked(tenant: Tenant) -> Marks:
    """A daemon, away from any session and terminal."""
    return running(tenant, "t-daemon")


@trap("processes", by="tenant")
def fake_name(tenant: Tenant) -> Marks:
    """Looks like a kernel thread in ps."""

    def pretend(ready: Callable[[], None]) -> None:
        shutil.copy(need_tool("sleep"), ".kworker-0-1")
        kernel.call_name("kworker/0:1")
        ready()
        os.execv(".kworker-0-1", ["[kworker/0:1]", str(kernel.LIFETIME_S)])

    kernel.start_as(tenant.who, pretend)
    return ["kworker"]


@trap("processes", by="tenant")
def foreign_name(tenant: Tenant) -> Marks:
    """Looks like the system's own sshd."""
    return running(tenant, "sshd: root@pts")


@trap("processes", by="tenant")
def stopped(tenant: Tenant) -> Marks:
    """Stopped: it takes no signal but SIGKILL and SIGCONT."""
    return running(tenant, "t-stopped", lambda: (os.kill(os.getpid(), signal.SIGSTOP), kernel.sleep_on())[1])


@trap("processes", by="tenant")
def deaf(tenant: Tenant) -> Marks:
    """Ignores every signal that can be ignored."""

    def ignore() -> None:
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_IGN)
        kernel.sleep_on()

    return running(tenant, "t-deaf", ignore)


@trap("processes", by="tenant")
def setuid_program(tenant: Tenant) -> Marks:
    """`su` waiting for a password: root's effective uid, the tenant's real one."""
    program = need_tool("su")

    def ask(ready: Callable[[], None]) -> None:
        reader, _writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.dup2(reader, 0)
            os.execv(program, ["su", "--command", "true", "nobody"])
        kernel.call_name("t-su-parent")
        time.sleep(0.2)
        if os.waitpid(child, os.WNOHANG)[0]:
            raise Skip("su does not wait for a password")
        ready()
        kernel.sleep_on()

    kernel.start_as(tenant.who, ask)
    return ["(su)"]


@trap("processes")
def setuid_child(tenant: Tenant) -> Marks:
    """Started from a setuid file that is gone since: every uid but the real one is root's."""
    place = Path("/usr/local/bin/t-napper")
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(need_tool("sleep"), place)
    place.chmod(0o4755)

    def nap(ready: Callable[[], None]) -> None:
        child = os.fork()
        if child == 0:
            os.execv(str(place), ["t-napper", str(kernel.LIFETIME_S)])
        time.sleep(0.1)
        ready()

    try:
        kernel.start_as(tenant.who, nap)
    finally:
        place.unlink()
    return ["t-napper"]


@trap("processes")
def saved_uid(tenant: Tenant) -> Marks:
    """Runs as nobody and can become the tenant again: only the saved uid tells."""

    def change(ready: Callable[[], None]) -> None:
        nobody = pwd.getpwnam("nobody")
        os.setgroups([])
        os.setresgid(nobody.pw_gid, nobody.pw_gid, nobody.pw_gid)
        os.setresuid(nobody.pw_uid, nobody.pw_uid, tenant.uid)
        kernel.call_name("t-saved")
        ready()
        kernel.sleep_on()

    kernel.start_as(kernel.ROOT, change)
    return ["t-saved"]


@trap("processes")
def by_group(tenant: Tenant) -> Marks:
    """Runs as nobody with the tenant's group."""
    nobody = pwd.getpwnam("nobody")

    def work(ready: Callable[[], None]) -> None:
        kernel.call_name("t-group")
        ready()
        kernel.sleep_on()

    kernel.start_as(kernel.Who(nobody.pw_uid, nobody.pw_gid, (tenant.gid,)), work)
    return ["t-group"]


@trap("processes")
def sub_uid(tenant: Tenant) -> Marks:
    """Runs under a subordinate uid, as in a container without root."""
    if tenant.sub is None:
        raise Skip("no subordinate uids")

    def work(ready: Callable[[], None]) -> None:
        kernel.call_name("t-sub")
        ready()
        kernel.sleep_on()

    kernel.start_as(kernel.Who(tenant.sub + 33, tenant.sub + 33), work)
    return ["t-sub"]


@trap("processes")
def own_namespaces(tenant: Tenant) -> Marks:
    """A container of his own: user, mount, process, network and IPC namespaces, with a file system in it."""
    pid, finish = _namespaced(tenant, "t-container")
    ids = f"0 {tenant.uid} 1\n" + ("" if tenant.sub is None else f"1 {tenant.sub} 1000\n")
    try:
        Path(f"/proc/{pid}/setgroups").write_text("deny")
        Path(f"/proc/{pid}/uid_map").write_text(ids)
        Path(f"/proc/{pid}/gid_map").write_text(f"0 {tenant.gid} 1\n")
    except OSError as error:
        raise Skip(f"no map of uids can be written: {error}") from error
    finally:
        finish()
    return ["t-container"]


def _namespaced(tenant: Tenant, name: str) -> tuple[int, Callable[[], None]]:
    """Start a process of the tenant in a user namespace; it goes on when told to."""
    reader, writer = os.pipe()
    flags = kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWPID

    def work(ready: Callable[[], None]) -> None:
        os.close(writer)
        kernel.call_name(name)
        try:
            kernel.unshare(flags)
        except OSError as error:
            raise Skip(f"no user namespaces for ordinary users: {error}") from error
        ready()
        os.read(reader, 1)
        with contextlib.suppress(OSError):
            kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
            kernel.mount("hidden", "/mnt", "tmpfs")
            Path("/mnt/file").write_text("only in this namespace\n")
        os.fork()  # the first process of the new process namespace
        kernel.sleep_on()

    pid = kernel.start_as(tenant.who, work)
    os.close(reader)
    return pid, lambda: os.close(writer)


@trap("processes", by="tenant")
def leader_ended(tenant: Tenant) -> Marks:
    """Its first thread has ended, so that it looks like a zombie; another thread lives."""

    def work() -> None:
        threading.Thread(target=time.sleep, args=(kernel.LIFETIME_S,)).start()
        ctypes.CDLL(None).pthread_exit(None)

    return running(tenant, "t-headless", work)


@trap("processes")
def login_uid(tenant: Tenant) -> Marks:
    """Root by every uid, started from the tenant's session: only the audit's login uid tells."""
    if not Path("/proc/self/loginuid").exists():
        raise Skip("the kernel has no login uids")

    def work(ready: Callable[[], None]) -> None:
        try:
            Path("/proc/self/loginuid").write_text(str(tenant.uid))
        except OSError as error:
            raise Skip(f"the login uid cannot be set: {error}") from error
        kernel.call_name("t-login")
        ready()
        kernel.sleep_on()

    kernel.start_as(kernel.ROOT, work)
    return ["t-login"]


@trap("processes", by="tenant")
def listener(tenant: Tenant) -> Marks:
    """Listens on TCP, on an abstract socket and on one in /tmp."""

    def work() -> None:
        held = [socket.socket(), socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)]
        held[0].bind(("127.0.0.1", 0))
        held[1].bind(f"\0t-{tenant.uid}-{os.getpid()}")
        held[2].bind(f"/tmp/t-{tenant.uid}-{os.getpid()}.sock")
        for one in held:
            one.listen()
        kernel.sleep_on()

    return running(tenant, "t-listener", work)


@trap("open_files", by="tenant")
def deleted_open_file(tenant: Tenant) -> Marks:
    """A file without a name, held open, and one in memory."""

    def work(ready: Callable[[], None]) -> None:
        kernel.call_name("t-holder")
        held = [os.open("t-deleted-open", os.O_RDWR | os.O_CREAT), os.memfd_create("t-memfd")]
        Path("t-deleted-open").unlink()
        for one in held:
            os.write(one, b"still here\n")
        ready()
        kernel.sleep_on()

    kernel.start_as(tenant.who, work)
    return ["t-deleted-open", "t-memfd"]


@trap("open_files", stubborn=True)
def deleted_file_held_by_another(tenant: Tenant) -> Marks:
    """The same held by a process of nobody's; killing that would harm somebody else."""
    path = tenant.at("t-given-open")
    tenant.write(path)
    nobody = pwd.getpwnam("nobody")
    held = os.open(path, os.O_RDONLY)

    def work(ready: Callable[[], None]) -> None:
        kernel.call_name("innocent")
        ready()
        kernel.sleep_on()

    kernel.start_as(kernel.Who(nobody.pw_uid, nobody.pw_gid), work)
    os.close(held)
    tenant.do(Path(path).unlink)
    return ["t-given-open"]


# --- schedules -------------------------------------------------------------------------------------------------------


@trap("schedules", by="tenant")
def crontab(tenant: Tenant) -> Marks:
    """His crontab."""
    place = need_directory("/var/spool/cron/crontabs", "/var/spool/cron")
    text = f"* * * * * {tenant.home}/back\n"
    program = shutil.which("crontab")
    if program is not None:
        tenant.do(lambda: subprocess.run([program, "-"], input=text.encode(), check=True, capture_output=True) and None)
    else:
        os.chown(root_file(f"{place}/{tenant.name}", text, 0o600), tenant.uid, Path(place).stat().st_gid)
    return [f"{place}/{tenant.name}"]


@trap("schedules")
def cron_d(tenant: Tenant) -> Marks:
    """A system crontab of his own."""
    path = f"{need_directory('/etc/cron.d')}/t-backup"
    root_file(path, f"SHELL=/bin/sh\n*/5 * * * * {tenant.name} /bin/true\n")
    return [path]


@trap("schedules")
def cron_d_shared(tenant: Tenant) -> Marks:
    """A line of his between root's."""
    path = f"{need_directory('/etc/cron.d')}/t-shared"
    root_file(path, f"1 1 * * * root /bin/true\n2 2 * * *\t{tenant.name}\t/bin/true\n@daily root /bin/true\n")
    return [path]


@trap("schedules")
def cron_d_home_program(tenant: Tenant) -> Marks:
    """Root runs a program out of his home: whoever has the path next has root."""
    path = f"{need_directory('/etc/cron.d')}/t-program"
    root_file(path, f"3 3 * * * root {tenant.home}/bin/report\n")
    return [path]


@trap("schedules")
def etc_crontab(tenant: Tenant) -> Marks:
    """A line in the system's crontab."""
    add_line("/etc/crontab", f"4 4 * * * {tenant.name} /bin/true")
    return ["/etc/crontab"]


@trap("schedules", by="tenant")
def at_job(tenant: Tenant) -> Marks:
    """A job for later; nothing but its owner says whose it is."""
    place = need_directory("/var/spool/cron/atjobs", "/var/spool/at")
    path = f"{place}/a{tenant.uid % 0xFFFFF:05x}0fffffff"
    body = (
        f"#!/bin/sh\n# atrun uid={tenant.uid} gid={tenant.gid}\n# mail {tenant.name} 0\numask 22\n{tenant.home}/back\n"
    )
    os.chown(root_file(path, body, 0o700), tenant.uid, Path(place).stat().st_gid)
    return [path]


@trap("schedules")
def linger(tenant: Tenant) -> Marks:
    """His user manager starts at boot, without a log-in."""
    if Path("/run/systemd/system").is_dir():
        subprocess.run(["loginctl", "enable-linger", tenant.name], check=False, capture_output=True)
    path = f"{need_directory('/var/lib/systemd/linger')}/{tenant.name}"
    Path(path).touch()
    return [path]


@trap("home", by="tenant")
def user_unit(tenant: Tenant) -> Marks:
    """A service of his user manager."""
    unit = ".config/systemd/user/t-back.service"
    tenant.write(unit, "[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=default.target\n")
    wants = Path(tenant.at(".config/systemd/user/default.target.wants"))
    tenant.do(lambda: (wants.mkdir(parents=True), (wants / "t-back.service").symlink_to("../t-back.service"))[1])
    return [tenant.at(".config")]


def _unit(name: str, text: str, wanted_by: str | None = None) -> Marks:
    place = need_directory("/etc/systemd/system")
    path = root_file(f"{place}/{name}", text)
    if wanted_by is not None:
        wants = Path(f"{place}/{wanted_by}.wants")
        wants.mkdir(exist_ok=True)
        (wants / name).symlink_to(path)
    if Path("/run/systemd/system").is_dir():
        subprocess.run(["systemctl", "daemon-reload"], check=False, capture_output=True)
        if wanted_by is not None:
            subprocess.run(["systemctl", "start", "--no-block", name], check=False, capture_output=True)
    return [path]


@trap("schedules")
def system_unit(tenant: Tenant) -> Marks:
    """A system service that runs as him, enabled."""
    text = f"[Service]\nUser={tenant.name}\nExecStart=/bin/sleep 1000\nRestart=always\n"
    return _unit("t-service.service", text, "multi-user.target")


@trap("schedules")
def system_unit_by_uid(tenant: Tenant) -> Marks:
    """The same by number: it outlives the name."""
    return _unit("t-numbered.service", f"[Service]\nUser={tenant.uid}\nExecStart=/bin/sleep 1000\n")


@trap("schedules")
def timer(tenant: Tenant) -> Marks:
    """A timer whose service runs as him."""
    service = _unit("t-timed.service", f"[Service]\nType=oneshot\nUser={tenant.name}\nExecStart=/bin/true\n")
    _unit("t-timed.timer", "[Timer]\nOnActiveSec=60\nUnit=t-timed.service\n", "timers.target")
    return service


@trap("schedules")
def unit_with_home_program(tenant: Tenant) -> Marks:
    """Root runs a program out of his home at boot."""
    return _unit("t-program.service", f"[Service]\nExecStart={tenant.home}/bin/daemon\n", "multi-user.target")


@trap("schedules")
def drop_in(tenant: Tenant) -> Marks:
    """Another service made his by a drop-in."""
    place = need_directory("/etc/systemd/system")
    return [root_file(f"{place}/t-other.service.d/override.conf", f"[Service]\nUser={tenant.name}\n")]


@trap("schedules", beyond=True)
def slice_of_his(tenant: Tenant) -> Marks:
    """Resource settings of his uid's slice, given to whoever has the uid next."""
    place = need_directory("/etc/systemd/system")
    return [root_file(f"{place}/user-{tenant.uid}.slice.d/50-memory.conf", "[Slice]\nMemoryMax=infinity\n")]


# --- keys ------------------------------------------------------------------------------------------------------------


@trap("keys", by="tenant")
def own_keys(tenant: Tenant) -> Marks:
    """The same key once more in his own file, with options."""
    path = Path(tenant.at(".ssh/authorized_keys"))
    before = path.read_text()
    tenant.do(lambda: path.write_text(f'{before.rstrip()}\nfrom="*",no-pty {tenant.key}\n') and None)
    return [str(path)]


@trap("home", by="tenant")
def keys_pipe(tenant: Tenant) -> Marks:
    """His second file is a pipe: reading it waits for ever."""
    tenant.do(lambda: os.mkfifo(".ssh/authorized_keys2"))
    return [tenant.at(".ssh")]


@trap("keys", by="tenant")
def own_keys_of_his_own(tenant: Tenant) -> Marks:
    """A key that the platform never saw, in his own file; without a newline at the end."""
    path = Path(tenant.at(".ssh/authorized_keys"))
    before = path.read_text()
    blob = "AAAAC3NzaC1lZDI1NTE5AAAAI" + "M" * 42 + "A"
    tenant.do(lambda: path.write_text(f"{before.rstrip()}\nssh-ed25519 {blob} second") and None)
    return [str(path)]


@trap("keys", by="tenant")
def admins_key_copied(tenant: Tenant) -> Marks:
    """The administrator's public key in the tenant's file: removing it everywhere locks the administrator out."""
    own = Path(tenant.at(".ssh/authorized_keys"))
    admins = [line for line in kernel.system_lines("/root/.ssh/authorized_keys") if tenant.blob not in line]
    if not admins:
        raise Skip("root has no keys")
    before = own.read_text()
    tenant.do(lambda: own.write_text(f"{before.rstrip()}\n{admins[0]}\n") and None)
    return [str(own)]


@trap("home", by="tenant")
def keys_symlink(tenant: Tenant) -> Marks:
    """A link in his own .ssh leads to root's keys: following it destroys those."""
    tenant.do(lambda: Path(".ssh/authorized_keys.d").symlink_to("/root/.ssh/authorized_keys"))
    return [tenant.at(".ssh")]


def _others_keys(path: str, owner: tuple[int, int], line: str) -> Marks:
    held = Path(path)
    if not held.parent.is_dir():
        held.parent.mkdir(mode=0o700)
        os.chown(held.parent, *owner)
    before = held.read_text() if held.exists() else ""
    held.write_text(before + line + "\n")
    os.chown(held, *owner)
    held.chmod(0o600)
    return [path]


@trap("keys")
def neighbours_keys(tenant: Tenant) -> Marks:
    """His key in another user's file."""
    if tenant.neighbour is None:
        raise Skip("no neighbour")
    return _others_keys(f"{tenant.others()}/.ssh/authorized_keys", tenant.another(), tenant.key)


@trap("keys")
def neighbours_second_keys(tenant: Tenant) -> Marks:
    """The same in the other user's second file, with options and CRLF."""
    if tenant.neighbour is None:
        raise Skip("no neighbour")
    line = f'command="echo \\"a b\\"",no-pty {tenant.key}\r'
    return _others_keys(f"{tenant.others()}/.ssh/authorized_keys2", tenant.another(), line)


@trap("keys")
def roots_keys(tenant: Tenant) -> Marks:
    """His key in root's file."""
    return _others_keys("/root/.ssh/authorized_keys", (0, 0), tenant.key)


@trap("keys")
def roots_second_keys(tenant: Tenant) -> Marks:
    """His key in root's second file, with options and indented."""
    line = f'  environment="A=ssh-ed25519 x",from="10.0.0.0/8,::1" {tenant.key.split()[0]}\t{tenant.blob}'
    return _others_keys("/root/.ssh/authorized_keys2", (0, 0), line)


@trap("keys")
def certificate_authority(tenant: Tenant) -> Marks:
    """His key signs certificates that root's file accepts."""
    path = "/root/.ssh/authorized_keys"
    return _others_keys(path, (0, 0), f'cert-authority,principals="root" {tenant.key}')


def _sshd(name: str, text: str) -> None:
    """Add to sshd's settings, where its main file reads the directory."""
    main = need_file("/etc/ssh/sshd_config")
    place = need_directory("/etc/ssh/sshd_config.d")
    if "sshd_config.d" not in main.read_text():
        raise Skip("sshd does not read sshd_config.d")
    root_file(f"{place}/{name}", text)


@trap("keys")
def keys_elsewhere(tenant: Tenant) -> Marks:
    """AuthorizedKeysFile points out of the homes, and root's file there has his key."""
    files = ".ssh/authorized_keys .ssh/authorized_keys2 /etc/ssh/t-keys/%u"
    _sshd("10-t-keys.conf", f"AuthorizedKeysFile {files}\n")
    return [root_file("/etc/ssh/t-keys/root", f"{tenant.key}\n")]


@trap("keys")
def keys_in_match_block(tenant: Tenant) -> Marks:
    """Another place for one user only."""
    user = tenant.neighbour or "nobody"
    _sshd("60-t-match.conf", f"Match User {user}\n    AuthorizedKeysFile /etc/t-match/{user}.keys\n")
    return [root_file(f"/etc/t-match/{user}.keys", f"restrict,pty {tenant.key}\n")]


@trap("keys")
def keys_command(tenant: Tenant) -> Marks:
    """AuthorizedKeysCommand prints his key for everybody."""
    path = "/usr/local/sbin/t-keys"
    _sshd("20-t-command.conf", f"AuthorizedKeysCommand {path} %u\nAuthorizedKeysCommandUser nobody\n")
    return [root_file(path, f"#!/bin/sh\ncat <<'END'\n{tenant.key}\nEND\n", 0o755)]


@trap("keys")
def trusted_authority(tenant: Tenant) -> Marks:
    """TrustedUserCAKeys: his key signs certificates for any account."""
    _sshd("30-t-authority.conf", "TrustedUserCAKeys /etc/ssh/t-authorities.pub\n")
    return [root_file("/etc/ssh/t-authorities.pub", f"{tenant.key}\n")]


# --- privileges and the account --------------------------------------------------------------------------------------


@trap("privileges")
def sudoers_file(tenant: Tenant) -> Marks:
    """A sudoers file of his own."""
    path = f"{need_directory('/etc/sudoers.d')}/t-own"
    return [root_file(path, f"{tenant.name} ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440)]


@trap("privileges")
def sudoers_by_uid(tenant: Tenant) -> Marks:
    """By number: looks like a comment, and is none."""
    path = f"{need_directory('/etc/sudoers.d')}/t-number"
    return [root_file(path, f"#{tenant.uid} ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440)]


@trap("privileges")
def sudoers_shared(tenant: Tenant) -> Marks:
    """One of several names in an alias."""
    path = f"{need_directory('/etc/sudoers.d')}/t-alias"
    other = tenant.neighbour or "nobody"
    return [root_file(path, f"User_Alias T_OPERATORS = {other}, {tenant.name}\nT_OPERATORS ALL=/bin/true\n", 0o440)]


@trap("privileges")
def sudoers_main(tenant: Tenant) -> Marks:
    """A line in sudoers itself."""
    add_line("/etc/sudoers", f"{tenant.name} ALL=(root) NOPASSWD: /bin/true")
    return ["/etc/sudoers"]


@trap("privileges")
def doas(tenant: Tenant) -> Marks:
    """The same for doas."""
    add_line("/etc/doas.conf", f"permit nopass {tenant.name} as root")
    return ["/etc/doas.conf"]


@trap("privileges")
def polkit_rule(tenant: Tenant) -> Marks:
    """A polkit rule that says yes to him."""
    path = f"{need_directory('/etc/polkit-1/rules.d')}/10-t-yes.rules"
    yes = "return polkit.Result.YES;"
    return [root_file(path, f'polkit.addRule(function(a, s) {{ if (s.user == "{tenant.name}") {{ {yes} }} }});\n')]


@trap("privileges")
def limits(tenant: Tenant) -> Marks:
    """Limits for his name, his group and his uid."""
    path = f"{need_directory('/etc/security/limits.d')}/t-limits.conf"
    rows = f"{tenant.name} hard nofile 1048576\n@{tenant.name} - rtprio 99\n{tenant.uid}: - nice -20\n"
    return [root_file(path, rows)]


@trap("privileges")
def access_conf(tenant: Tenant) -> Marks:
    """May log in from anywhere."""
    add_line("/etc/security/access.conf", f"+:{tenant.name}:ALL")
    return ["/etc/security/access.conf"]


@trap("privileges")
def groups(tenant: Tenant) -> Marks:
    """Member of groups that amount to root, beside others."""
    added = []
    for name in ("disk", "docker", "sudo", "lxd"):
        if any(line.startswith(f"{name}:") for line in kernel.system_lines("/etc/group")):
            members = [*grp.getgrnam(name).gr_mem, tenant.name]
            _replace_members(name, members)
            added.append(f"/etc/group: {name}")
    if not added:
        raise Skip("no such groups")
    return added


def _replace_members(group: str, members: Sequence[str]) -> None:
    """In group and gshadow; done by hand, as hostile tools do, so no backup is made."""
    for path in ("/etc/group", "/etc/gshadow"):
        lines = kernel.system_lines(path)
        rows = [
            line.rsplit(":", 1)[0] + ":" + ",".join(members) if line.startswith(f"{group}:") else line for line in lines
        ]
        if lines:
            Path(path).write_text("\n".join(rows) + "\n")


@trap("privileges")
def group_administrator(tenant: Tenant) -> Marks:
    """Administrator of a group: may add whom he likes."""
    lines = kernel.system_lines("/etc/gshadow")
    if not lines:
        raise Skip("no /etc/gshadow")
    rows = [line.split(":") for line in lines]
    for row in rows:
        if row[0] == "staff":
            row[2] = tenant.name
    Path("/etc/gshadow").write_text("\n".join(map(":".join, rows)) + "\n")
    return ["/etc/gshadow: staff"]


@trap("privileges")
def sub_ranges(tenant: Tenant) -> Marks:
    """More subordinate ids, by name and by number."""
    for path in ("/etc/subuid", "/etc/subgid"):
        add_line(path, f"{tenant.name}:{1_700_000_000 + tenant.uid * 10}:5")
        add_line(path, f"{tenant.uid}:{1_700_000_005 + tenant.uid * 10}:5")
    return ["/etc/subuid", "/etc/subgid"]


@trap("privileges")
def backups(tenant: Tenant) -> Marks:
    """The account's rows in the backups that the account tools leave."""
    for name, mode in (("passwd", 0o644), ("shadow", 0o640), ("group", 0o644), ("gshadow", 0o640)):
        shutil.copy(need_file(f"/etc/{name}"), f"/etc/{name}-")
        Path(f"/etc/{name}-").chmod(mode)
    return ["/etc/passwd-", "/etc/shadow-", "/etc/group-"]


@trap("privileges", beyond=True)
def nightly_backups(tenant: Tenant) -> Marks:
    """The same in the distribution's nightly backups."""
    place = need_directory("/var/backups")
    for name in ("passwd", "shadow", "group", "gshadow"):
        shutil.copy(need_file(f"/etc/{name}"), f"{place}/{name}.bak")
        Path(f"{place}/{name}.bak").chmod(0o600)
    return [f"{place}/passwd.bak", f"{place}/shadow.bak"]


@trap("privileges")
def old_passwords(tenant: Tenant) -> Marks:
    """His old passwords, kept by PAM."""
    add_line("/etc/security/opasswd", f"{tenant.name}:{tenant.uid}:1:$6$x$y")
    return ["/etc/security/opasswd"]


@trap("privileges")
def sudo_timestamp(tenant: Tenant) -> Marks:
    """Sudo still believes him, by name and by uid."""
    place = need_directory("/run/sudo/ts", "/var/lib/sudo/ts")
    for name in (tenant.name, str(tenant.uid)):
        root_file(f"{place}/{name}", "\x02\x00 \x00", 0o600)
        os.chown(f"{place}/{name}", 0, tenant.gid)
    return [f"{place}/{tenant.name}", f"{place}/{tenant.uid}"]


@trap("privileges")
def sudo_lecture(tenant: Tenant) -> Marks:
    """Sudo has lectured him."""
    path = f"{need_directory('/var/lib/sudo/lectured')}/{tenant.name}"
    Path(path).touch()
    return [path]


@trap("privileges")
def failed_logins(tenant: Tenant) -> Marks:
    """His failed log-ins: the next one of that name starts locked."""
    path = f"{need_directory('/run/faillock', '/var/run/faillock')}/{tenant.name}"
    root_file(path, "x" * 64, 0o600)
    return [path]


@trap("privileges")
def accounts_service(tenant: Tenant) -> Marks:
    """The display manager's record of him, with a picture."""
    place = need_directory("/var/lib/AccountsService/users")
    icons = f"/var/lib/AccountsService/icons/{tenant.name}"
    root_file(icons, "picture")
    return [root_file(f"{place}/{tenant.name}", "[User]\nSystemAccount=false\n", 0o600), icons]


@trap("privileges", beyond=True)
def allowed_by_sshd(tenant: Tenant) -> Marks:
    """One of those who may log in."""
    _sshd("40-t-allow.conf", f"AllowUsers root {tenant.name} {tenant.neighbour or 'nobody'}\n")
    return ["/etc/ssh/sshd_config.d/40-t-allow.conf"]


@trap("privileges", beyond=True)
def allowed_by_cron(tenant: Tenant) -> Marks:
    """One of those who may have a crontab."""
    need_directory("/etc/cron.d")
    return [root_file("/etc/cron.allow", f"root\n{tenant.name}\n")]


@trap("account", beyond=True)
def comes_back_at_boot(tenant: Tenant) -> Marks:
    """systemd-sysusers makes the account again, with his uid."""
    need_tool("systemd-sysusers")
    return [root_file("/etc/sysusers.d/t-back.conf", f'u {tenant.name} {tenant.uid} "Back" {tenant.home} /bin/sh\n')]


@trap("traces", beyond=True)
def made_at_boot(tenant: Tenant) -> Marks:
    """systemd-tmpfiles makes a directory of his, by uid."""
    place = need_directory("/etc/tmpfiles.d")
    return [root_file(f"{place}/t-again.conf", f"d /run/t-again 0700 {tenant.uid} {tenant.gid} -\n")]


# --- files elsewhere -------------------------------------------------------------------------------------------------


def _file_in(place: str) -> Callable[[Tenant], Marks]:
    def plant(tenant: Tenant) -> Marks:
        need_directory(place)
        top = f"{place}/t-{tenant.uid}"
        if Path(place).stat().st_mode & 0o002:
            tenant.write(f"{top}/a/b/file")
        else:
            root_file(f"{top}/a/b/file", "the tenant's\n")
            for path in (top, f"{top}/a", f"{top}/a/b", f"{top}/a/b/file"):
                os.chown(path, tenant.uid, tenant.gid)
        return [f"{top}/a/b/file"]

    return plant


for _place, _by in (
    ("/tmp", "tenant"), ("/var/tmp", "tenant"), ("/dev/shm", "tenant"), ("/var/spool", "root"), ("/opt", "root"),
    ("/srv", "root"), ("/usr/local", "root"), ("/root", "root"), ("/etc", "root"), ("/var/lib", "root"),
    ("/run", "root"), ("/run/lock", "tenant"), ("/var/log", "root"), ("/dev", "root"),
):  # fmt: skip
    _plant = _file_in(_place)
    _plant.__name__ = "files_in" + _place.replace("/", "_")
    _plant.__doc__ = f"A tree of his in {_place}."
    trap("files", by=_by)(_plant)


@trap("runtime")
def run_user(tenant: Tenant) -> Marks:
    """His run-time directory, left when his session ended badly."""
    need_directory("/run/user")
    path = Path(f"/run/user/{tenant.uid}")
    path.mkdir(mode=0o700, exist_ok=True)
    os.chown(path, tenant.uid, tenant.gid)
    tenant.write(f"{path}/bus-file")
    return [str(path)]


@trap("mail")
def mailbox(tenant: Tenant) -> Marks:
    """His mail."""
    path = root_file(f"{need_directory('/var/mail', '/var/spool/mail')}/{tenant.name}", "From x\n\nmail\n", 0o660)
    os.chown(path, tenant.uid, Path(path).parent.stat().st_gid)
    return [path]


@trap("mail", beyond=True)
def mail_of_roots(tenant: Tenant) -> Marks:
    """His mail, in a lock and a copy that belong to root."""
    return [root_file(f"{need_directory('/var/mail', '/var/spool/mail')}/{tenant.name}.lock", "1\n", 0o600)]


@trap("files", by="tenant")
def in_neighbours_directory(tenant: Tenant) -> Marks:
    """A file of his in a directory of somebody else's that all may write to."""
    place = Path(f"/srv/t-drop-{tenant.uid}")
    place.mkdir(parents=True)
    os.chown(place, *tenant.another())
    place.chmod(0o1777)
    return [tenant.write(f"{place}/t-dropped")]


@trap("files")
def by_sub_uid(tenant: Tenant) -> Marks:
    """Files under subordinate uids, as a container without root leaves them."""
    if tenant.sub is None:
        raise Skip("no subordinate uids")
    top = f"/var/tmp/t-layers-{tenant.uid}"
    root_file(f"{top}/layer/etc/passwd", "root:x:0:0::/:/bin/sh\n")
    for number, path in enumerate((top, f"{top}/layer", f"{top}/layer/etc", f"{top}/layer/etc/passwd")):
        os.chown(path, tenant.sub + number, tenant.sub + number)
    return [f"{top}/layer/etc/passwd"]


@trap("files", by="tenant")
def links_elsewhere(tenant: Tenant) -> Marks:
    """Symbolic links of his, to everywhere."""
    for number, target in enumerate(("/", "/etc/shadow", tenant.others(), "no/where")):
        tenant.do(lambda target=target, number=number: Path(f"/tmp/t-link{number}-{tenant.uid}").symlink_to(target))
    return [f"/tmp/t-link0-{tenant.uid}", f"/tmp/t-link3-{tenant.uid}"]


@trap("files", by="tenant")
def odd_names_elsewhere(tenant: Tenant) -> Marks:
    """Names that break scripts, in /tmp."""
    top = f"/tmp/t-odd-{tenant.uid}"
    tenant.do(lambda: _odd_names(top))
    return [f"{top}/-rf", f"{top}/new\\nline", f"{top}/\\xff\\xfe"]


@trap("files", by="tenant")
def deep_elsewhere(tenant: Tenant) -> Marks:
    """Thousands of levels in /var/tmp: the path is longer than a path may be."""
    top = f"/var/tmp/t-deep-{tenant.uid}"
    tenant.do(lambda: _deep(top, max(2, tenant.levels // 4)))
    return [top]


@trap("files")
def second_disk(tenant: Tenant) -> Marks:
    """Files on a file system of its own."""
    point = f"/mnt/t-disk-{tenant.uid}"
    Path(point).mkdir(parents=True)
    image = f"/var/t-disk-{tenant.uid}.img"
    with _made_ext4(image):
        _loop_mount(image, point)
    Path(image).unlink()
    Path(point).chmod(0o1777)
    return [tenant.write(f"{point}/deeper/file")]


@trap("hidden_files")
def under_a_mount(tenant: Tenant) -> Marks:
    """Files in a directory that was mounted over since."""
    place = f"{need_directory('/srv')}/t-covered-{tenant.uid}"
    path = root_file(f"{place}/file", "hidden\n")
    os.chown(path, tenant.uid, tenant.gid)
    kernel.mount("cover", place, "tmpfs", 0, "size=64k")
    return [path]


@trap("hidden_files")
def under_two_mounts(tenant: Tenant) -> Marks:
    """Files in a mounted file system that another was stacked on."""
    place = f"/mnt/t-stack-{tenant.uid}"
    Path(place).mkdir(parents=True)
    kernel.mount("lower", place, "tmpfs", 0, "size=64k,mode=1777")
    path = tenant.write(f"{place}/file")
    kernel.mount("upper", place, "tmpfs", 0, "size=64k")
    return [path]


@trap("group_files")
def by_group_only(tenant: Tenant) -> Marks:
    """Others' files with his group, and a directory that gives it to new files."""
    place = Path(f"/var/tmp/t-shared-{tenant.uid}")
    place.mkdir()
    (place / "file").write_text("the neighbour's\n")
    for path, mode in ((place, 0o2775), (place / "file", 0o664)):
        os.chown(path, tenant.another()[0], tenant.gid)
        path.chmod(mode)
    return [str(place), f"{place}/file"]


@trap("acl")
def acl_entries(tenant: Tenant) -> Marks:
    """Somebody else's file and directory that he may use by ACL; the directory passes it on."""
    place = Path(f"/var/tmp/t-acl-{tenant.uid}")
    place.mkdir()
    (place / "file").write_text("the neighbour's\n")
    his = (kernel.ACL_USER, 7, tenant.uid)
    other = (kernel.ACL_USER, 5, tenant.another()[0])
    try:
        os.setxattr(place, "system.posix_acl_access", kernel.acl(his, other))
        os.setxattr(place, "system.posix_acl_default", kernel.acl(his, other))
        os.setxattr(place / "file", "system.posix_acl_access", kernel.acl(his, other))
    except OSError as error:
        raise Skip(f"no ACLs here: {error}") from error
    return [str(place), f"{place}/file"]


@trap("acl")
def acl_of_group(tenant: Tenant) -> Marks:
    """The same by his group."""
    path = root_file(f"/var/tmp/t-acl-group-{tenant.uid}", "root's\n")
    try:
        os.setxattr(path, "system.posix_acl_access", kernel.acl((kernel.ACL_GROUP, 6, tenant.gid)))
    except OSError as error:
        raise Skip(f"no ACLs here: {error}") from error
    return [path]


@trap("setuid", by="tenant")
def setuid_files(tenant: Tenant) -> Marks:
    """Whoever runs it becomes the tenant, or whoever has his uid next."""

    def work() -> None:
        shutil.copy(need_tool("true"), f"/var/tmp/t-suid-{tenant.uid}")
        Path(f"/var/tmp/t-suid-{tenant.uid}").chmod(0o6755)

    tenant.do(work)
    return [f"/var/tmp/t-suid-{tenant.uid}"]


@trap("setuid")
def capability_file(tenant: Tenant) -> Marks:
    """A program of his with a capability."""
    path = f"/var/tmp/t-capable-{tenant.uid}"
    tenant.do(lambda: shutil.copy(need_tool("true"), path) and None)
    os.setxattr(path, "security.capability", b"\x01\x00\x00\x02\x00\x20\x00\x00" + b"\x00" * 12)
    return [path]


@trap("setuid")
def setuid_root_in_home(tenant: Tenant) -> Marks:
    """Root's own setuid program in the home: he had root, and nothing here proves anything any more."""
    path = tenant.at("t-rootshell")
    shutil.copy(need_tool("true"), path)
    Path(path).chmod(0o4755)
    return [path]


@trap("flags")
def locked_elsewhere(tenant: Tenant) -> Marks:
    """Immutable and append-only files and directories outside the home."""
    top = f"/var/tmp/t-locked-{tenant.uid}"
    tenant.write(f"{top}/inner/immutable")
    tenant.write(f"{top}/inner/append")
    kernel.add_flags(f"{top}/inner/immutable", kernel.IMMUTABLE)
    kernel.add_flags(f"{top}/inner/append", kernel.APPEND_ONLY)
    kernel.add_flags(f"{top}/inner", kernel.IMMUTABLE)
    return [f"{top}/inner/immutable", f"{top}/inner/append"]


@trap("hard_links")
def linked_by_others(tenant: Tenant) -> Marks:
    """Another user's second name for the tenant's file: the home goes, the file stays."""
    tenant.write("t-linked")
    path = f"/var/tmp/t-linked-{tenant.uid}"
    os.link(tenant.at("t-linked"), path)
    return [path]


# --- the home --------------------------------------------------------------------------------------------------------


@trap("flags")
def locked_in_home(tenant: Tenant) -> Marks:
    """Immutable files and an immutable directory in the home."""
    tenant.write("t-locked/immutable")
    tenant.write("t-locked/append")
    kernel.add_flags(tenant.at("t-locked/immutable"), kernel.IMMUTABLE)
    kernel.add_flags(tenant.at("t-locked/append"), kernel.APPEND_ONLY)
    kernel.add_flags(tenant.at("t-locked"), kernel.IMMUTABLE)
    return [tenant.at("t-locked/immutable"), tenant.at("t-locked")]


@trap("hard_links")
def links_to_others_files(tenant: Tenant) -> Marks:
    """Second names for others' files: writing to them or giving them away destroys those."""
    other = Path(tenant.others(), "t-original")
    if not other.exists():
        other.write_text("somebody else's\n")
        os.chown(other, *tenant.another())
    try:
        os.link(other, tenant.at("t-hard"))
    except OSError as error:
        raise Skip(f"the home is another file system: {error}") from error
    return [tenant.at("t-hard")]


@trap("home")
def foreign_owned(tenant: Tenant) -> Marks:
    """Root's and the neighbour's files and directories in the home."""
    for name, owner in (("t-roots", (0, 0)), ("t-neighbours", tenant.another())):
        path = root_file(tenant.at(f"{name}/file"), "not his\n", 0o600)
        for one in (path, tenant.at(name)):
            os.chown(one, *owner)
        Path(tenant.at(name)).chmod(0o700)
    return [tenant.at("t-roots"), tenant.at("t-neighbours")]


@trap("home", by="tenant")
def deep(tenant: Tenant) -> Marks:
    """10,000 levels: no path names the bottom, no recursion reaches it."""
    tenant.do(lambda: _deep("t-deep", tenant.levels))
    return [tenant.at("t-deep")]


def _deep(top: str, levels: int) -> None:
    Path(top).mkdir()
    os.chdir(top)
    for _ in range(levels):
        Path("d").mkdir()
        os.chdir("d")
    Path("bottom").write_text("x")


@trap("home", by="tenant")
def odd_names(tenant: Tenant) -> Marks:
    """Newline, -rf, 255 bytes, invalid UTF-8, terminal escapes, spaces."""
    tenant.do(lambda: _odd_names("t-odd"))
    return [tenant.at("t-odd")]


def _odd_names(top: str) -> None:
    Path(top).mkdir()
    names = (
        b"\xff\xfe", b"new\nline", b"-rf", b"*", b" ", b"n" * 255, b"\x1b[31mred", b"\\134", b"a\tb", b"~", b"$(id)",
        b"..\xe2\x80\xae", b"\xf0\x9f\x92\xa9", b"'\"`",
    )  # fmt: skip
    for name in names:
        Path(os.fsdecode(os.fsencode(top) + b"/" + name)).touch()


@trap("home", by="tenant")
def links_out(tenant: Tenant) -> Marks:
    """Symbolic links out of the home, to themselves and to nowhere."""
    targets = {"root": "/", "others": tenant.others(), "self": "self", "up": "..", "proc": "/proc/self/root", "x": "y"}

    def work() -> None:
        Path("t-links").mkdir()
        for name, target in targets.items():
            Path(f"t-links/{name}").symlink_to(target)

    tenant.do(work)
    return [tenant.at("t-links")]


@trap("home", by="tenant")
def pipes_and_sockets(tenant: Tenant) -> Marks:
    """Opening one of them waits for ever."""

    def work() -> None:
        Path("t-pipes").mkdir()
        os.mkfifo("t-pipes/fifo")
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("t-pipes/socket")

    tenant.do(work)
    return [tenant.at("t-pipes")]


@trap("nodes")
def devices(tenant: Tenant) -> Marks:
    """Device nodes of his: the kernel's memory, a disk, a tape that rewinds."""
    Path(tenant.at("t-nodes")).mkdir()
    for name, kind, major, minor in (("mem", 0o020000, 1, 1), ("disk", 0o060000, 7, 200), ("tape", 0o020000, 9, 0)):
        path = tenant.at(f"t-nodes/{name}")
        try:
            os.mknod(path, kind | 0o666, os.makedev(major, minor))
        except OSError as error:
            raise Skip(f"no device nodes here: {error}") from error
        os.chown(path, tenant.uid, tenant.gid)
    return [tenant.at("t-nodes/mem"), tenant.at("t-nodes/disk")]


@trap("home", by="tenant")
def sealed(tenant: Tenant) -> Marks:
    """Directories nobody may enter."""

    def work() -> None:
        Path("t-sealed/inner").mkdir(parents=True)
        Path("t-sealed/inner/file").touch()
        Path("t-sealed/inner").chmod(0)
        Path("t-sealed").chmod(0)

    tenant.do(work)
    return [tenant.at("t-sealed")]


@trap("home", by="tenant")
def sparse(tenant: Tenant) -> Marks:
    """A terabyte that takes no room: overwriting it takes all."""

    def work() -> None:
        with Path("t-sparse").open("wb") as held:
            held.truncate(1 << 40)

    try:
        tenant.do(work)
    except RuntimeError as error:
        raise Skip(f"no such large files: {error}") from error
    return [tenant.at("t-sparse")]


@trap("home", by="tenant")
def many_files(tenant: Tenant) -> Marks:
    """Many small files."""

    def work() -> None:
        for number in range(tenant.files):
            if number % 1000 == 0:
                Path(f"t-many/{number}").mkdir(parents=True)
            os.close(os.open(f"t-many/{number - number % 1000}/f{number}", os.O_WRONLY | os.O_CREAT))

    tenant.do(work)
    return [tenant.at("t-many")]


@trap("home", by="tenant")
def attributes(tenant: Tenant) -> Marks:
    """Data in extended attributes only."""
    tenant.write("t-attributes")

    def work() -> None:
        os.setxattr("t-attributes", "user.data", b"secret " * 50)

    try:
        tenant.do(work)
    except RuntimeError as error:
        raise Skip(f"no extended attributes: {error}") from error
    return [tenant.at("t-attributes")]


# --- mounts ----------------------------------------------------------------------------------------------------------


def _point(tenant: Tenant, name: str) -> str:
    tenant.do(Path(name).mkdir)
    return tenant.at(name)


@trap("mounts")
def bind_rw(tenant: Tenant) -> Marks:
    """Somebody else's directory, writable, of the same file system: st_dev does not tell."""
    point = _point(tenant, "t-bind-rw")
    kernel.mount(tenant.others(), point, "", kernel.MS_BIND)
    return [point]


@trap("mounts")
def bind_ro(tenant: Tenant) -> Marks:
    """The same, read-only: deleting fails half-way."""
    point = _point(tenant, "t-bind-ro")
    kernel.mount(tenant.others(), point, "", kernel.MS_BIND)
    kernel.mount("none", point, "", kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY)
    return [point]


@trap("mounts")
def bind_root(tenant: Tenant) -> Marks:
    """The whole root file system in the home, writable."""
    point = _point(tenant, "t-bind-root")
    kernel.mount("/", point, "", kernel.MS_BIND)
    return [point]


@trap("mounts")
def bind_with_submounts(tenant: Tenant) -> Marks:
    """/dev with all that is mounted in it."""
    point = _point(tenant, "t-bind-dev")
    kernel.mount("/dev", point, "", kernel.MS_BIND | kernel.MS_REC)
    return [point, f"{point}/shm"]


@trap("mounts")
def bind_file(tenant: Tenant) -> Marks:
    """A system file over a file of his."""
    tenant.write("t-bind-file")
    kernel.mount("/etc/passwd", tenant.at("t-bind-file"), "", kernel.MS_BIND)
    return [tenant.at("t-bind-file")]


@trap("mounts")
def bind_out(tenant: Tenant) -> Marks:
    """His directory, mounted elsewhere: emptied with the home, and still in use."""
    source = _point(tenant, "t-source")
    tenant.write("t-source/file")
    point = f"/mnt/t-out-{tenant.uid}"
    Path(point).mkdir(parents=True)
    kernel.mount(source, point, "", kernel.MS_BIND)
    return [point]


@trap("mounts")
def tmpfs_stacked(tenant: Tenant) -> Marks:
    """Three file systems on one directory, a file in each."""
    point = _point(tenant, "t-stacked")
    for _ in range(3):
        kernel.mount("t", point, "tmpfs", 0, "size=64k,mode=1777")
        tenant.write(f"{point}/file")
    return [point]


@trap("mounts")
def mount_under_a_mount(tenant: Tenant) -> Marks:
    """A mount that cannot be reached because its directory is covered."""
    inner, outer = tenant.at("t-outer/inner"), tenant.at("t-outer")
    tenant.do(lambda: Path("t-outer/inner").mkdir(parents=True))
    kernel.mount("t", inner, "tmpfs", 0, "size=64k,mode=1777")
    tenant.write(f"{inner}/file")
    kernel.mount("t", outer, "tmpfs", 0, "size=64k")
    return [inner]


@trap("mounts")
def overlay(tenant: Tenant) -> Marks:
    """An overlay whose layers lie in a mounted file system in the home."""
    point = _point(tenant, "t-overlay")
    kernel.mount("t", point, "tmpfs", 0, "size=1m,mode=0755")
    for name in ("lower", "upper", "work", "merged"):
        Path(point, name).mkdir()
    Path(point, "lower/file").write_text("lower\n")
    options = f"lowerdir={point}/lower,upperdir={point}/upper,workdir={point}/work"
    try:
        kernel.mount("t", f"{point}/merged", "overlay", 0, options)
    except OSError as error:
        kernel.umount(point)
        raise Skip(f"no overlay: {error}") from error
    Path(point, "merged/file").write_text("changed\n")
    return [f"{point}/merged"]


@trap("mounts")
def odd_mount(tenant: Tenant) -> Marks:
    """A mount point whose name breaks those who read mountinfo by words."""
    name = "t-odd mount\n\\040x"
    point = _point(tenant, name)
    kernel.mount("t", point, "tmpfs", 0, "size=64k,mode=1777")
    return ["t-odd mount\\n"]


@trap("mounts")
def proc_in_home(tenant: Tenant) -> Marks:
    """/proc in the home: deleting writes to the kernel."""
    point = _point(tenant, "t-proc")
    try:
        kernel.mount("proc", point, "proc")
    except OSError as error:
        raise Skip(f"no /proc of its own: {error}") from error
    return [point]


@trap("mounts")
def hung_fuse(tenant: Tenant) -> Marks:
    """A FUSE file system that never answers: whoever looks at it hangs."""
    if not any(line.split()[-1:] == ["fuse"] for line in kernel.system_lines("/proc/filesystems")):
        raise Skip("the kernel has no FUSE")
    if not Path("/dev/fuse").exists():
        raise Skip("no /dev/fuse")
    point = _point(tenant, "t-fuse")

    def work(ready: Callable[[], None]) -> None:
        fd = os.open("/dev/fuse", os.O_RDWR)
        kernel.mount("t", point, "fuse", 6, f"fd={fd},rootmode=40000,user_id={tenant.uid},group_id={tenant.gid}")
        kernel.become(kernel.Who(tenant.uid, tenant.gid))
        kernel.call_name("t-fuse")
        ready()
        kernel.sleep_on()

    kernel.start_as(kernel.ROOT, work)
    return [point]


@trap("mounts")
def loop_on_deleted_file(tenant: Tenant) -> Marks:
    """A disk image in the home, mounted there, its name gone."""
    point = _point(tenant, "t-loop")
    image = tenant.at("t-image")
    with _made_ext4(image):
        os.chown(image, tenant.uid, tenant.gid)
        _loop_mount(image, point)
    Path(image).unlink()
    Path(point).chmod(0o1777)
    tenant.write(f"{point}/file")
    return [point]


@contextlib.contextmanager
def _made_ext4(image: str) -> Iterator[None]:
    tool = need_tool("mkfs.ext4")
    if not Path("/dev/loop-control").exists():
        raise Skip("no loop devices")
    with Path(image).open("wb") as held:
        held.truncate(2 << 20)
    try:
        subprocess.run([tool, "-q", "-F", "-O", "^has_journal", image], check=True, capture_output=True)
        yield
    except BaseException:
        Path(image).unlink()
        raise


def _loop_mount(image: str, point: str) -> None:
    done = subprocess.run(["mount", "-o", "loop", image, point], check=False, capture_output=True)
    if done.returncode:
        raise Skip(f"no loop mount: {done.stderr.decode().strip()}")


@trap("loop")
def loop_device(tenant: Tenant) -> Marks:
    """A loop device without a mount on a file of his whose name is gone."""
    image = tenant.at("t-backing")
    _attach_loop(tenant, image)
    Path(image).unlink()
    return [image]


@trap("loop")
def loop_device_elsewhere(tenant: Tenant) -> Marks:
    """A loop device on a file of his outside the home."""
    image = f"/var/tmp/{tenant.name}-backing"
    _attach_loop(tenant, image)
    return [image]


def _attach_loop(tenant: Tenant, image: str) -> None:
    if not Path("/dev/loop-control").exists():
        raise Skip("no loop devices")
    tenant.do(lambda: Path(image).write_bytes(b"\0" * 65536) and None)
    found = subprocess.run(["losetup", "--find", "--show", image], check=False, capture_output=True, text=True)
    if found.returncode:
        raise Skip(f"no loop device: {found.stderr.strip()}")
    device = found.stdout.strip()
    if not tenant.whole_kernel:
        # Loop devices belong to the kernel: this one goes when its holder goes, so that a throw-away view leaves none.
        held = os.open(device, os.O_RDONLY)

        def work(ready: Callable[[], None]) -> None:
            kernel.call_name("t-loop-holder")
            ready()
            kernel.sleep_on()

        kernel.start_as(tenant.who, work)
        os.close(held)
        subprocess.run(["losetup", "--detach", device], check=True)


@trap("swap")
def swap_file(tenant: Tenant) -> Marks:
    """The kernel swaps to a file of his."""
    if not tenant.whole_kernel:
        raise Skip("swap is the whole kernel's, and outlives a throw-away view")
    path = tenant.at("t-swap")
    tenant.do(lambda: Path("t-swap").write_bytes(b"\0" * (1 << 20)) and None)
    Path(path).chmod(0o600)
    for argv in ([need_tool("mkswap"), path], [need_tool("swapon"), path]):
        done = subprocess.run(argv, check=False, capture_output=True, text=True)
        if done.returncode:
            raise Skip(f"no swap on this file system: {done.stderr.strip()}")
    return [path]


@trap("mounts")
def fstab(tenant: Tenant) -> Marks:
    """Mounted into his home at every boot, and a file system that is his by uid."""
    add_line("/etc/fstab", f"/srv {tenant.home}/t-srv none bind,noauto 0 0")
    add_line("/etc/fstab", f"t-tmpfs /mnt/t-again tmpfs uid={tenant.uid},noauto 0 0")
    return ["/etc/fstab", "t-tmpfs"]


@trap("mounts", stubborn=True)
def mount_in_a_services_namespace(tenant: Tenant) -> Marks:
    """A service that is not his has his directory mounted where nobody else sees it."""
    source = _point(tenant, "t-private")
    nobody = pwd.getpwnam("nobody")

    def work(ready: Callable[[], None]) -> None:
        kernel.unshare(kernel.CLONE_NEWNS)
        kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
        kernel.mount(source, "/mnt", "", kernel.MS_BIND)
        kernel.become(kernel.Who(nobody.pw_uid, nobody.pw_gid))
        kernel.call_name("service")
        ready()
        kernel.sleep_on()

    kernel.start_as(kernel.ROOT, work)
    return ["(service)"]


# --- the kernel's objects --------------------------------------------------------------------------------------------


def _shm(key: int) -> int:
    return kernel.check(kernel.libc.shmget(key, ctypes.c_size_t(4096), 0o1666), "shmget")


@trap("ipc", by="tenant")
def shared_memory(tenant: Tenant) -> Marks:
    """A System V segment."""
    return [f"shm {tenant.do(lambda: _shm(0x7A000000 + tenant.uid))} "]


@trap("ipc", by="tenant")
def shared_memory_given_away(tenant: Tenant) -> Marks:
    """A segment he made and gave to somebody else: only its creator tells."""
    other = tenant.another()

    def work() -> int:
        found = _shm(0x7B000000 + tenant.uid)
        state = (ctypes.c_uint32 * 64)()
        kernel.check(kernel.libc.shmctl(found, 2, state), "shmctl")
        state[1], state[2] = other
        kernel.check(kernel.libc.shmctl(found, 1, state), "shmctl")
        return found

    return [f"shm {tenant.do(work)} "]


@trap("ipc", by="tenant")
def semaphores(tenant: Tenant) -> Marks:
    """A System V set."""
    made = tenant.do(lambda: kernel.check(kernel.libc.semget(0x7A000000 + tenant.uid, 2, 0o1666), "semget"))
    return [f"sem {made} "]


@trap("ipc", by="tenant")
def message_queue(tenant: Tenant) -> Marks:
    """A System V queue with a message in it."""

    def work() -> int:
        made = kernel.check(kernel.libc.msgget(0x7A000000 + tenant.uid, 0o1666), "msgget")
        kernel.check(kernel.libc.msgsnd(made, b"\1\0\0\0\0\0\0\0secret", ctypes.c_size_t(6), 0), "msgsnd")
        return made

    return [f"msg {tenant.do(work)} "]


@trap("ipc", by="tenant")
def posix_queue(tenant: Tenant) -> Marks:
    """A POSIX queue."""
    name = f"/t-queue-{tenant.uid}"

    def work() -> None:
        kernel.check(kernel.libc.mq_open(name.encode(), os.O_CREAT | os.O_RDWR, 0o666, None), "mq_open")

    tenant.do(work)
    return [name]


@trap("files", by="tenant")
def posix_memory(tenant: Tenant) -> Marks:
    """A POSIX segment and a named semaphore, which are files."""
    need_directory("/dev/shm")
    tenant.write(f"/dev/shm/sem.t-{tenant.uid}")
    return [tenant.write(f"/dev/shm/t-memory-{tenant.uid}"), f"/dev/shm/sem.t-{tenant.uid}"]


@trap("keyrings", by="tenant")
def user_key(tenant: Tenant) -> Marks:
    """A key in his user keyring, which lives as long as the kernel."""
    try:
        tenant.do(lambda: kernel.add_key(f"t-key-{tenant.uid}", b"secret", kernel.USER_KEYRING))
    except RuntimeError as error:
        raise Skip(f"no keyrings: {error}") from error
    return [str(tenant.uid)]


@trap("keyrings")
def key_of_sub_uid(tenant: Tenant) -> Marks:
    """The same under a subordinate uid."""
    if tenant.sub is None:
        raise Skip("no subordinate uids")
    sub = tenant.sub + 44
    try:
        kernel.run_as(kernel.Who(sub, sub), lambda: kernel.add_key("t-key", b"secret", kernel.USER_KEYRING))
    except RuntimeError as error:
        raise Skip(f"no keyrings: {error}") from error
    return [str(sub)]


@trap("namespaces")
def network_namespace(tenant: Tenant) -> Marks:
    """A network namespace of his that lives on as a file."""
    path = f"/run/netns/t-net-{tenant.uid}"
    root_file(path, "")
    pid, finish = _namespaced(tenant, "t-net")
    try:
        kernel.mount(f"/proc/{pid}/ns/net", path, "", kernel.MS_BIND)
    finally:
        os.kill(pid, signal.SIGKILL)
        finish()
    return [path]


@trap("namespaces")
def named_network_namespace(tenant: Tenant) -> Marks:
    """One that root made for him: only its name tells."""
    done = subprocess.run([need_tool("ip"), "netns", "add", f"{tenant.name}-net"], check=False, capture_output=True)
    if done.returncode:
        raise Skip(f"no network namespaces: {done.stderr.decode().strip()}")
    return [f"/run/netns/{tenant.name}-net"]


@trap("dumps")
def core_dump(tenant: Tenant) -> Marks:
    """His memory in a file of root's; the uid is a word of its name."""
    place = need_directory("/var/lib/systemd/coredump")
    path = f"{place}/core.python3.{tenant.uid}.0123456789abcdef0123456789abcdef.4242.1700000000000000.zst"
    root_file(path, "core", 0o640)
    with contextlib.suppress(OSError):
        os.setxattr(path, "system.posix_acl_access", kernel.acl((kernel.ACL_USER, 4, tenant.uid)))
    return [path]


@trap("dumps")
def crash_report(tenant: Tenant) -> Marks:
    """The same as another distribution names it."""
    return [root_file(f"{need_directory('/var/crash')}/_usr_bin_python3.{tenant.uid}.crash", "core", 0o640)]


# --- setting them ----------------------------------------------------------------------------------------------------


def tenant_of(name: str, *, neighbour: str | None = None, **settings: Any) -> Tenant:
    """Return who that is, from the machine's own files."""
    row = pwd.getpwnam(name)
    keys = [line for line in kernel.system_lines(f"{row.pw_dir}/.ssh/authorized_keys") if line.startswith("ssh-")]
    if not keys:
        raise SystemExit(f"{name} has no key in .ssh/authorized_keys")
    ranges = [line.split(":") for line in kernel.system_lines("/etc/subuid")]
    subs = [int(start) for owner, start, _count in ranges if owner in {name, str(row.pw_uid)}]
    with contextlib.suppress(KeyError):
        neighbour = neighbour and pwd.getpwnam(neighbour).pw_name
        return Tenant(
            name, row.pw_uid, row.pw_gid, row.pw_dir, keys[0], subs[0] if subs else None, neighbour, **settings
        )
    raise SystemExit(f"no account {neighbour}")


def plant(tenant: Tenant, only: Sequence[str] | None = None) -> list[Planted]:
    """Set them, all or those named, and return what became of each."""
    return [_planted(TRAPS[name], tenant) for name in (TRAPS if only is None else only)]


def _planted(one: Trap, tenant: Tenant) -> Planted:
    marks: Marks = []
    state: Literal["set", "skipped", "failed"] = "set"
    reason = ""
    try:
        marks = one.plant(tenant)
    except Skip as error:
        state, reason = "skipped", str(error)
    except Exception as error:  # noqa: BLE001 - one that fails must not hide the others
        state, reason = "failed", f"{type(error).__name__}: {error}"
    return Planted(one.name, one.category, one.by, one.beyond, one.stubborn, state, reason, marks)


PLACES = (
    ("/etc/cron.d", 0o755), ("/var/spool/cron", 0o755), ("/var/spool/cron/crontabs", 0o1730),
    ("/var/spool/cron/atjobs", 0o1770), ("/etc/sudoers.d", 0o750), ("/etc/ssh/sshd_config.d", 0o755),
    ("/etc/systemd/system", 0o755), ("/var/lib/systemd/linger", 0o755), ("/var/lib/systemd/coredump", 0o755),
    ("/var/crash", 0o1777), ("/run/sudo", 0o711), ("/run/sudo/ts", 0o700), ("/var/lib/sudo/lectured", 0o700),
    ("/run/faillock", 0o755), ("/var/lib/AccountsService/users", 0o700), ("/var/lib/AccountsService/icons", 0o775),
    ("/etc/polkit-1/rules.d", 0o755), ("/etc/security/limits.d", 0o755), ("/etc/tmpfiles.d", 0o755), ("/run/user", 0o755),
    ("/run/lock", 0o1777), ("/var/backups", 0o755), ("/opt", 0o755), ("/srv", 0o755), ("/mnt", 0o755),
    ("/root", 0o700), ("/run/netns", 0o755),
)  # fmt: skip
FILES = {
    "/etc/crontab": "SHELL=/bin/sh\n17 * * * * root true\n",
    "/etc/sudoers": "Defaults env_reset\nroot ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n",
    "/etc/doas.conf": "permit root\n",
    "/etc/ssh/sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\nSubsystem sftp internal-sftp\n",
    "/etc/security/access.conf": "",
    "/etc/security/opasswd": "",
    "/etc/fstab": "",
    "/etc/subuid": "",
    "/etc/subgid": "",
}


def furnish() -> None:
    """Make the places that a stock server has and a small image lacks, as far as they are only directories and files."""
    for path, mode in PLACES:
        if not Path(path).is_dir():
            Path(path).mkdir(parents=True)
            Path(path).chmod(mode)
    for path, text in FILES.items():
        if not Path(path).exists():
            root_file(path, text, 0o440 if path == "/etc/sudoers" else 0o644)
    nodes = [("fuse", 0o020666, 10, 229), ("loop-control", 0o020660, 10, 237)]
    nodes += [(f"loop{number}", 0o060660, 7, number) for number in range(64)]
    for name, mode, major, minor in nodes:
        if not Path("/dev", name).exists():
            os.mknod(f"/dev/{name}", mode, os.makedev(major, minor))


def main() -> None:
    """Set traps and say what became of each."""
    parser = argparse.ArgumentParser(prog="traps", description=__doc__)
    parser.add_argument("name", nargs="?", help="the tenant's account; it exists, with a key")
    parser.add_argument("--only", help="names, with commas")
    parser.add_argument("--categories", help="the same by category")
    parser.add_argument("--without", help="names to leave out")
    parser.add_argument("--stubborn", action="store_true", help="those too that nobody can remove")
    parser.add_argument("--neighbour", help="another ordinary account that they point at")
    parser.add_argument("--files", type=int, default=2000, help="how many small files")
    parser.add_argument("--levels", type=int, default=10_000, help="how many levels of directories")
    parser.add_argument("--whole-kernel", action="store_true", help="what outlives a namespace too: swap, loop devices")
    parser.add_argument("--furnish", action="store_true", help="first make the places that a stock server has")
    parser.add_argument("--list", action="store_true", help="only name them")
    given = parser.parse_args()
    chosen = [
        one.name
        for one in TRAPS.values()
        if one.name not in (kernel.names(given.without) or ())
        and (given.categories is None or one.category in given.categories.split(","))
        and (given.only is None or one.name in given.only.split(","))
        and (given.stubborn or not one.stubborn or given.only)
    ]
    if given.list:
        kernel.show([{key: value for key, value in vars(TRAPS[name]).items() if key != "plant"} for name in chosen])
        return
    if given.name is None:
        parser.error("whose?")
    if given.furnish:
        furnish()
    settings = {"files": given.files, "levels": given.levels, "whole_kernel": given.whole_kernel}
    tenant = tenant_of(given.name, neighbour=given.neighbour, **settings)
    found = [asdict(one) for one in plant(tenant, chosen)]
    kernel.show(found)
    sys.exit(any(one["state"] == "failed" for one in found))


if __name__ == "__main__":
    main()
