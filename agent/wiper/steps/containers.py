"""
Container engines: this version cannot look into them, so where there is one it says so.

Nothing here is ever erased.
"""

from collections.abc import Iterator
from pathlib import Path

from agent.wiper.containers import STORAGE
from agent.wiper.steps import NOT_APPLICABLE, NOT_EXAMINED, Erased, Found, Item, Looked, Subject, Tell

SOCKETS = ("/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock", "/run/crio/crio.sock")


class Containers:
    """Container engines that may hold something of the tenant's."""

    name = "containers"

    def __init__(self, subject: Subject) -> None:
        self._simulated = subject.ground.simulated

    def find(self) -> Found:
        """Count nothing: nothing can be looked into."""
        return Found(0)

    def erase(self, tell: Tell) -> Erased:  # noqa: ARG002 - the protocol's
        """Leave everything."""
        return Erased(0)

    def verify(self) -> Looked:
        """Say which of them are here."""
        if self._simulated:
            return Looked(NOT_APPLICABLE, reason="a simulated machine has none")
        here = [path for path in SOCKETS if Path(path).exists()]
        here += [path for path in STORAGE if _holds_something(Path(path))]
        if here:
            return Looked(NOT_EXAMINED, reason=f"cannot look into: {', '.join(here)}"[:300])
        return Looked(NOT_APPLICABLE, reason="no container engine was found")

    def list(self) -> Iterator[Item]:
        """Give nothing: nothing can be looked into."""
        return iter(())


def _holds_something(directory: Path) -> bool:
    """Packages make the directories; an engine that never ran leaves them empty."""
    try:
        return any(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return False
