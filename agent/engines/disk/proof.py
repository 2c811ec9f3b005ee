"""
Proof that the device did the work: what the kernel counted, and what the file really holds.

A page cache, a file of unwritten blocks or a device that packs zeros are many times faster than a disk. The kernel
counts the bytes that a process had moved to and from devices, and the sectors that a device moved. Neither is enough:
the first counts a write into the page cache as soon as a page is dirty, the second counts what others do. The lower of
the two is believed.

Source: proc_pid_io(5); Linux, Documentation/block/stat.rst and Documentation/ABI/stable/sysfs-block (queue/iostats).
"""

import mmap
import os
import random
import zlib
from pathlib import Path

from msgspec import Struct

from agent.engines.disk.device import SECTOR_BYTES, SYS, whole

READ_SECTORS, WRITTEN_SECTORS = 2, 6
"""Columns of a block device's `stat`."""
SAMPLES, SAMPLE_BYTES = 16, 64 * 1024
NOT_OURS = ("fuse",)
"""File systems whose device is used by a process of their own, which the kernel counts instead of us."""


class Count(Struct, frozen=True, kw_only=True):
    """What was counted at one moment, in bytes; `device_bytes` is None where no device counts."""

    process_bytes: int
    device_bytes: int | None


def count(carriers: tuple[str, ...], *, write: bool, sys: Path = SYS) -> Count:
    """Return what this process and children that it has waited for had moved, and what devices did, one way."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    stats = [_stat(one, sys) for one in carriers]
    column = WRITTEN_SECTORS if write else READ_SECTORS
    return Count(
        process_bytes=int(lines["write_bytes" if write else "read_bytes"]),
        device_bytes=sum(one[column] for one in stats if one) * SECTOR_BYTES if stats and all(stats) else None,
    )


def _stat(name: str, sys: Path) -> list[int] | None:
    """Return a device's counters; None where it keeps none: switched off, or never moved since the machine's start."""
    here = sys / "class/block" / name
    if (sys / "class/block" / whole(name, sys) / "queue/iostats").read_text().strip() != "1":
        return None
    numbers = [int(one) for one in (here / "stat").read_text().split()]
    return numbers if numbers[READ_SECTORS] + numbers[WRITTEN_SECTORS] else None


def share(asked_bytes: int, kind: str, before: Count, after: Count) -> float | None:
    """
    Return which part of the bytes that were asked for came from or went to a device: about 1, or 0 for a cache.

    Args:
        asked_bytes: By us, between the two counts; > 0.
        kind: The file system's type.
        before: Counted before the work.
        after: Counted after it, before anything is flushed.

    Returns:
        None where nothing that counts can be believed.
    """
    shares = []
    if before.device_bytes is not None and after.device_bytes is not None:
        shares.append((after.device_bytes - before.device_bytes) / asked_bytes)
    if not kind.startswith(NOT_OURS):
        shares.append((after.process_bytes - before.process_bytes) / asked_bytes)
    return min(shares, default=None)


def packed(descriptor: int, size_bytes: int) -> float:
    """
    Return what is left of samples of a file when they are compressed: 1 for random bytes, about 0 for zeros.

    Args:
        descriptor: A file open for direct I/O, or without.
        size_bytes: How much of it was written; >= 64 KiB.

    Raises:
        OSError: it cannot be read.
    """
    dice = random.SystemRandom()
    raw = kept = 0
    with mmap.mmap(-1, SAMPLE_BYTES) as page:
        for _ in range(SAMPLES):
            at = dice.randrange(size_bytes // SAMPLE_BYTES) * SAMPLE_BYTES
            raw += os.preadv(descriptor, [page], at)
            kept += len(zlib.compress(page[:], 1))
    return kept / raw if raw else 0.0
