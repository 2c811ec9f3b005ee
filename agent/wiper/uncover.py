"""Reaching a mount that may lie hidden under others: they are taken off in a view that only a child has."""

import errno
import os
import socket

from agent.wiper import mountinfo
from agent.wiper.children import in_child
from agent.wiper.kernel import clone_of_mount, own_mount_namespace, unmount
from agent.wiper.mountinfo import Mount, beneath

DEADLINE_S = 30.0
MOST = 1000
"""Covers that are taken off at most."""


def hidden(mount: Mount) -> int:
    """
    Return a descriptor of a private copy of a mount that others cover; nobody else's view changes.

    Raises:
        OSError: it cannot be reached; ETIMEDOUT.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(DEADLINE_S)
        in_child(lambda: _send(mount, theirs), DEADLINE_S, keep=theirs.fileno())
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1, socket.MSG_CMSG_CLOEXEC)
    if not descriptors:
        raise OSError(errno.ESTALE, "another mount hides it")
    return descriptors[0]


def root_of(mount: Mount) -> int:
    """
    Return a descriptor of what is mounted, through a private copy of the mount, hidden under others or not.

    Raises:
        OSError: it cannot be reached, for another mount hides it.
    """
    root = clone_of_mount(mount.point)
    if _is_of(root, mount):
        return root
    os.close(root)
    root = hidden(mount)
    if _is_of(root, mount):
        return root
    os.close(root)
    raise OSError(errno.ESTALE, "another mount hides it")


def _is_of(root: int, mount: Mount) -> bool:
    """Return whether an open directory is of a mount's file system."""
    device = os.fstat(root).st_dev
    # btrfs gives each subvolume a device number of its own, so there it cannot be compared.
    return mount.kind == "btrfs" or f"{os.major(device)}:{os.minor(device)}" == mount.device


def take_off(mount: Mount) -> None:
    """
    Take a mount on a file off, and the file away, hidden under others or not.

    The name goes in a view where nothing is mounted on it any more; the kernel then detaches it in every other view.

    Raises:
        OSError: it is still there.

    Source: mount_namespaces(7), "Restrictions on mount namespaces", the last point.
    """
    in_child(lambda: _take_off(mount), DEADLINE_S)


def _send(mount: Mount, line: socket.socket) -> bytes:
    _uncover(mount)
    socket.send_fds(line, [b"."], [clone_of_mount(mount.point)])
    return b""


def _take_off(mount: Mount) -> bytes:
    # More than one where the directory is mounted on itself, as ip-netns does: each copy keeps the name busy.
    while any(one.what == mount.what for one in mountinfo.current()):
        _uncover(mount)
        unmount(mount.point)
    os.unlink(mount.point)  # noqa: PTH108 - a path of the kernel's
    return b""


def _uncover(mount: Mount) -> None:
    """
    Take off what hides a mount, in a view of this process's own: only for a child.

    Raises:
        OSError: it is not mounted any more, or what hides it stays.
    """
    own_mount_namespace()
    for _ in range(MOST):
        mounts = mountinfo.current()
        copies = [above(mounts, one) for one in mounts if one.what == mount.what]
        if not copies:
            raise OSError(errno.ESTALE, "it is not mounted any more")
        covers = min(copies, key=len)
        if not covers:
            return
        _unmount_one(covers)
    raise OSError(errno.ELOOP, "too many mounts hide it")


def _unmount_one(covers: tuple[Mount, ...]) -> None:
    """Take off the first of these that can be reached; one may lie under another."""
    for cover in reversed(covers):
        try:
            unmount(cover.point)
        except OSError as error:
            if error.errno in {errno.EINVAL, errno.ENOENT}:
                continue
            raise
        return
    raise OSError(errno.EBUSY, "what hides it cannot be taken off")


def above(mounts: tuple[Mount, ...], wanted: Mount) -> tuple[Mount, ...]:
    """
    Return the mounts that hide one: they stand on it or on what it stands on, and its point lies in theirs. Pure.

    The order of the list does not tell: what is mounted on a peer of a directory appears under what covers that.
    """
    by_number = {one.number: one for one in mounts}
    chain = {wanted.number}
    at = by_number.get(wanted.parent)
    while at is not None and at.number not in chain:
        chain.add(at.number)
        at = by_number.get(at.parent)
    return tuple(
        one for one in mounts if one.number not in chain and one.parent in chain and beneath(wanted.point, one.point)
    )
