"""
What the wiper's unit may not do itself: looking and unmounting in a view of one's own, and swapping off.

Each is done by a process that ends with it, see `apart`.
"""

import errno
import json
import os
from collections.abc import Callable

from msgspec import Struct

from agent.wiper.system import mountinfo
from agent.wiper.system.kernel import clone_of_mount, mount_memory, own_mount_namespace, swap_off, unmount
from agent.wiper.system.mountinfo import Mount, beneath
from agent.wiper.system.tools import run

MOST = 1000
"""Covers that are taken off at most."""
SSHD_S = 10.0

Give = Callable[[int], None]
"""Hands a descriptor over."""


class Show(Struct, frozen=True, tag=True):
    """Give a descriptor of a private copy of a mount that others cover."""

    mount: Mount


class TakeOff(Struct, frozen=True, tag=True):
    """Take a mount on a file off, and the file away."""

    mount: Mount


class AskSshd(Struct, frozen=True, tag=True):
    """Say what sshd says of its configuration for each user, as it does with its empty run-time directory in place."""

    names: tuple[str, ...]
    directory: str


class SwapOff(Struct, frozen=True, tag=True):
    """Stop swapping to a file."""

    path: str


Task = Show | TakeOff | AskSshd | SwapOff


def carry_out(task: Task, give: Give) -> bytes:
    """
    Do it, in this process: only for one that ends with it, for its view of the mounts is another one afterwards.

    Raises:
        OSError: it could not be done.
    """
    if isinstance(task, SwapOff):
        swap_off(task.path)
        return b""
    own_mount_namespace()
    if isinstance(task, AskSshd):
        return _ask_sshd(task)
    if isinstance(task, TakeOff):
        _take_off(task.mount)
    else:
        _uncover(task.mount)
        give(clone_of_mount(task.mount.point))
    return b""


def sshd_argv(name: str) -> tuple[str, ...]:
    """Return the words that ask sshd for its configuration. Source: sshd(8), -T and -C."""
    return ("sshd", "-T", "-C", f"user={name},host=localhost,addr=127.0.0.1")


def _ask_sshd(task: AskSshd) -> bytes:
    mount_memory(task.directory.rpartition("/")[0])
    os.mkdir(task.directory, 0o755)  # noqa: PTH102
    return json.dumps([run(*sshd_argv(name), deadline_s=SSHD_S) for name in task.names]).encode()


def _take_off(mount: Mount) -> None:
    # More than one where the directory is mounted on itself, as ip-netns does: each copy keeps the name busy.
    while any(one.what == mount.what for one in mountinfo.current()):
        _uncover(mount)
        unmount(mount.point)
    os.unlink(mount.point)  # noqa: PTH108 - a path of the kernel's


def _uncover(mount: Mount) -> None:
    """
    Take off what hides a mount.

    Raises:
        OSError: it is not mounted any more, or what hides it stays.
    """
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
