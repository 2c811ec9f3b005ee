"""Which calls are left out for a while, because they hung or crashed: pure."""

from collections.abc import Iterable

from msgspec import Struct

from agent.gpu.nvml import WHOLE_GPU

FIRST_S, LONGEST_S = 60.0, 3600.0
"""A call that hangs costs a process and, where it cannot be ended, the machine a stuck one: it is tried rarely."""


class Spared(Struct, frozen=True):
    """
    A call that is left out.

    Attributes:
        call: NVML's function, or "*" for every call about this GPU.
        about: The GPU's UUID, or "index N" for one that has not told it.
        why: What happened, in words.
        until_s: When it is tried again, on a monotonic clock.
        times: How often it happened.
    """

    call: str
    about: str
    why: str
    until_s: float
    times: int = 1

    @property
    def key(self) -> str:
        """What a question calls it."""
        return f"{self.call} {self.about}"


def active(spared: Iterable[Spared], now_s: float) -> tuple[Spared, ...]:
    """Return what is to be left out now."""
    return tuple(one for one in spared if one.until_s > now_s)


def spare(spared: tuple[Spared, ...], call: str, about: str, why: str, now_s: float) -> tuple[Spared, ...]:
    """
    Return what to leave out after a call has hung or crashed.

    The first one of a GPU is left out alone, so that its other readings go on; when a second one hangs meanwhile, the
    GPU as a whole is left alone.
    """
    others = any(one.about == about and one.call != call for one in active(spared, now_s))
    name = WHOLE_GPU if others else call
    times = 1 + sum(one.times for one in spared if (one.call, one.about) == (name, about))
    left = tuple(one for one in spared if (one.call, one.about) != (name, about))
    pause_s = min(LONGEST_S, FIRST_S * 2.0 ** (times - 1))
    return (*left, Spared(name, about, why, now_s + pause_s, times))
