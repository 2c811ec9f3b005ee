"""What is measured, in one table; the work itself is in `compiled`, which alone imports the libraries for it."""

from msgspec import Struct

MIB_MB = 2**20 / 1e6
"""One MiB in MB (10^6 bytes)."""
GEMM_N = 384
"""Rows and columns: three such matrices of doubles are 3.4 MiB, so that it is the core that is measured."""
SORT_COUNT = 2**18
"""Doubles: 2 MiB, more than most second-level caches hold."""
TRIAD_CHUNK = 2**14
"""Doubles in one step of the triad: 128 KiB, which stay in a second-level cache between its two halves."""
TRIAD_ARRAY_BYTES = 2**25
"""Each of a thread's three arrays; together they are larger than a thread's part of any third-level cache sold."""


class Kernel(Struct, frozen=True, kw_only=True):
    """
    One kind of work.

    Attributes:
        name: What `compiled` knows it by.
        unit: Of its rate.
        work: How many of that unit's amount (MB, GFLOP, sorts, GB) one call does.
    """

    name: str
    unit: str
    work: float


class Scored(Kernel, frozen=True, kw_only=True):
    """
    A kernel that counts in the score.

    Attributes:
        reference: The rate of one thread that is worth 125 points: eight such threads are 1000.
    """

    reference: float


KERNELS = (
    Scored(name="zstd", unit="MB/s", work=MIB_MB, reference=101.0),
    Scored(name="sha256", unit="MB/s", work=MIB_MB, reference=1790.0),
    Scored(name="gemm", unit="GFLOP/s", work=2 * GEMM_N**3 / 1e9, reference=49.4),
    Scored(name="sort", unit="1/s", work=1.0, reference=85.0),
)
"""
The score's four kernels.

The references define the unit of `cpu/1`: they are about what one thread of an AMD EPYC of the Zen 4 generation does
beside others that are as busy, and they stay what they are whatever is measured on such a machine later.
"""
TRIAD = Kernel(name="triad", unit="GB/s", work=3 * 8 * TRIAD_CHUNK / 1e9)
"""
a = b + 3 c over arrays in memory, 24 bytes an element; no part of the score.

Source: J. McCalpin, STREAM: what a cache reads before it writes is not counted.
"""
