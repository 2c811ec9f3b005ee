"""Moves blocks to and from a disk, by direct I/O, and proves that the disk moved them."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from msgspec import Struct

SLICE_S = 0.5
"""How fine the series of a job is."""

Tell = Callable[[int], None]
"""Takes the bytes moved so far; called about once a slice, from any thread."""


class Job(Struct, frozen=True, kw_only=True):
    """
    What is to be moved, with direct I/O.

    Attributes:
        write: Into the file; else out of it.
        random: Blocks in random order; else one after another, and from the start again at the end.
        block_bytes: A block; also the alignment of each.
        in_flight: How many blocks the kernel is given at once.
        size_bytes: The part of the file that is used, from its start; whole blocks.
        most_bytes: Stop after this much.
        limit_s: Or after this long; blocks in flight are still waited for.
    """

    write: bool
    random: bool = False
    block_bytes: int
    in_flight: int
    size_bytes: int
    most_bytes: int
    limit_s: float


class Moved(Struct, frozen=True, kw_only=True):
    """
    What was moved.

    Attributes:
        total_bytes: All of it.
        passed_s: From the first block given to the kernel to the last one done.
        series_mb_s: MB/s (10^6) of each full slice of `SLICE_S`, in order.
        latency_us: Of one block, by percentile ("p50", "p99", "p99_9"); empty for sequential jobs.
    """

    total_bytes: int
    passed_s: float
    series_mb_s: tuple[float, ...]
    latency_us: Mapping[str, float] = {}


class Engine(NamedTuple):
    """
    Something that can do a job.

    Attributes:
        name: As it stands in details.
        version: Returns its version; None where this machine does not have it.
        move: Does a job on an open descriptor; raises `OSError` with what the kernel said, `Trouble` for anything else.
    """

    name: str
    version: Callable[[], str | None]
    move: Callable[[int, Job, Tell], Moved]
