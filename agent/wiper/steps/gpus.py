"""
Accelerators: this version cannot look into them, so where there is one it says so.

Nothing here is ever erased.
"""

from collections.abc import Iterator
from pathlib import Path

from agent.wiper.steps import NOT_APPLICABLE, NOT_EXAMINED, Erased, Found, Item, Looked, Subject, Tell

DEVICES = ("nvidia[0-9]*", "kfd", "davinci[0-9]*")


class Gpus:
    """GPUs that may hold something of the tenant's."""

    name = "gpus"

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
        here = sorted(str(path) for pattern in DEVICES for path in Path("/dev").glob(pattern))
        if here:
            return Looked(NOT_EXAMINED, reason=f"cannot look into: {', '.join(here)}"[:300])
        return Looked(NOT_APPLICABLE, reason="no GPU was found")

    def list(self) -> Iterator[Item]:
        """Give nothing: nothing can be looked into."""
        return iter(())
