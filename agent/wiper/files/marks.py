"""Marks of a tenant's on files of others: his group, and entries in their access lists."""

import os
import stat
from collections.abc import Callable

from agent.wiper.files import acl
from agent.wiper.system.kernel import open_beneath


class Marks:
    """
    The tenant's marks on files of others: his group, and entries of theirs that let him in.

    Only what changed after he came can bear one, so nothing else is asked for its access lists.
    """

    def __init__(self, owns: Callable[[int], bool], gid: int | None, since_s: float) -> None:
        self._owns = owns
        self._gid = gid
        self._since_s = since_s

    def count(self, directory: int, name: str, facts: os.stat_result) -> int:
        """Return how many a file bears."""
        if facts.st_ctime < self._since_s:
            return 0
        return int(self._is_grouped(facts)) + len(self._lists(directory, name, facts))

    def clear(self, directory: int, name: str, facts: os.stat_result) -> int:
        """
        Take them off; the file is root's group's then, and nobody runs it as a group any more.

        Raises:
            OSError: they stay.
        """
        if facts.st_ctime < self._since_s:
            return 0
        cleared = 0
        for attribute, raw in self._lists(directory, name, facts):
            acl.write(_path(directory, name), attribute, raw)
            cleared += 1
        if self._is_grouped(facts):
            if facts.st_mode & stat.S_ISGID:
                fd = open_beneath(directory, name, os.O_RDONLY | os.O_NONBLOCK)
                try:
                    os.fchmod(fd, stat.S_IMODE(facts.st_mode) & ~stat.S_ISGID)
                finally:
                    os.close(fd)
            os.chown(name, -1, 0, dir_fd=directory, follow_symlinks=False)
            cleared += 1
        return cleared

    def _is_grouped(self, facts: os.stat_result) -> bool:
        return facts.st_gid == self._gid

    def _lists(self, directory: int, name: str, facts: os.stat_result) -> list[tuple[str, bytes]]:
        if stat.S_ISLNK(facts.st_mode):
            return []
        found = []
        for attribute in acl.NAMES:
            raw = acl.read(_path(directory, name), attribute)
            if raw is not None and (new := acl.without(raw, self._owns, self._gid)) != raw:
                found.append((attribute, new))
        return found


def _path(directory: int, name: str) -> str:
    """Return a path to a name in an open directory, for calls that take no descriptor."""
    return f"/proc/self/fd/{directory}/{name}"
