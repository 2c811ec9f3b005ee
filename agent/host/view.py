"""
A private throw-away view of this machine: real root, real accounts and processes in it, and nothing of it is real.

`python -m agent.host.view DIR -- COMMAND …` runs a command in mount, process and IPC namespaces of its own. The
machine's root file system is the read-only lower layer of an overlay; everything written goes to memory. When the
command ends, all of its processes are killed and what they wrote is gone, but for directories named with `--bind`.

Source: unshare(2), mount_namespaces(7), pid_namespaces(7), pivot_root(2); Linux, filesystems/overlayfs.rst.
"""

import argparse
import ctypes
import os
import platform
import signal
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from shared.codes import Code, Trouble
from shared.command_line import Exit

_libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWPID = 0x0002_0000, 0x0800_0000, 0x2000_0000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    1,
    2,
    4,
    8,
    32,
    4096,
    16384,
    1 << 18,
)
MNT_DETACH = 2
PR_SET_PDEATHSIG = 1
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
"""Source: Linux, arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h."""

OPAQUE = "trusted.overlay.opaque"
DEVICES = {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}
"""Minor numbers under major 1. Source: Linux, Documentation/admin-guide/devices.txt."""


class View(NamedTuple):
    """
    What a view is made of.

    Args:
        directory: An existing directory on which the view is mounted, seen by its own processes only.
        binds: Directories of the real machine that stay writable and real, each at its own path.
        shown: Directories that are shown read-only, each at its own path; for what lies in a hidden one.
        hidden: Directories that are empty in the view.
    """

    directory: Path
    binds: tuple[Path, ...] = ()
    shown: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()


def run(view: View, command: Sequence[str]) -> int:
    """
    Run a command in a view of its own and return its exit code; 128 and the signal's number when it was killed.

    This process moves into the new namespaces too, so it is for programs that do nothing else afterwards.

    Raises:
        Trouble: `forbidden` without root, `unsupported` where the kernel or a sandbox refuses.
    """
    if os.geteuid() != 0:
        raise Trouble(Code.FORBIDDEN, "a private view needs root")
    here = Path.cwd()
    try:
        _check(_libc.unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWPID), "unshare")
    except OSError as error:
        raise Trouble(Code.UNSUPPORTED, f"no private view: {error}") from error
    first = os.fork()
    if first == 0:
        _first_process(view, command, here)
    return _watch(first)


def _watch(first: int) -> int:
    """Wait for the view's first process, passing on what would end us."""

    def pass_on(number: int, _frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.kill(first, number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, pass_on)
    return _code(os.waitpid(first, 0)[1])


def _first_process(view: View, command: Sequence[str], here: Path) -> None:
    """Process 1 of the view: it builds it, starts the command, and buries whoever is orphaned. Never returns."""
    code = Exit.INTERNAL.value
    try:
        # When the one outside dies, so does this one, and with it the whole namespace.
        _check(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
        _build(view)
        os.chdir(here if here.is_dir() else "/")
        child = os.fork()
        if child == 0:
            os.execvp(command[0], list(command))  # noqa: S606 - no shell on purpose
        code = _reap(child)
    except OSError as error:
        sys.stderr.write(f"view: {error}\n")
        sys.stderr.flush()
    finally:
        os._exit(code)


def _reap(child: int) -> int:
    def pass_on(number: int, _frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, pass_on)
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            return _code(status)


def _code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _build(view: View) -> None:
    """Mount the view in this process's own namespace and make it the root."""
    _mount("none", "/", "", MS_REC | MS_PRIVATE)
    top = str(view.directory.absolute())
    sources = {path: os.open(path, os.O_PATH | os.O_DIRECTORY) for path in (*view.binds, *view.shown)}
    _mount("view", top, "tmpfs", MS_NOSUID, "mode=0755")
    upper, work, root = Path(top, "upper"), Path(top, "work"), Path(top, "root")
    for path in (upper, work, root):
        path.mkdir(mode=0o755)
    for path in view.hidden:
        _hide(upper, path)
    _mount("view", str(root), "overlay", 0, f"lowerdir=/,upperdir={upper},workdir={work}")
    _furnish(root)
    for path, source in sources.items():
        point = root / str(path.absolute()).lstrip("/")
        point.mkdir(parents=True, exist_ok=True)
        _mount(f"/proc/self/fd/{source}", str(point), "", MS_BIND)
        if path in view.shown:
            _mount("none", str(point), "", MS_BIND | MS_REMOUNT | MS_RDONLY)
        os.close(source)
    _pivot(root)


def _hide(upper: Path, path: Path) -> None:
    """Put an empty directory that covers the machine's into the upper layer, with the same mode and owner."""
    inside = upper
    for part in path.absolute().parts[1:]:
        inside /= part
        if not inside.is_dir():
            real = Path("/", inside.relative_to(upper)).stat()
            inside.mkdir()
            inside.chmod(stat.S_IMODE(real.st_mode))
            os.chown(inside, real.st_uid, real.st_gid)
    os.setxattr(inside, OPAQUE, b"y")


def _furnish(root: Path) -> None:
    """Mount what programs expect: /proc of these processes, a few harmless devices, empty /run and /dev/shm."""
    safe = MS_NOSUID | MS_NODEV | MS_NOEXEC
    _mount("proc", str(root / "proc"), "proc", safe)
    if (root / "sys").is_dir():
        _mount("sysfs", str(root / "sys"), "sysfs", safe | MS_RDONLY)
    _mount("run", str(root / "run"), "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    dev = root / "dev"
    _mount("dev", str(dev), "tmpfs", MS_NOSUID, "mode=0755")
    for name, minor in DEVICES.items():
        os.mknod(dev / name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
        (dev / name).chmod(0o666)
    for name, target in {"fd": "fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}.items():
        (dev / name).symlink_to(f"/proc/self/{target}")
    (dev / "shm").mkdir()
    _mount("shm", str(dev / "shm"), "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    (dev / "pts").mkdir()
    _mount("devpts", str(dev / "pts"), "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620")
    (dev / "ptmx").symlink_to("pts/ptmx")


def _pivot(root: Path) -> None:
    """Make the view the root and let go of the machine's, so that no path leads out."""
    old = root / ".outside"
    old.mkdir(mode=0o700)
    number = SYS_PIVOT_ROOT.get(platform.machine())
    if number is None:
        raise OSError(f"no private view on {platform.machine()}")
    _check(_libc.syscall(ctypes.c_long(number), os.fsencode(root), os.fsencode(old)), "pivot_root")
    os.chdir("/")
    _check(_libc.umount2(b"/.outside", MNT_DETACH), "umount2")
    Path("/.outside").rmdir()


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    result = _libc.mount(
        os.fsencode(source), os.fsencode(target), kind.encode() or None, ctypes.c_ulong(flags), options.encode() or None
    )
    _check(result, f"mount {kind or 'bind'} on {target}")


def _check(result: int, what: str) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def main() -> None:
    """Run a command in a private view; exits with its code."""
    parser = argparse.ArgumentParser(prog="agent.host.view", description=run.__doc__)
    parser.add_argument("directory", type=Path, help="an existing directory to mount the view on")
    parser.add_argument(
        "--bind", type=Path, action="append", default=[], help="a directory that stays real and writable"
    )
    parser.add_argument("--show", type=Path, action="append", default=[], help="a directory shown read-only")
    parser.add_argument("--hide", type=Path, action="append", default=[], help="a directory that is empty in the view")
    parser.add_argument("command", nargs="+", help="after --")
    given = parser.parse_args()
    view = View(given.directory, tuple(given.bind), tuple(given.show), tuple(given.hide))
    try:
        sys.exit(run(view, given.command))
    except Trouble as trouble:
        sys.stderr.write(f"view: {trouble}\n")
        sys.exit(Exit.NO_PERMISSION if trouble.code is Code.FORBIDDEN else Exit.INTERNAL)


if __name__ == "__main__":
    main()
