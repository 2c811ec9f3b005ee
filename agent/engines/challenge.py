"""Answering a challenge, in a process of its own: the challenge as JSON on stdin, the answer as JSON on stdout."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import msgspec
import numpy as np

from agent.processes import die_with_parent
from shared.challenge import operands, product_sha256
from shared.documents import Challenge, ChallengeAnswer

ON_GPU = (sys.executable, "-P", "-m", "agent.engines.gpu.product")
ON_GPU_S = 60.0
Product = Callable[[bytes, bytes, int], tuple[bytes, str]]
"""Takes two matrices of int8, row by row, and their order; gives their product as int32 little-endian, and on what it
was computed: "cpu", or a GPU's UUID."""


def cpu_product(a: bytes, b: bytes, size: int) -> tuple[bytes, str]:
    """Multiply on the CPU; in single precision, which is exact here: every sum is a whole number below 2^24."""
    left, right = (np.frombuffer(one, dtype=np.int8).reshape(size, size).astype(np.float32) for one in (a, b))
    return (left @ right).astype("<i4").tobytes(), "cpu"


def gpu_product(a: bytes, b: bytes, size: int) -> tuple[bytes, str]:
    """Multiply on a GPU, in a process of its own because its libraries hang; on the CPU where none does it."""
    argv = (*ON_GPU, str(size))
    end = partial(die_with_parent, os.getpid())
    try:
        done = subprocess.run(argv, input=a + b, stdout=subprocess.PIPE, timeout=ON_GPU_S, check=True, preexec_fn=end)
    except (OSError, subprocess.SubprocessError):
        return cpu_product(a, b, size)
    told, _, made = done.stdout.partition(b"\n")
    uuid = msgspec.json.decode(told).get("uuid")
    return (made, uuid) if uuid else cpu_product(a, b, size)


def solve(challenge: Challenge, product: Product = cpu_product) -> ChallengeAnswer:
    """Answer a challenge. `took_s` is the product's time alone, without growing the operands and the digest."""
    a, b = operands(challenge.nonce, challenge.size)
    began_s = time.perf_counter()
    made, computed_on = product(a, b, challenge.size)
    took_s = time.perf_counter() - began_s
    return ChallengeAnswer(
        nonce=challenge.nonce, product_sha256=product_sha256(made), computed_on=computed_on, took_s=round(took_s, 6)
    )


def main(where: str, parent: str) -> None:
    """Answer the challenge on stdin; `where`: "cpu", or "gpu" where a GPU is to do it if one can."""
    die_with_parent(int(parent))
    challenge = msgspec.json.decode(sys.stdin.buffer.read(), type=Challenge)
    sys.stdout.buffer.write(msgspec.json.encode(solve(challenge, gpu_product if where == "gpu" else cpu_product)))


if __name__ == "__main__":
    main(*sys.argv[1:])
