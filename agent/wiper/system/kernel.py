"""System calls that Python does not offer, each a thin wrapper that raises `OSError`."""

import ctypes
import errno
import fcntl
import os
import platform
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from shared.codes import Code, Trouble

_libc = ctypes.CDLL(None, use_errno=True)

SYS_OPEN_TREE, SYS_FSOPEN, SYS_FSCONFIG, SYS_FSMOUNT, SYS_OPENAT2 = 428, 430, 431, 432, 437
"""The same numbers on every architecture. Source: Linux, include/uapi/asm-generic/unistd.h."""

RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH = 0x01, 0x02, 0x04, 0x08
"""Source: openat2(2)."""

OPEN_TREE_CLONE = 1
FSCONFIG_CMD_CREATE = 6
IMMUTABLE, APPEND_ONLY = 0x10, 0x20
"""Inode flags. Source: ioctl_iflags(2)."""

_LONG = ctypes.sizeof(ctypes.c_long)
FS_IOC_GETFLAGS = (2 << 30) | (_LONG << 16) | (ord("f") << 8) | 1
FS_IOC_SETFLAGS = (1 << 30) | (_LONG << 16) | (ord("f") << 8) | 2

SYS_KEYCTL = {"x86_64": 250, "aarch64": 219}
KEYCTL_CLEAR, KEY_SPEC_USER_KEYRING, KEY_SPEC_USER_SESSION_KEYRING = 7, -4, -5
PR_SET_DUMPABLE = 4
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x00020000, 0x4000, 0x40000
NS_GET_USERNS, NS_GET_OWNER_UID = 0xB701, 0xB704
LOOP_CLR_FD, LOOP_GET_STATUS64 = 0x4C01, 0x4C05
LOOP_INFO64_BYTES = 232
"""Source: Linux, include/uapi/linux/loop.h."""
FITRIM = (3 << 30) | (24 << 16) | (ord("X") << 8) | 121
"""Source: Linux, include/uapi/linux/fs.h."""
XFS_GEOMETRY_BYTES, XFS_FLAGS_AT, XFS_REFLINK = 256, 92, 1 << 20
XFS_IOC_FSGEOMETRY = (2 << 30) | (XFS_GEOMETRY_BYTES << 16) | (ord("X") << 8) | 126
"""Source: Linux, fs/xfs/libxfs/xfs_fs.h, struct xfs_fsop_geom."""
CAPABILITY_VERSION_3 = 0x20080522
IPC_RMID = 0
AGAIN = 16
"""How often an open that lost a race against a rename is tried again."""


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def _checked(result: int, subject: object = None) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), subject)
    return result


def open_beneath(directory: int, path: str, flags: int, *, mode: int = 0, cross_mounts: bool = False) -> int:
    """
    Open a path beneath a directory, following no symbolic link in any component and leaving it by no way.

    Args:
        directory: A descriptor; nothing outside of it can be reached.
        path: Relative; "." is the directory itself.
        flags: As for open(2); close-on-exec and no-follow are added.
        mode: For a new file.
        cross_mounts: Whether a mount point may be entered; by default not even a bind mount of the same file system.

    Raises:
        OSError: ELOOP at a link, EXDEV at a mount point or an escape, and what open(2) knows.

    Source: openat2(2).
    """
    resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_BENEATH | (0 if cross_mounts else RESOLVE_NO_XDEV)
    how = _OpenHow(flags | os.O_CLOEXEC | os.O_NOFOLLOW, mode, resolve)
    size = ctypes.c_size_t(ctypes.sizeof(how))
    for _ in range(AGAIN):
        result = _libc.syscall(
            ctypes.c_long(SYS_OPENAT2), ctypes.c_int(directory), os.fsencode(path), ctypes.byref(how), size
        )
        if result >= 0 or ctypes.get_errno() not in {errno.EAGAIN, errno.EINTR}:
            break
    return _checked(result, path)


def require_openat2() -> None:
    """
    Pass if the kernel can resolve paths safely; there is no fallback.

    Raises:
        Trouble: `unsupported`.
    """
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(open_beneath(root, ".", os.O_PATH | os.O_DIRECTORY))
    except OSError as error:
        raise Trouble(
            Code.UNSUPPORTED, f"openat2 does not work here ({error.strerror}); Linux 5.6 is needed"
        ) from error
    finally:
        os.close(root)


def clone_of_mount(path: str) -> int:
    """
    Return a descriptor of a private copy of one mount, without what is mounted on it, so that hidden files are seen.

    The copy is in no mount table and goes when it is closed. Needs CAP_SYS_ADMIN.

    Source: open_tree(2).
    """
    flags = ctypes.c_uint(OPEN_TREE_CLONE | os.O_CLOEXEC)
    return _checked(_libc.syscall(ctypes.c_long(SYS_OPEN_TREE), ctypes.c_int(-100), os.fsencode(path), flags), path)


def message_queues() -> int:
    """
    Return a descriptor of a private mount of the POSIX message queue file system of this IPC namespace.

    Raises:
        OSError: ENODEV when the kernel has no such queues.

    Source: mq_overview(7), fsopen(2).
    """
    none = ctypes.c_void_p(None)
    context = _checked(_libc.syscall(ctypes.c_long(SYS_FSOPEN), b"mqueue", ctypes.c_uint(1)), "mqueue")
    try:
        zero = ctypes.c_int(0)
        command = ctypes.c_uint(FSCONFIG_CMD_CREATE)
        _checked(_libc.syscall(ctypes.c_long(SYS_FSCONFIG), ctypes.c_int(context), command, none, none, zero), "mqueue")
        mount = _checked(
            _libc.syscall(ctypes.c_long(SYS_FSMOUNT), ctypes.c_int(context), ctypes.c_uint(1), ctypes.c_uint(0))
        )
    finally:
        os.close(context)
    try:
        return os.open(f"/proc/self/fd/{mount}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(mount)


def unmount(path: str) -> None:
    """
    Detach a mount at once, whatever uses it; the path's last part is not followed.

    Source: umount2(2), MNT_DETACH and UMOUNT_NOFOLLOW.
    """
    _checked(_libc.umount2(os.fsencode(path), ctypes.c_int(MNT_DETACH | UMOUNT_NOFOLLOW)), path)


def own_mount_namespace() -> None:
    """
    Give this process a copy of the mounts: what it unmounts from here on stays mounted for everybody else.

    Source: unshare(2), CLONE_NEWNS; mount_namespaces(7), MS_PRIVATE.
    """
    _checked(_libc.unshare(ctypes.c_int(CLONE_NEWNS)))
    flags = ctypes.c_ulong(MS_REC | MS_PRIVATE)
    _checked(_libc.mount(b"none", b"/", None, flags, None))


def mount_memory(path: str) -> None:
    """Mount an empty file system in memory at a path. Source: mount(2); the manual, tmpfs in section 5."""
    _checked(_libc.mount(b"none", os.fsencode(path), b"tmpfs", ctypes.c_ulong(0), b"mode=0755,size=64k"), path)


def owner_of_namespace(descriptor: int) -> int:
    """
    Return the user id that made the user namespace which a namespace, open as a file, belongs to.

    Raises:
        OSError: EPERM where that is outside of our own.

    Source: ioctl_ns(2), NS_GET_USERNS and NS_GET_OWNER_UID.
    """
    try:
        return _maker(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # it is no user namespace itself
            raise
    user = fcntl.ioctl(descriptor, NS_GET_USERNS)
    try:
        return _maker(user)
    finally:
        os.close(user)


def _maker(user_namespace: int) -> int:
    return int(struct.unpack("I", fcntl.ioctl(user_namespace, NS_GET_OWNER_UID, bytes(4)))[0])


def stop_sharing(path: str) -> None:
    """
    Make the mount at a path private: what is unmounted on it from here on stays mounted on its former peers.

    Source: mount(2), MS_PRIVATE; mount_namespaces(7), "Shared subtrees".
    """
    _checked(_libc.mount(b"none", os.fsencode(path), None, ctypes.c_ulong(MS_PRIVATE), None), path)


def swap_off(path: str) -> None:
    """Stop swapping to a file. Source: swapoff(2)."""
    _checked(_libc.swapoff(os.fsencode(path)), path)


def loop_file(device: str) -> tuple[int, int]:
    """Return the device number of the file system with a loop device's file, and the file's inode. Source: loop(4)."""
    fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        raw = fcntl.ioctl(fd, LOOP_GET_STATUS64, bytes(LOOP_INFO64_BYTES))
    finally:
        os.close(fd)
    file_system, inode = struct.unpack_from("QQ", raw)
    return int(file_system), int(inode)


def release_loop(device: str) -> None:
    """Take its file from a loop device. Source: loop(4), LOOP_CLR_FD."""
    fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.ioctl(fd, LOOP_CLR_FD)
    finally:
        os.close(fd)


@contextmanager
def account_files_locked() -> Iterator[None]:
    """
    Hold the lock of the account files, as the system's own tools do; waits up to 15 s.

    Raises:
        OSError: EAGAIN: somebody else holds it.

    Source: lckpwdf(3).
    """
    if _libc.lckpwdf() != 0:
        raise OSError(errno.EAGAIN, "the account files are locked by another program")
    try:
        yield
    finally:
        _libc.ulckpwdf()


def inode_flags(descriptor: int) -> int:
    """Return the inode flags of an open file or directory. Source: ioctl_iflags(2)."""
    raw = fcntl.ioctl(descriptor, FS_IOC_GETFLAGS, bytes(_LONG))
    return int(struct.unpack_from("i", raw)[0])


def set_inode_flags(descriptor: int, flags: int) -> None:
    """Set the inode flags of an open file or directory. Source: ioctl_iflags(2)."""
    fcntl.ioctl(descriptor, FS_IOC_SETFLAGS, struct.pack("i", flags).ljust(_LONG, b"\0"))


def flush_file_system(descriptor: int) -> None:
    """
    Bring all that was written to a file's file system to its device.

    Raises:
        OSError: something could not be written.

    Source: syncfs(2).
    """
    _checked(_libc.syncfs(ctypes.c_int(descriptor)))


def trim(descriptor: int) -> int:
    """
    Tell the device which blocks of a file's file system are free, and return their bytes, as the file system counts.

    Raises:
        OSError: EOPNOTSUPP or ENOTTY where the device or the file system cannot.

    Source: fstrim(8); Linux, include/uapi/linux/fs.h, struct fstrim_range.
    """
    whole = struct.pack("QQQ", 0, 2**64 - 1, 0)
    return int(struct.unpack("QQQ", fcntl.ioctl(descriptor, FITRIM, whole))[1])


def xfs_shares_extents(descriptor: int) -> bool:
    """
    Return whether files of an XFS may share blocks (reflink).

    Source: ioctl_xfs_fsgeometry(2), XFS_FSOP_GEOM_FLAGS_REFLINK.
    """
    raw = fcntl.ioctl(descriptor, XFS_IOC_FSGEOMETRY, bytes(XFS_GEOMETRY_BYTES))
    return bool(struct.unpack_from("I", raw, XFS_FLAGS_AT)[0] & XFS_REFLINK)


def hide_memory() -> None:
    """Keep this process's memory, with the wiper's key in it, from being read by processes of its next user."""
    _checked(_libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))


def has_capabilities() -> bool:
    """Return whether this thread has any effective or permitted capability. Source: capget(2)."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()
    _checked(_libc.capget(ctypes.byref(header), ctypes.byref(data)))
    effective_and_permitted = (data[0], data[1], data[3], data[4])
    return any(effective_and_permitted)


def clear_own_keyrings() -> None:
    """
    Empty the calling user's keyring and session keyring.

    Raises:
        OSError: ENOSYS where the kernel keeps no keys or the architecture is not known here.

    Source: keyctl(2), KEYCTL_CLEAR; user-keyring(7), user-session-keyring(7).
    """
    number = SYS_KEYCTL.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    for keyring in (KEY_SPEC_USER_KEYRING, KEY_SPEC_USER_SESSION_KEYRING):
        result = _libc.syscall(ctypes.c_long(number), ctypes.c_int(KEYCTL_CLEAR), ctypes.c_int(keyring))
        _checked(result, "keyring")


def remove_shared_memory(identifier: int) -> None:
    """Remove a System V shared memory segment. Source: shmctl(2)."""
    _checked(_libc.shmctl(ctypes.c_int(identifier), ctypes.c_int(IPC_RMID), ctypes.c_void_p(None)), f"shm {identifier}")


def remove_semaphores(identifier: int) -> None:
    """Remove a System V semaphore set. Source: semctl(2)."""
    _checked(_libc.semctl(ctypes.c_int(identifier), ctypes.c_int(0), ctypes.c_int(IPC_RMID)), f"sem {identifier}")


def remove_queue(identifier: int) -> None:
    """Remove a System V message queue. Source: msgctl(2)."""
    _checked(_libc.msgctl(ctypes.c_int(identifier), ctypes.c_int(IPC_RMID), ctypes.c_void_p(None)), f"msg {identifier}")
