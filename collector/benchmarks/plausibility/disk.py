"""Disk figures against the link, the medium, the memory, and the proof that the device did the work."""

from collections.abc import Iterator

from collector.benchmarks.plausibility.seen import Seen, amount, flag
from shared.documents import BenchmarkName
from shared.flags import Flag, FlagCode
from shared.marks import Mark

LINK_SHARE = 0.95
"""What a link's framing leaves for data, at the most."""
PLATTERS_MB_S = 350.0
"""More than any rotating disk streams; the fastest with one actuator give about 300. Source: vendors' data sheets."""
MEMORY_SHARE = 0.25
"""A disk that reads faster than this share of memory's bandwidth is memory."""
DEVICE_SHARE = 0.95
"""Least part of what was asked that the device must have moved."""
INCOMPRESSIBLE = 0.95
"""Least that a compressor leaves of random bytes."""

READ, WRITE = "disk_read_mb_s", "disk_write_mb_s"


def link(seen: Seen) -> Iterator[Flag]:
    """See that the disk is not faster than its link."""
    limit = seen.disk.link_mb_s
    for figure, value in _figures(seen):
        if limit and value > limit * LINK_SHARE:
            yield flag(FlagCode.OVER_LINK, f"{amount(value, figure)} over a link of {limit:,.6g} MB/s", figure)


def platters(seen: Seen) -> Iterator[Flag]:
    """See that a rotating disk is as slow as they are."""
    for figure, value in _figures(seen):
        if seen.disk.rotational and value > PLATTERS_MB_S:
            words = f"{amount(value, figure)} from a rotating disk; {PLATTERS_MB_S:.0f} is beyond any"
            yield flag(FlagCode.TOO_FAST_FOR_PLATTERS, words, figure)


def memory(seen: Seen) -> Iterator[Flag]:
    """See that it was not memory that was read."""
    value, bandwidth = seen.outcome.disk_read_mb_s, seen.cpu.triad_gb_s
    if value is not None and bandwidth and value > bandwidth * 1000 * MEMORY_SHARE:
        words = f"{amount(value, READ)}; this machine's memory moves {bandwidth:,.4g} GB/s"
        yield flag(FlagCode.OVER_MEMORY, words, READ)


def proof(seen: Seen) -> Iterator[Flag]:
    """See that the device moved what was written and read."""
    part = seen.part(BenchmarkName.DISK)
    if part is None:
        return
    written, read = seen.disk.write_share, seen.disk.read_share
    if written is not None and written < DEVICE_SHARE:
        words = f"the device wrote {written:.2f} of what was asked; unwritten blocks are read without it"
        yield flag(FlagCode.NOT_WRITTEN, words, WRITE)
        yield flag(FlagCode.NOT_WRITTEN, words, READ)
    if read is not None and read < DEVICE_SHARE:
        yield flag(FlagCode.CACHED, f"the device read {read:.2f} of what was asked", READ)
    elif Mark.CACHED in part.marks and (written is None or written >= DEVICE_SHARE):
        yield flag(FlagCode.CACHED, "the machine itself marks it as cached", READ)
    if Mark.UNPROVEN not in part.marks:
        for figure, share in ((WRITE, written), (READ, read)):
            if share is None and getattr(seen.outcome, figure) is not None:
                yield flag(FlagCode.NO_PROOF, "the details do not tell what the device moved", figure)


def data(seen: Seen) -> Iterator[Flag]:
    """See that what was written could not be packed."""
    if seen.disk.packed is not None and seen.disk.packed < INCOMPRESSIBLE:
        for figure, _ in _figures(seen):
            words = f"samples of what was written shrink to {seen.disk.packed:.2f} of their size"
            yield flag(FlagCode.COMPRESSIBLE, words, figure)


def _figures(seen: Seen) -> Iterator[tuple[str, float]]:
    for figure in (READ, WRITE):
        value = getattr(seen.outcome, figure)
        if value is not None:
            yield figure, value
