"""
Which processes have an NVIDIA device open or mapped.

The kernel shows a process's files to root, or to its own user: whoever is refused as root asks as that user.
"""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from agent.wiper.system.children import in_child
from agent.wiper.tenant.alive import user_of

LOOK_S = 30.0
NODE = re.compile(r"/nvidia(\d+|ctl|-uvm|-uvm-tools|-modeset|-caps/.*|-nvswitch.*)( \(deleted\))?$", re.MULTILINE)
"""The end of a device file's name: in a view of its own, a container's, a process may have it elsewhere than in /dev.

Source: NVIDIA driver README, "Device files"."""


class Holding(NamedTuple):
    """Processes that hold a device, and those that could not be looked at."""

    holders: frozenset[int]
    unseen: frozenset[int]


def look(pids: Iterable[int]) -> Holding:
    """
    Look at the open files and mappings of these processes.

    Raises:
        OSError: ETIMEDOUT.
    """
    wanted = frozenset(pids)
    if not wanted:
        return Holding(frozenset(), frozenset())
    found = _read(in_child(_asking(wanted), LOOK_S))
    by_user: dict[tuple[int, int] | None, set[int]] = defaultdict(set)
    for pid in found.unseen:
        by_user[user_of(pid)].add(pid)
    holders, unseen = set(found.holders), by_user.pop(None, set())
    for user, theirs in by_user.items():
        again = (
            _read(in_child(_asking(frozenset(theirs)), LOOK_S, user))
            if user and user[0]
            else Holding(frozenset(), frozenset(theirs))
        )
        holders |= again.holders
        unseen |= again.unseen
    return Holding(frozenset(holders), frozenset(unseen))


def _asking(pids: frozenset[int]) -> Callable[[], bytes]:
    return lambda: _held(pids)


def _held(pids: frozenset[int]) -> bytes:
    holders, unseen = list[int](), list[int]()
    for pid in pids:
        try:
            if _holds(pid):
                holders.append(pid)
        except PermissionError:
            unseen.append(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return b"%s;%s" % (" ".join(map(str, holders)).encode(), " ".join(map(str, unseen)).encode())


def _holds(pid: int) -> bool:
    for number in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208 - numbers only
        try:
            if NODE.search(os.readlink(f"/proc/{pid}/fd/{number}")):  # noqa: PTH115
                return True
        except FileNotFoundError:
            continue
    return bool(NODE.search(Path(f"/proc/{pid}/maps").read_text("utf-8", "surrogateescape")))


def _read(raw: bytes) -> Holding:
    holders, _, unseen = raw.decode().partition(";")
    return Holding(frozenset(map(int, holders.split())), frozenset(map(int, unseen.split())))
