"""The marks of a measurement: what a reader must know of a figure that is kept all the same."""

from enum import StrEnum


class Mark(StrEnum):
    """One thing to know of a figure; a marked figure is never compared with others as if it had none."""

    QUICK = "quick"
    CACHED = "cached"
    UNPROVEN = "unproven"
    VIRTUALIZED = "virtualized"
    CLIFF = "cliff"
    DISTURBED = "disturbed"
    THROTTLED = "throttled"
    POWER_CAPPED = "power_capped"
    UNEVEN = "uneven"
    LOWER_BOUND = "lower_bound"
    UNWITNESSED = "unwitnessed"


MEANING: dict[Mark, str] = {
    Mark.QUICK: "a short look, never compared with others",
    Mark.CACHED: "part of it came from a cache: the device is slower than this",
    Mark.UNPROVEN: "this file system does not tell whether the device did the work",
    Mark.VIRTUALIZED: "a virtual disk: a cache of its host cannot be seen through",
    Mark.CLIFF: "fast at first, then much slower: a small fast part before a slow one",
    Mark.DISTURBED: "other work took too much of the machine",
    Mark.THROTTLED: "the hardware slowed itself down: heat or power",
    Mark.POWER_CAPPED: "a power limit held the clock down, as it may at full load",
    Mark.UNEVEN: "one GPU is much slower than the others in the machine",
    Mark.LOWER_BOUND: "at least this: the other end, not this machine, was the limit",
    Mark.UNWITNESSED: "the other end signs nothing: only this machine says so",
}
