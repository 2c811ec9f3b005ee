"""The thresholds: what counts as ill, for how long, and who says so. They stand in `thresholds.toml`."""

import tomllib
from enum import StrEnum
from importlib.resources import files

import msgspec
from msgspec import Struct

from collector.verdict import HealthState


class Test(StrEnum):
    """
    How a reading is held against its limits.

    above, below: the value itself; beyond: its size, whatever its sign; true, false: a yes or no; text: words other
    than `well` (and like `matches`, where given); short: less than another reading by at least the limit; share: of
    another reading, in percent; fallen: below the best seen before; grown: a count's growth within the window;
    lasting: a share of time in percent, over the window; told: found by the collector outside of reports.
    """

    __test__ = False

    ABOVE = "above"
    BELOW = "below"
    BEYOND = "beyond"
    TRUE = "true"
    FALSE = "false"
    TEXT = "text"
    SHORT = "short"
    SHARE = "share"
    FALLEN = "fallen"
    GROWN = "grown"
    LASTING = "lasting"
    TOLD = "told"


LIMITED = frozenset({Test.ABOVE, Test.BELOW, Test.BEYOND, Test.SHORT, Test.SHARE, Test.GROWN, Test.LASTING})
"""Tests that need a limit; the others need a `state`."""
WINDOWED = frozenset({Test.GROWN, Test.LASTING})
COMPARING = frozenset({Test.SHORT, Test.SHARE})


class Threshold(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    When a reading is a reason.

    Attributes:
        code: The reason's stable name.
        indicator: Whose reading; "collector" for what the collector itself sees.
        reading: Which; one value, or one by item.
        test: How it is held against the limits.
        words: What is said of it: `{value}` and `{limit}` stand for what was seen and what is allowed.
        remedy: What to do about it.
        source: Where the limit comes from.
        degraded: The limit from which on the machine is degraded, in the reading's unit.
        unhealthy: The limit from which on it is unhealthy.
        state: What it makes of the machine, for tests without a limit.
        other: The reading that it is compared with.
        well: Texts that are no reason.
        matches: What a text must hold to be this reason, as a regular expression.
        busy: A reading of the same item that must be at least `busy_least`, or the test is not made.
        busy_least: See `busy`.
        first: What a machine counted before it was first seen counts as growth.
        lifetime: The count goes on over reboots.
        window_s: Over how long growth and shares are taken; for `fallen` after how long the lower value is believed.
        hold_s: How long it must be seen before it is told.
        gone_s: How long it must not be seen before it is taken back; growth must have left the window besides.
        shadow: On trial: told, and does not count.
    """

    code: str
    indicator: str
    reading: str
    test: Test
    words: str
    remedy: str
    source: str
    degraded: float | None = None
    unhealthy: float | None = None
    state: HealthState | None = None
    other: str = ""
    well: tuple[str, ...] = ()
    matches: str = ""
    busy: str = ""
    busy_least: float = 0.0
    first: bool = False
    lifetime: bool = False
    window_s: float = 0.0
    hold_s: float = 0.0
    gone_s: float = 600.0
    shadow: bool = False

    def __post_init__(self) -> None:
        """Refuse an entry that could not be judged."""
        limits = self.degraded is not None or self.unhealthy is not None
        wrong = (
            (limits != (self.test in LIMITED), "needs a limit, or must have none"),
            ((self.state is not None) == (self.test in LIMITED), "needs a state, or must have none"),
            (bool(self.other) != (self.test in COMPARING), "needs another reading, or must have none"),
            (self.test in WINDOWED and self.window_s <= 0, "needs a window"),
            (not 60 <= self.gone_s <= 7 * 86_400, "must be gone between a minute and a week"),
            (not (self.words and self.remedy and self.source), "needs words, a remedy and a source"),
        )
        for is_wrong, why in wrong:
            if is_wrong:
                raise ValueError(f"{self.code}: the test {self.test} {why}")

    @property
    def limits(self) -> tuple[tuple[float, HealthState], ...]:
        """The limits with what they make of the machine, the worse one first."""
        both = ((self.unhealthy, HealthState.UNHEALTHY), (self.degraded, HealthState.DEGRADED))
        return tuple((limit, state) for limit, state in both if limit is not None)


class _Table(Struct, frozen=True, forbid_unknown_fields=True):
    threshold: tuple[Threshold, ...]


def parse(text: str) -> tuple[Threshold, ...]:
    """
    Return the thresholds of a TOML text.

    Raises:
        ValueError: an entry is unknown, incomplete or told twice.
    """
    found = msgspec.convert(tomllib.loads(text), type=_Table).threshold
    codes = [one.code for one in found]
    if twice := sorted({code for code in codes if codes.count(code) > 1}):
        raise ValueError(f"told twice: {', '.join(twice)}")
    return found


THRESHOLDS = parse((files("collector.verdict") / "thresholds.toml").read_text(encoding="utf-8"))
"""Every threshold, in the order in which they are judged."""
