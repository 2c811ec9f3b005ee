"""Reaching a mount that may lie hidden under others: they are taken off in a view that nobody else has."""

import errno
import os

from agent.wiper.system import apart
from agent.wiper.system.kernel import clone_of_mount
from agent.wiper.system.mountinfo import Mount
from agent.wiper.system.tasks import Show, TakeOff

DEADLINE_S = 30.0


def hidden(mount: Mount) -> int:
    """
    Return a descriptor of a private copy of a mount that others cover; nobody else's view changes.

    Raises:
        OSError: it cannot be reached; ETIMEDOUT.
    """
    _, descriptor = apart.do(Show(mount), DEADLINE_S)
    if descriptor is None:
        raise OSError(errno.ESTALE, "another mount hides it")
    return descriptor


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
    apart.do(TakeOff(mount), DEADLINE_S)
