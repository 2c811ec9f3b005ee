"""How much one machine may ask of the collector: allowances that fill with time, as an agent may lie. Pure."""

from msgspec import Struct

OUTBOX_REPORTS = 20_000
"""What an agent keeps at the most while it is cut off, and may send at once when it is back."""
REPORT_BYTES = 16_384
"""A report of the largest machines."""
JOINS, JOIN_EVERY_S = 100.0, 15.0
"""Links that a machine may open; an agent that is turned away for it comes back after 15 s."""
GAPS, GAP_EVERY_S = 200.0, 30.0
"""Rows about missing reports; each is an interruption of its own."""


class Allowance:
    """
    So much at once, and so much more with each second.

    Args:
        most: What may be taken at once after a long rest.
        per_s: What is added a second.
    """

    __slots__ = ("_at_s", "_left", "_most", "_per_s")

    def __init__(self, most: float, per_s: float) -> None:
        self._most = most
        self._per_s = per_s
        self._left = most
        self._at_s: float | None = None

    def take(self, amount: float, now_s: float) -> float:
        """Take an amount; return for how many seconds its taker has to wait, 0 while there was enough."""
        self._fill(now_s)
        self._left -= amount
        return max(0.0, -self._left / self._per_s)

    def allows(self, now_s: float) -> bool:
        """Take one if there is one."""
        self._fill(now_s)
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def _fill(self, now_s: float) -> None:
        if self._at_s is not None:
            self._left = min(self._most, self._left + max(0.0, now_s - self._at_s) * self._per_s)
        self._at_s = now_s


class Pace(Struct, frozen=True):
    """One machine's allowances: messages and their bytes, links, and rows about missing reports."""

    messages: Allowance
    size: Allowance
    joins: Allowance
    gaps: Allowance

    def wait_s(self, size_bytes: int, now_s: float) -> float:
        """Take a message; return for how long the next one is not read."""
        return max(self.messages.take(1, now_s), self.size.take(size_bytes, now_s))


class Paces:
    """
    Every machine's allowances. They outlive its links: who comes back at once has no more than before.

    Args:
        heartbeat_s: The distance of reports that is asked for. Five times as many, of twice the largest size, are
            taken for ever, and the whole of a full outbox at once: an honest agent never waits.
    """

    def __init__(self, heartbeat_s: float = 15.0) -> None:
        self._reports_s = max(5.0, 5.0 / heartbeat_s)
        self._bytes_s = max(1.0, 2.0 / heartbeat_s) * REPORT_BYTES
        self._known: dict[str, Pace] = {}

    def of(self, hardware_id: str) -> Pace:
        """Return the allowances of a machine that has proven who it is."""
        found = self._known.get(hardware_id)
        if found is None:
            found = self._known[hardware_id] = Pace(
                messages=Allowance(OUTBOX_REPORTS, self._reports_s),
                size=Allowance(OUTBOX_REPORTS * REPORT_BYTES, self._bytes_s),
                joins=Allowance(JOINS, 1 / JOIN_EVERY_S),
                gaps=Allowance(GAPS, 1 / GAP_EVERY_S),
            )
        return found
