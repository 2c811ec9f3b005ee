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
    while mount in mountinfo.current():
        _uncover(mount)
        unmount(mount.point)
    os.unlink(mount.point)  # noqa: PTH108 - a path of the kernel's
    return b""


def _uncover(mount: Mount) -> None:
    """Take off what hides a mount, in a view of this process's own: only for a child."""
    own_mount_namespace()
    for _ in range(MOST):
        covers = above(mountinfo.current(), mount)
        if not covers:
            return
        unmount(covers[-1].point)
    raise OSError(errno.ELOOP, "too many mounts hide it")


def above(mounts: tuple[Mount, ...], wanted: Mount) -> tuple[Mount, ...]:
    """
    Return the mounts that hide one, the outermost last. Pure.

    Args:
        mounts: All, in the kernel's order: of two on the same point the later one is seen.
        wanted: One of them.

    Raises:
        OSError: ESTALE: it is not there any more.
    """
    if wanted not in mounts:
        raise OSError(errno.ESTALE, "it is not mounted any more")
    later = mounts[len(mounts) - mounts[::-1].index(wanted) :]
    return tuple(one for one in later if beneath(wanted.point, one.point))
