"""Memory for direct I/O, filled with what no device can make smaller."""

import contextlib
import ctypes
import mmap
import os
from array import array

PAGE = 4096
"""Every piece of this size differs from every other, so that a device that folds or packs equal ones gains nothing."""
WORD = 8


class Buffers:
    """
    Buffers in one piece of memory, aligned to its pages (which suits sectors of up to 4 KiB).

    Args:
        count: How many.
        block_bytes: Of each; a multiple of 4 KiB.
    """

    def __init__(self, count: int, block_bytes: int) -> None:
        # Private: shared memory, which is the default, gets no huge pages.
        memory = mmap.mmap(-1, count * block_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        # In one piece where the kernel can: a device takes so many pieces at once (virtio: 254), and splits a block of
        # 256 scattered pages. A kernel without huge pages says EINVAL.
        with contextlib.suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
        memory.write(os.urandom(len(memory)))
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        whole = memoryview(memory)
        words = whole.cast("Q")
        size = block_bytes // WORD
        self.blocks = [whole[at : at + block_bytes] for at in range(0, len(memory), block_bytes)]
        self._stamps = [words[at : at + size : PAGE // WORD] for at in range(0, len(words), size)]
        self._pages = block_bytes // PAGE
        self._next = 0

    def stamp(self, slot: int) -> None:
        """Make every page of one buffer unlike all that were written before it."""
        first, self._next = self._next, self._next + self._pages
        self._stamps[slot][:] = memoryview(array("Q", range(first, self._next)))
