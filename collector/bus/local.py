"""The doorbell of a collector that is one process."""

from collections.abc import Callable
from typing import Protocol


class Bell(Protocol):
    """Tells whoever holds a machine's link that a command waits for it."""

    async def ring(self, hardware_id: str) -> None:
        """Ring for a machine; a lost ring costs a delay, never an order."""


class LocalBell:
    """
    Rings in this process.

    Args:
        answer: Called with the hardware id.
    """

    def __init__(self, answer: Callable[[str], None]) -> None:
        self._answer = answer

    async def ring(self, hardware_id: str) -> None:
        """Ring for a machine."""
        self._answer(hardware_id)
