"""
Throw-away Debian machines, booted by systemd, with a disk of their own whose power can be cut.

One machine is a container of systemd-nspawn over an overlay: below it a base image, made once by debootstrap and kept in
`RACKPROOF_MACHINES` (default /var/tmp/rackproof-machines), above it an ext4 file system in a file. Cutting the power
shuts that file system down without writing anything more, then kills every process at once: what was only in the
page cache is lost, as on a real machine. There is no network but each machine's own loopback. Needs root.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

SOURCE = Path(__file__).parents[2]
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "libpam-systemd", "openssh-server", "sudo", "cron", "iproute2", "procps"),
    *("python3", "passwd", "util-linux", "kmod"),
)
TOOLS = ("debootstrap", "systemd-nspawn", "mkfs.ext4", "losetup", "nsenter", "unshare")
DISK_BYTES = 4 * 2**30
BOOT_S, STOP_S, RUN_S = 90.0, 60.0, 300.0
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

EXT4_IOC_SHUTDOWN, WITHOUT_FLUSH = 0x8004587D, 2
"""Source: Linux, fs/ext4/ext4.h, EXT4_IOC_SHUTDOWN and EXT4_GOING_FLAGS_NOLOGFLUSH."""
REBOOT = 133
"""systemd-nspawn's exit code when the machine wants to start again. Source: systemd-nspawn(1), --keep-unit; its code."""

START = r"""
set -e
for group in $GROUPS_OF_IT; do mkdir -p "$group/loop"; echo $$ > "$group/loop/cgroup.procs"; done
mkdir -p "$PLACE/disk" "$PLACE/root"
mount -o loop "$PLACE/disk.img" "$PLACE/disk"
mkdir -p "$PLACE/disk/upper" "$PLACE/disk/work"
mount -t overlay overlay -o "lowerdir=$BASE,upperdir=$PLACE/disk/upper,workdir=$PLACE/disk/work" "$PLACE/root"
if [ ! -s "$PLACE/root/etc/machine-id" ]; then
  ssh-keygen -q -A -f "$PLACE/root"
  tr -d - < /proc/sys/kernel/random/uuid > "$PLACE/root/etc/machine-id"
  sync -f "$PLACE/root"
fi
cd "$PLACE/root"
code=133
while [ $code = 133 ]; do
  code=0
  (for group in $GROUPS_OF_IT; do echo $BASHPID > "$group/cgroup.procs"; done; exec systemd-nspawn "$@") || code=$?
done
"""


class MachineError(Exception):
    """This host cannot boot one; the words say what is missing."""


def need_tools() -> None:
    """
    Pass if this host has what booting takes.

    Raises:
        MachineError: it has not.
    """
    if os.geteuid() != 0:
        raise MachineError("root, to boot throw-away machines")
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        raise MachineError(f"{', '.join(missing)} (Debian: debootstrap systemd-container e2fsprogs util-linux)")
    if not Path("/dev/loop-control").exists():
        raise MachineError("loop devices")
    if _is_below(sys.prefix, "/tmp"):
        # What the wiper has done apart gets a /tmp of its own there, and would not find its program.
        raise MachineError("a checkout that is not in /tmp")


def store() -> Path:
    """Return the directory that holds base images and machines."""
    return Path(os.environ.get("RACKPROOF_MACHINES", "/var/tmp/rackproof-machines"))


def base(extra: Sequence[str] = ()) -> Path:
    """
    Return the base image, making it where there is none: about a minute and a half, 300 MB.

    Args:
        extra: Further packages; an image of its own for each set of them.

    Raises:
        MachineError: it cannot be made.
    """
    need_tools()
    place = store()
    place.mkdir(mode=0o755, parents=True, exist_ok=True)
    packages = (*PACKAGES, *extra)
    made = place / f"base-{hashlib.sha256(' '.join(packages).encode()).hexdigest()[:12]}"
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            _bootstrap(made, packages)
    return made


def _bootstrap(made: Path, packages: Sequence[str]) -> None:
    beside = made.with_name(f"{made.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    argv = ["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", "bookworm", str(beside), _mirror()]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MachineError(f"a base image: debootstrap ended with {done.returncode}: {done.stdout[-500:]}")
    for left in (*beside.glob("var/cache/apt/archives/*.deb"), *beside.glob("etc/ssh/ssh_host_*")):
        left.unlink()
    (beside / "etc/machine-id").write_text("")
    # Who asks for the whole machine waits for the network otherwise, and there is none.
    (beside / "etc/hostname").write_text("trial\n")
    (beside / "etc/hosts").write_text("127.0.0.1 localhost trial\n")
    beside.rename(made)


def _mirror() -> str:
    """Return where this host itself gets Debian from."""
    folder = Path("/etc/apt")
    for path in (*folder.glob("sources.list.d/*.sources"), folder / "sources.list"):
        text = path.read_text() if path.exists() else ""
        found = re.search(r"^(?:URIs:|deb (?:\[[^]]*\] )?)\s*(http\S+/debian/?)(?:\s|$)", text, re.MULTILINE)
        if found:
            return found[1]
    return "http://deb.debian.org/debian"


class Machine:
    """
    One machine; it exists from `boot` until `close`.

    Args:
        name: A short word, unique among those that run.
        extra: Packages it has besides the usual ones.
    """

    def __init__(self, name: str, extra: Sequence[str] = ()) -> None:
        self._base = base(extra)
        self._name = f"rackproof-{os.getpid()}-{name}"
        self._place = store() / self._name
        self._place.mkdir(mode=0o700)
        self._nspawn: subprocess.Popen[bytes] | None = None
        unified = Path("/sys/fs/cgroup/unified")
        self._group = (unified if unified.is_dir() else Path("/sys/fs/cgroup")) / self._name
        named = Path("/sys/fs/cgroup/systemd")
        self._groups = (self._group, *([named / self._name] if named.is_dir() else []))
        disk = self._place / "disk.img"
        with disk.open("wb") as file:
            file.truncate(DISK_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=1", disk], check=True, capture_output=True)

    def boot(self, *, whole: bool = True) -> None:
        """Switch it on and wait until systemd has started everything; `whole`: nothing may have failed."""
        for group in self._groups:
            group.mkdir(exist_ok=True)
        environment = {
            "PATH": PATH,
            "PLACE": str(self._place),
            "BASE": str(self._base),
            "GROUPS_OF_IT": " ".join(map(str, self._groups)),
            # It has to find the second version of control groups also where the host has both.
            "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
        }
        argv = ["unshare", "--mount", "--propagation", "private", "bash", "-c", START, "start", *self._options()]
        with (self._place / "console.log").open("ab") as console:
            self._nspawn = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=console, stderr=console, env=environment, start_new_session=True
            )
        until = time.monotonic() + BOOT_S
        state = ""
        while state not in {"running", "degraded"}:
            if self._nspawn.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"the machine does not start: {state} {self._said()}")
            time.sleep(0.1)
            state = self._state()
        assert not whole or state == "running", self.run("systemctl", "--failed", "--no-legend")

    def _options(self) -> list[str]:
        shown = [
            path for path in dict.fromkeys((sys.prefix, sys.base_prefix, str(SOURCE))) if not _is_below(path, "/usr")
        ]
        return [
            *("--quiet", f"--directory={self._place}/root", f"--machine={self._name}", "--register=no", "--keep-unit"),
            *("--boot", "--console=pipe", "--resolv-conf=off", "--timezone=off", "--link-journal=no"),
            "--private-network",
            # For the settings of units that work through BPF; without them they have no effect, silently. And for the
            # kernel's keyrings, which every machine has: they are the host's, and outlive this one. And for swapping off.
            # SYSLOG: as everywhere else, the service manager may open the kernel log, where a test puts it: the host's.
            *(
                "--capability=CAP_BPF,CAP_NET_ADMIN,CAP_SYS_RESOURCE,CAP_SYSLOG",
                "--system-call-filter=bpf @keyring swapoff",
            ),
            *(f"--bind-ro={path}" for path in shown),
        ]

    @property
    def prefix(self) -> tuple[str, ...]:
        """What runs the words after it in the machine, as its root."""
        leader = self._leader()
        assert leader is not None, "the machine is off"
        clean = ("env", "-i", f"PATH={PATH}", "HOME=/root", "LANG=C.UTF-8")
        return ("nsenter", "--target", str(leader), "--all", "--", *clean)

    def run(self, *argv: str) -> str:
        """Run a program in it and return what it printed; it must succeed."""
        done = subprocess.run([*self.prefix, *argv], capture_output=True, timeout=RUN_S, check=False)
        assert done.returncode == 0, done.stderr.decode()[-3000:] + done.stdout.decode()[-1000:]
        return done.stdout.decode()

    def python(self, code: str, *argv: str) -> str:
        """Run Python in it that finds this checkout."""
        return self.run(*self.python_argv(code, *argv))

    def python_argv(self, code: str, *argv: str) -> list[str]:
        """Return the words that do that, to be run in the machine."""
        return ["env", f"PYTHONPATH={SOURCE}", sys.executable, "-B", "-c", code, *argv]

    def cut_power(self) -> None:
        """Lose everything that is not on the disk yet, and every process, at once."""
        assert self._nspawn is not None
        disk = os.open(f"/proc/{self._nspawn.pid}/root{self._place}/disk", os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(disk, EXT4_IOC_SHUTDOWN, struct.pack("I", WITHOUT_FLUSH))
        finally:
            os.close(disk)
        self._kill()

    def power_off(self) -> None:
        """Shut it down as `poweroff` does."""
        leader = self._leader()
        if leader is not None:
            os.kill(leader, 34 + 4)  # SIGRTMIN+4: systemd(1), SIGNALS
        self._await_end()

    def close(self) -> None:
        """End it and remove its disk."""
        with contextlib.suppress(FileNotFoundError):
            self._kill()
        shutil.rmtree(self._place)

    def _kill(self) -> None:
        (self._group / "cgroup.kill").write_text("1")
        self._await_end()

    def _await_end(self) -> None:
        assert self._nspawn is not None
        self._nspawn.wait(STOP_S)
        until = time.monotonic() + STOP_S
        while "populated 1" in (self._group / "cgroup.events").read_text() or self._disk_in_use():
            assert time.monotonic() < until, "the machine does not end"
            time.sleep(0.02)
        for group in self._groups:
            for folder, _, _ in os.walk(group, topdown=False):
                Path(folder).rmdir()

    def _disk_in_use(self) -> bool:
        argv = ["losetup", "--associated", str(self._place / "disk.img")]
        return bool(subprocess.run(argv, capture_output=True, check=True).stdout.strip())

    def _leader(self) -> int | None:
        """Return the host's number of the machine's first process."""
        try:
            return int((self._group / "payload/init.scope/cgroup.procs").read_text().split()[0])
        except (FileNotFoundError, IndexError):
            return None

    def _state(self) -> str:
        if self._leader() is None:
            return ""
        argv = [*self.prefix, "systemctl", "is-system-running"]
        return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False).stdout.strip()

    def _said(self) -> str:
        return (self._place / "console.log").read_text("utf-8", "replace")[-2000:]


def _is_below(path: str, top: str) -> bool:
    return path == top or path.startswith(top + "/")


@contextlib.contextmanager
def booted(name: str, extra: Sequence[str] = (), *, whole: bool = True) -> Iterator[Machine]:
    """
    Give a machine that runs; it is gone afterwards.

    Args:
        name: A short word, unique among those that run.
        extra: Packages it has besides the usual ones.
        whole: Whether nothing may have failed to start.

    Raises:
        MachineError: this host cannot boot one.
    """
    machine = Machine(name, extra)
    try:
        machine.boot(whole=whole)
        yield machine
    finally:
        machine.close()


def main(argv: Sequence[str]) -> int:
    """Boot a machine and run a command in it: `python -m tests.host.machines COMMAND...`, for trying things out."""
    with booted("trial") as machine:
        return subprocess.run([*machine.prefix, *argv], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["bash"]))
