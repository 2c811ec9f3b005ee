"""
The exact product of two matrices of small whole numbers, by a GPU.

`python -m agent.engines.gpu.product SIZE` takes both matrices on stdin, one after the other, and gives on stdout a line
of JSON, `{"uuid": …}` or `{"code": …, "reason": …}`, and behind it the product. Tried with stand-ins only.
"""

import json
import os
import sys

import numpy as np

from agent.engines.gpu.cublas import ENVIRONMENT, EXACT
from agent.engines.gpu.one import started, take
from agent.gpu.cuda import ALONE, RefusedError
from shared.codes import Code, Trouble

LARGEST = 8192
"""Sums stay far below 2^24, up to which FP32 has every whole number."""


def gpu_product(a: bytes, b: bytes, size: int) -> tuple[bytes, str]:
    """
    Return the product of two square matrices, and the UUID of the GPU that made it.

    It loads NVIDIA's libraries into this process, which may then hang or crash with them: call it in a child.

    Args:
        a: Row by row, a signed byte each, of -1, 0 and 1.
        b: Likewise.
        size: Rows and columns, 1 to 8192.

    Returns:
        The product row by row, 32-bit little-endian whole numbers; the UUID as NVML writes it.

    Raises:
        Trouble: `invalid`: sizes do not fit, or another number is in it; `no_gpu`, `not_installed`: there is nothing to
            do it; `benchmark_failed`: it could not.
    """
    if not 1 <= size <= LARGEST or {len(a), len(b)} != {size * size}:
        raise Trouble(Code.INVALID, f"two matrices of {size} x {size} bytes are needed, of size 1 to {LARGEST}")
    factors = [np.frombuffer(one, np.int8) for one in (a, b)]
    if any(one.min() < -1 or one.max() > 1 for one in factors):
        raise Trouble(Code.INVALID, "only -1, 0 and 1 may be in the matrices")
    try:
        cuda, cublas = started()
        places = [take(cuda, 2 * size * size) for _ in factors]
        for place, one in zip(places, factors, strict=True):
            cuda.upload(place, one.astype(np.float16).data.cast("B"))
        result = take(cuda, 4 * size * size)
        # Row by row is column by column of what is mirrored, and (AB)' = B'A'.
        cublas.multiply(EXACT, places[1], places[0], result, size)
        found = np.frombuffer(cuda.download(result, 4 * size * size), np.float32)
        return found.astype("<i4").tobytes(), cuda.uuid()
    except RefusedError as error:
        raise Trouble(Code.BENCHMARK_FAILED, str(error)) from error


def main(size: str) -> None:
    """Multiply what comes on stdin."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    os.environ.update(ALONE | ENVIRONMENT)
    side = int(size) ** 2
    a, b = sys.stdin.buffer.read(side), sys.stdin.buffer.read()
    try:
        product, uuid = gpu_product(a, b, int(size))
        out.write(json.dumps({"uuid": uuid}).encode() + b"\n" + product)
    except Trouble as trouble:
        out.write(json.dumps({"code": trouble.code, "reason": trouble.detail}).encode() + b"\n")
    out.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
