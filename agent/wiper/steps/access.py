"""Whether the home, and with it the keys in it that open the door, can still be reached by its path."""

import os
from collections.abc import Iterator

from agent.wiper.steps import RESIDUE, Erased, Found, Item, Looked, Subject, Tell, printable


class Access:
    """The home's path: sshd looks for keys behind it."""

    name = "access"

    def __init__(self, subject: Subject) -> None:
        self._ground = subject.ground
        self._home = subject.tenant.home
        self._parent, _, self._name = self._home.rpartition("/")

    def find(self) -> Found:
        """Count the path, if it exists."""
        return Found(int(self._exists()))

    def erase(self, tell: Tell) -> Erased:  # noqa: ARG002 - the protocol's
        """Do nothing: the home's own step takes the path away."""
        return Erased(0)

    def verify(self) -> Looked:
        """See whether the path still leads anywhere."""
        return Looked(RESIDUE, 1, "the home's path still exists") if self._exists() else Looked("clean")

    def _exists(self) -> bool:
        parent = self._ground.open_directory(self._parent)
        try:
            os.stat(self._name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return False
        finally:
            os.close(parent)
        return True

    def list(self) -> Iterator[Item]:
        """Give the path, if it exists."""
        if self._exists():
            yield Item("path of the home", printable(self._home))
