"""The CPU benchmark's work: the same on every machine, and done as it is named."""

import hashlib

import numpy as np
import pytest
import zstandard

from agent.engines.cpu import compiled
from agent.engines.cpu.kernels import GEMM_N, KERNELS, TRIAD


def test_the_corpus_is_the_same_everywhere():
    """One bit more or less, or one that packs otherwise, and figures of two machines would not be of the same work."""
    text = compiled.corpus()
    packed = zstandard.ZstdCompressor(level=compiled.ZSTD_LEVEL).compress(text)
    assert (len(text), hashlib.sha256(text).hexdigest()) == (
        2**20,
        "38da266a079d72917e29d01da6d0df835854557d2f4f483a61fadd3693cbe5c9",
    )
    assert len(packed) == 362748
    assert 2.5 < len(text) / len(packed) < 3.5


@pytest.mark.parametrize(
    ("name", "count", "digest"),
    [
        ("left", GEMM_N**2, "495bbe4268e0dcc1"),
        ("right", GEMM_N**2, "db1294117ea07d69"),
        ("sort", 2**18, "a2b03760a0be3920"),
    ],
)
def test_the_numbers_are_the_same_everywhere(name, count, digest):
    """Doubles made of whole numbers, with no rounding that a library could do otherwise."""
    numbers = compiled._doubles(name, count)
    assert hashlib.sha256(numbers.astype("<f8").tobytes()).hexdigest()[:16] == digest
    assert 0 <= numbers.min() < numbers.max() < 1


def test_each_kernel_has_its_work_and_can_do_it_again():
    """What the table names, no less and no more; a second call does what the first did."""
    assert set(compiled.MAKE) == {kernel.name for kernel in (*KERNELS, TRIAD)}
    for name in ("zstd", "sha256", "gemm"):
        call = compiled.MAKE[name]()
        first, second = np.array(call()), np.array(call())
        assert np.array_equal(first, second), name


def test_zstd_comes_back_to_the_corpus_and_gemm_to_the_product():
    """The work is really done."""
    assert compiled.MAKE["zstd"]()() == compiled.corpus()
    left, right = (compiled._doubles(name, GEMM_N**2).reshape(GEMM_N, GEMM_N) for name in ("left", "right"))
    assert np.allclose(compiled.MAKE["gemm"]()(), np.einsum("ij,jk->ik", left, right))


def test_sort_sorts_unsorted_numbers_each_time():
    """Numbers that are in order already would be sorted in a tenth of the time."""
    call = compiled.MAKE["sort"]()
    room = dict(zip(call.__code__.co_freevars, (cell.cell_contents for cell in call.__closure__), strict=True))
    for _ in range(2):
        call()
        assert (np.diff(room["room"]) >= 0).all()
        assert (np.diff(room["mixed"]) < 0).mean() > 0.4


def test_the_triad_goes_through_all_of_its_arrays():
    """Through a part that a cache holds it would measure the cache."""
    steps = compiled.TRIAD_ARRAY_BYTES // 8 // compiled.TRIAD_CHUNK
    call = compiled.MAKE["triad"]()
    pieces = call.__closure__[0].cell_contents
    seen = {next(pieces)[0].ctypes.data for _ in range(2 * steps)}
    assert len(seen) == steps
    call()
    a, b, c = next(pieces)
    assert a.nbytes + b.nbytes + c.nbytes == pytest.approx(TRIAD.work * 1e9)


def test_what_does_the_work_is_named():
    """Figures of two machines are compared only with this in view."""
    told = compiled.software()
    assert (told["numpy"], told["zstandard"], told["zstd"]) == ("2.4.6", "0.25.0", "1.5.7")
    assert told["openssl"].startswith("OpenSSL")
    assert told["openblas"].startswith("OpenBLAS 0.3.")
    assert zstandard.backend == "cext"
