"""What is remembered of a machine between two reports: a few numbers for what is not as it should be."""

from msgspec import Struct, field

from collector.verdict import HealthState
from collector.verdict.standing import Standing

MOST_ITEMS = 256
"""Items of one reading that are looked at; the largest machines have some dozens."""
MOST_STANDING = 100
"""Reasons of one machine that are remembered; a machine with more is broken or lies."""
BUCKETS = 10
"""Parts of a window: what grew is forgotten by so many steps."""
EVENTS_AN_HOUR = 200.0
"""A machine's events past this are left out, and that is told: a lying agent must not fill the database."""


class Window(Struct):
    """What grew within the last seconds: at most eleven pairs of a time and an amount."""

    parts: list[tuple[float, float]] = field(default_factory=list)

    def add(self, now: float, amount: float, window_s: float) -> None:
        """Note growth."""
        if self.parts and 0 <= now - self.parts[-1][0] < window_s / BUCKETS:
            began, before = self.parts[-1]
            self.parts[-1] = (began, before + amount)
        else:
            self.parts.append((now, amount))
        del self.parts[: -BUCKETS - 1]

    def total(self, now: float, window_s: float) -> float:
        """Return what grew within the window, after forgetting what is older."""
        if self.parts and now - self.parts[0][0] >= window_s:
            self.parts = [part for part in self.parts if now - part[0] < window_s]
        return sum(amount for _, amount in self.parts)


class Memory(Struct, kw_only=True):
    """
    One machine's past, as far as it matters.

    Attributes:
        hardware_id: Which machine.
        state: The verdict.
        since: Since when, in seconds of the epoch.
        silent: Whether the machine is offline.
        fresh: Whether it was never judged before: what it counted earlier may then be news.
        judged_at: When the report judged last was made.
        boot_id: The boot that it was made in.
        boots: Boots seen to begin.
        standings: By code and item: reasons that are told or may soon be.
        counts: By code and item: counts, where one of them is not zero.
        windows: By code and item: what grew lately.
        best: By code and item: the best value.
        lower_since: By code and item: since when the best value is not reached.
        seen: Indicators that were read before.
        gpus_expected: The most GPUs that stood on the bus for an hour.
        gpus_more: More than that: the least of them, and since when.
        events_left: How many events may still be told.
    """

    hardware_id: str
    state: HealthState = HealthState.UNKNOWN
    since: float = 0.0
    silent: bool = False
    fresh: bool = True
    judged_at: float = 0.0
    boot_id: str = ""
    boots: int = 0
    standings: dict[str, dict[str, Standing]] = field(default_factory=dict)
    counts: dict[str, dict[str, float]] = field(default_factory=dict)
    windows: dict[str, dict[str, Window]] = field(default_factory=dict)
    best: dict[str, dict[str, float]] = field(default_factory=dict)
    lower_since: dict[tuple[str, str], float] = field(default_factory=dict)
    seen: tuple[str, ...] = ()
    gpus_expected: int | None = None
    gpus_more: tuple[int, float] | None = None
    events_left: float = EVENTS_AN_HOUR

    def room(self) -> bool:
        """Return whether one more reason can be remembered."""
        return sum(map(len, self.standings.values())) < MOST_STANDING


class Look:
    """
    One look at a report.

    Attributes:
        now: When it was made.
        elapsed_s: How long after the one before; 0 where there was none or it is too long ago.
        odd: What could not be read, by "indicator.reading", in words.
        left_out: Reasons for which there was no room.
    """

    __slots__ = ("elapsed_s", "left_out", "now", "odd")

    def __init__(self, now: float, elapsed_s: float) -> None:
        self.now = now
        self.elapsed_s = elapsed_s
        self.odd: dict[str, str] = {}
        self.left_out = 0
