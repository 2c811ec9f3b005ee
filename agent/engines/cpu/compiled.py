"""
The kernels' work; imported only by the crew's processes, which have set what these libraries read when they load.

All data come from SHAKE-256 and whole numbers, so that every machine works on the same.
"""

import ctypes
import hashlib
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from ssl import OPENSSL_VERSION

import numpy as np
import zstandard
from numpy.typing import NDArray

from agent.engines.cpu.kernels import GEMM_N, SORT_COUNT, TRIAD_ARRAY_BYTES, TRIAD_CHUNK

Call = Callable[[], object]
SEED = b"rackproof cpu/1 "
CORPUS_BYTES = 2**20
ZSTD_LEVEL = 5
VOCABULARY_BITS = 12
_LETTERS = b"etaoinshrdlucmfwypvbgkjqxz"
"""The more frequent ones first, as in English."""


def corpus() -> bytes:
    """Return 1 MiB like text: words of 2 to 10 letters out of 4,096, common ones much more often than rare ones."""
    raw = _bytes("words", 20 * 2**VOCABULARY_BITS)
    words = [_word(raw[start : start + 20]) for start in range(0, len(raw), 20)]
    # The product of two even numbers is small more often than large.
    pairs = np.frombuffer(_bytes("text", 2**20), "<u2").astype(np.uint64).reshape(-1, 2)
    drawn = (pairs[:, 0] * pairs[:, 1]) >> np.uint64(32 - VOCABULARY_BITS)
    return b" ".join([words[one] for one in drawn.tolist()])[:CORPUS_BYTES]


def _word(raw: bytes) -> bytes:
    length = 2 + raw[0] % 9
    return bytes(_LETTERS[raw[2 * at] * raw[2 * at + 1] * len(_LETTERS) >> 16] for at in range(length))


def _zstd() -> Call:
    text, pack, unpack = corpus(), zstandard.ZstdCompressor(level=ZSTD_LEVEL), zstandard.ZstdDecompressor()
    return lambda: unpack.decompress(pack.compress(text))


def _sha256() -> Call:
    block = _bytes("block", 2**20)
    return lambda: hashlib.sha256(block).digest()


def _gemm() -> Call:
    left, right = (_doubles(name, GEMM_N**2).reshape(GEMM_N, GEMM_N) for name in ("left", "right"))
    product = np.zeros_like(left)
    return lambda: np.matmul(left, right, out=product)


def _sort() -> Call:
    mixed = _doubles("sort", SORT_COUNT)
    room = mixed.copy()

    def once() -> None:
        np.copyto(room, mixed)
        # The stable sort is the one compiled code that every CPU runs: the default kind is 10 to 15 times as fast
        # where it finds AVX2, AVX-512 or SVE, and would make the score a question of that alone.
        room.sort(kind="stable")

    return once


def _triad() -> Call:
    arrays = [np.full(TRIAD_ARRAY_BYTES // 8, value) for value in (0.0, 1.0, 2.0)]
    pieces = cycle(list(zip(*(np.split(one, one.size // TRIAD_CHUNK) for one in arrays), strict=True)))

    def once() -> None:
        a, b, c = next(pieces)
        np.multiply(c, 3.0, out=a)
        np.add(a, b, out=a)

    return once


MAKE: dict[str, Callable[[], Call]] = {"zstd": _zstd, "sha256": _sha256, "gemm": _gemm, "sort": _sort, "triad": _triad}
"""By the kernel's name: makes its data and returns the call that does the work once."""


def software() -> dict[str, str]:
    """Return the versions of what does the work; of OpenBLAS also the kind of CPU that it took this one for."""
    return {
        "numpy": np.__version__,
        "openblas": _openblas(),
        "openssl": OPENSSL_VERSION,
        "zstandard": zstandard.__version__,
        "zstd": ".".join(map(str, zstandard.ZSTD_VERSION)),
    }


def _openblas() -> str:
    """Return how the library that is loaded describes itself; "" where NumPy came with another one."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "libscipy_openblas64_" in line:
            config = ctypes.CDLL(line.split(maxsplit=5)[5]).scipy_openblas_get_config64_
            config.restype = ctypes.c_char_p
            return str(config().decode())
    return ""


def _bytes(name: str, count: int) -> bytes:
    return hashlib.shake_256(SEED + name.encode()).digest(count)


def _doubles(name: str, count: int) -> NDArray[np.float64]:
    """Return so many doubles in [0, 1)."""
    numbers = np.frombuffer(_bytes(name, 8 * count), "<u8") >> np.uint64(11)
    return numbers.astype(np.float64) * 2.0**-53
