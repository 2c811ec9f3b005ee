"""
Namespaces that live on as files: those made in a user namespace of the tenant's, and those named like him.

Source: ioctl_ns(2); ip-netns(8), which keeps them in /run/netns.
"""

import os
import re
import stat
from collections.abc import Iterator

from agent.wiper.steps import Erased, Found, Item, Looked, Subject, Tell, clean_or, printable
from agent.wiper.system import mountinfo, uncover
from agent.wiper.system.folders import entries, take
from agent.wiper.system.kernel import owner_of_namespace
from agent.wiper.system.mountinfo import Mount
from agent.wiper.system.tasks import above
from agent.wiper.tenant.inspection import accounts_of

NAMED = "/run/netns"


class Namespaces:
    """The tenant's namespaces, each by the file that it is mounted on, and the names without one."""

    name = "namespaces"

    def __init__(self, subject: Subject) -> None:
        self._ground = subject.ground
        self._tenant = subject.tenant

    def find(self) -> Found:
        """Count them."""
        return Found(self._count())

    def erase(self, tell: Tell) -> Erased:  # noqa: ARG002 - the protocol's
        """Take each off its file, and the file away."""
        before, notes = self._count(), list[str]()
        for mount in self._mounted():
            try:
                uncover.take_off(mount)
            except OSError as error:
                notes.append(f"a namespace stays: {error.strerror}")
        for name in self._names():
            try:
                take(self._ground, NAMED, name, self._tenant.owns)
            except OSError as error:
                notes.append(f"a namespace's name stays: {error.strerror}")
        return Erased(before - self._count(), tuple(dict.fromkeys(notes)))

    def verify(self) -> Looked:
        """Count them again."""
        if self._ground.simulated:
            return Looked("not_applicable", reason="a simulated machine has no namespaces")
        return clean_or(self._count(), "namespaces")

    def _count(self) -> int:
        return sum(1 for _ in self.list())

    def _mounted(self) -> list[Mount]:
        mounts = mountinfo.current()
        # One mount may be there twice, where a directory is mounted on itself: it is taken off in one go.
        return [
            one
            for one in dict.fromkeys(mounts)
            if one.kind == "nsfs" and self._is_his(one, hidden=bool(above(mounts, one)))
        ]

    def _is_his(self, mount: Mount, *, hidden: bool) -> bool:
        if self._is_named_like_him(mount.point.rpartition("/")[2]):
            return True
        place = uncover.hidden(mount) if hidden else os.open(mount.point, os.O_PATH | os.O_CLOEXEC)
        try:
            fd = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(place)
        try:
            return self._tenant.owns(owner_of_namespace(fd))
        finally:
            os.close(fd)

    def _names(self) -> list[str]:
        """Return the files named like him on which no namespace is mounted (any more)."""
        return [
            name
            for name, facts in entries(self._ground, NAMED)
            if stat.S_ISREG(facts.st_mode) and self._is_named_like_him(name)
        ]

    def _is_named_like_him(self, name: str) -> bool:
        """Return whether a name is his or begins with it ("tenant-net"), and not with a longer account's."""
        accounts = [one.name for one in accounts_of(self._ground) if one.name != self._tenant.name]
        return _begins(name, self._tenant.name) and not any(
            _begins(name, other) and len(other) > len(self._tenant.name) for other in accounts
        )

    def list(self) -> Iterator[Item]:
        """Give them."""
        if self._ground.simulated:
            return
        points = [one.point for one in self._mounted()]
        named = [path for name in self._names() if (path := f"{NAMED}/{name}") not in points]
        yield from (Item("namespace", printable(path)) for path in (*points, *named))


def _begins(name: str, account: str) -> bool:
    return bool(re.match(rf"{re.escape(account)}(?!\w)", name))
