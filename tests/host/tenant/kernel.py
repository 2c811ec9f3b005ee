"""The system calls that Python lacks, and children that become somebody else; for hostile tenants and who checks them."""

import array
import ctypes
import fcntl
import functools
import json
import os
import platform
import select
import signal
import stat
import struct
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWIPC = (
    0x0002_0000,
    0x1000_0000,
    0x2000_0000,
    0x4000_0000,
    0x0800_0000,
)
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8
IMMUTABLE, APPEND_ONLY = 0x10, 0x20
"""Source: Linux, include/uapi/linux/mount.h, fs.h and sched.h."""

_GETFLAGS, _SETFLAGS = 0x8008_6601, 0x4008_6602
_NS_GET_USERNS, _NS_GET_OWNER_UID = 0xB701, 0xB704
_NUMBERS = {"x86_64": {"add_key": 248, "keyctl": 250}, "aarch64": {"add_key": 217, "keyctl": 219}}
USER_KEYRING = -4
LIFETIME_S = 1800
"""No process started here lives longer, whoever forgets it."""

ACL_USER_OBJ, ACL_USER, ACL_GROUP_OBJ, ACL_GROUP, ACL_MASK, ACL_OTHER = 1, 2, 4, 8, 16, 32


class Skip(Exception):  # noqa: N818 - it is no error
    """The machine cannot host this; the text says why."""


class Who(NamedTuple):
    """Whom a child becomes."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/"


ROOT = Who(0, 0)


def check(result: int, what: str) -> int:
    """Return a system call's result, or raise the error it set."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount, without a helper program."""
    done = libc.mount(
        os.fsencode(source), os.fsencode(target), kind.encode() or None, ctypes.c_ulong(flags), options.encode() or None
    )
    check(done, f"mount on {target!r}")


def umount(target: str) -> None:
    """Detach what is on top there."""
    check(libc.umount2(os.fsencode(target), MNT_DETACH | UMOUNT_NOFOLLOW), f"umount of {target!r}")


def unshare(flags: int) -> None:
    """Move into namespaces of its own."""
    check(libc.unshare(flags), "unshare")


def call_name(text: str) -> None:
    """Give this process another name (15 bytes)."""
    check(libc.prctl(15, text.encode(), 0, 0, 0), "prctl")


def get_flags(fd: int) -> int:
    """Return an inode's flags; raises where the file system has none."""
    held = array.array("l", [0])
    fcntl.ioctl(fd, _GETFLAGS, held)
    return held[0]


def flags_of(path: str) -> int:
    """The same by path; 0 where there are none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return 0
    try:
        return get_flags(fd)
    except OSError:
        return 0
    finally:
        os.close(fd)


def set_flags(fd: int, flags: int) -> None:
    """Make it immutable, append-only, or neither."""
    fcntl.ioctl(fd, _SETFLAGS, struct.pack("l", flags))


def add_flags(path: str, flags: int) -> None:
    """Make it immutable or append-only."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        set_flags(fd, get_flags(fd) | flags)
    except OSError as error:
        raise Skip(f"no inode flags here: {error}") from error
    finally:
        os.close(fd)


def acl(*entries: tuple[int, int, int]) -> bytes:
    """Return a POSIX ACL's bytes, of entries (tag, permissions, id); the usual owner, group and others are added."""
    none = 0xFFFF_FFFF
    usual = [(ACL_USER_OBJ, 7, none), (ACL_GROUP_OBJ, 5, none), (ACL_MASK, 7, none), (ACL_OTHER, 0, none)]
    whole = sorted([*usual, *entries], key=lambda one: (one[0], one[2]))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *one) for one in whole)


def acl_entries(held: bytes) -> list[tuple[int, int, int]]:
    """The way back."""
    return list(struct.iter_unpack("<HHI", held[4:]))


def syscall(name: str, *arguments: Any) -> int:
    """Make one that libc does not wrap."""
    number = _NUMBERS.get(platform.machine(), {}).get(name)
    if number is None:
        raise Skip(f"{name} on {platform.machine()} is not known here")
    return check(libc.syscall(ctypes.c_long(number), *arguments), name)


def add_key(description: str, payload: bytes, keyring: int) -> int:
    """Put a key of type "user" into a keyring."""
    return syscall("add_key", b"user", description.encode(), payload, ctypes.c_size_t(len(payload)), keyring)


def clear_keyrings(uid: int) -> None:
    """Throw away what a user's keyring holds; keyrings belong to the whole kernel, not to a namespace."""
    run_as(Who(uid, uid), lambda: syscall("keyctl", 7, USER_KEYRING, 0, 0, 0))


def owner_of_namespace(fd: int) -> int | None:
    """Return the uid that made the user namespace to which a namespace belongs; None where that is the first one's."""
    try:
        user = fcntl.ioctl(fd, _NS_GET_USERNS)
    except OSError:
        return None
    try:
        held = array.array("I", [0])
        fcntl.ioctl(user, _NS_GET_OWNER_UID, held)
        return held[0]
    except OSError:
        return None
    finally:
        os.close(user)


def become(who: Who) -> None:
    """Give up root for good; the working directory is the home."""
    os.setgroups(who.groups)
    os.setresgid(who.gid, who.gid, who.gid)
    os.setresuid(who.uid, who.uid, who.uid)
    os.chdir(who.home)
    os.umask(0o022)


def run_as(who: Who, work: Callable[[], Any]) -> Any:
    """Do it in a child that has become that user; its result has to fit into JSON."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _tell(writer, lambda: (become(who), work())[1])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return _heard(answer)


def start_as(who: Who, work: Callable[[Callable[[], None]], None]) -> int:
    """
    Start a process that goes on alone and return its id.

    Args:
        who: Whom it becomes.
        work: What it does; it calls its argument when everything is as it should be. It never returns by itself.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.setsid()
        if os.fork():
            os._exit(0)
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        me = os.getpid()

        def ready() -> None:
            os.write(writer, json.dumps({"value": me}).encode())
            os.close(writer)

        signal.alarm(LIFETIME_S)
        try:
            become(who)
            work(ready)
        except BaseException as error:  # noqa: BLE001 - whatever it was, the one who waits wants to know
            _tell(writer, functools.partial(_raise, error))
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    answer = b""
    try:
        if select.select([reader], [], [], 20)[0]:
            answer = os.read(reader, 65536)
    finally:
        os.close(reader)
    return int(_heard(answer))


def _raise(error: BaseException) -> None:
    raise error


def _tell(writer: int, work: Callable[[], Any]) -> None:
    try:
        text = json.dumps({"value": work()})
    except Skip as reason:
        text = json.dumps({"skip": str(reason)})
    except BaseException as error:  # noqa: BLE001 - it is told, and raised there
        text = json.dumps({"error": "".join(traceback.format_exception_only(error)).strip()})
    with os.fdopen(writer, "wb") as pipe:
        pipe.write(text.encode())


def _heard(answer: bytes) -> Any:
    if not answer:
        raise RuntimeError("a child said nothing")
    told = json.loads(answer)
    if "skip" in told:
        raise Skip(told["skip"])
    if "error" in told:
        raise RuntimeError(told["error"])
    return told["value"]


def sleep_on() -> None:
    """Do nothing for as long as anything started here may live."""
    time.sleep(LIFETIME_S)


class Mount(NamedTuple):
    """A line of mountinfo. Source: proc_pid_mountinfo(5)."""

    id: int
    parent: int
    device: str
    root: str
    point: str
    kind: str
    source: str
    options: str


def mounts(pid: int | str = "self") -> list[Mount]:
    """Return the mounts of a process's namespace, unescaped, in the kernel's order."""
    with Path(f"/proc/{pid}/mountinfo").open("rb") as held:
        return [_mount(line) for line in held]


def _mount(line: bytes) -> Mount:
    fields = [_unescape(field) for field in line.rstrip(b"\n").split(b" ")]
    after = fields.index("-", 6)
    return Mount(
        int(fields[0]),
        int(fields[1]),
        fields[2],
        fields[3],
        fields[4],
        fields[after + 1],
        fields[after + 2],
        fields[after + 3],
    )


def _unescape(field: bytes) -> str:
    parts = field.split(b"\\")
    whole = parts[0] + b"".join(bytes([int(part[:3], 8)]) + part[3:] for part in parts[1:])
    return os.fsdecode(whole)


def printable(path: str) -> str:
    """Return a path as it can be printed: bytes that are no text are escaped, the middle of a long one is left out."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace").replace("\n", "\\n")
    return text if len(text) <= 400 else f"{text[:200]}...({len(text) - 300} more)...{text[-100:]}"


def content(path: str, most: int = 1 << 24) -> bytes:
    """Return what a regular file holds, so much of it at most; nothing where there is none, and never waits."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return b""
    with os.fdopen(fd, "rb") as held:
        try:
            return held.read(most) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
        except OSError:
            return b""


def system_lines(path: str) -> list[str]:
    """Return its lines."""
    return content(path).decode("utf-8", "surrogateescape").splitlines()


def show(value: Any) -> None:
    """Print it as JSON."""
    json.dump(value, sys.stdout, indent=1)
    sys.stdout.write("\n")


def names(text: str | None) -> Sequence[str] | None:
    """Return what a comma-separated option holds."""
    return None if text is None else [one for one in text.split(",") if one]
