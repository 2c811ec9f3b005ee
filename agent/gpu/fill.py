"""
`python -m agent.gpu.fill UUID`: fill the free memory of one GPU with a constant, so that nothing older stands in it.

This runs as a process of its own and says on stdout, as JSON, how many MiB of how many it filled, or why not. What it
took is given back when it ends. Tried with a stand-in for libcuda only, on no real GPU.
"""

import argparse
import json
import os
import sys
import time
from typing import Any

from agent.gpu.cuda import ALONE, Cuda, RefusedError

MIB = 2**20
DEADLINE_S = 60.0
SMALLEST_BYTES = 2 * MIB
"""The size of a large page, in which the driver gives memory out."""
CONSTANT = 0


def fill(cuda: Cuda, until_s: float) -> tuple[int, int]:
    """Return how many bytes were filled, of how many the GPU has; pieces get smaller until none is left."""
    free, total = cuda.memory()
    filled, size = 0, free
    while size >= SMALLEST_BYTES and time.monotonic() < until_s:
        address = cuda.take(size)
        if address is None:
            size //= 2
            continue
        cuda.fill(address, size, CONSTANT)
        filled += size
        size = min(size, cuda.memory()[0])
    return filled, total


def main() -> int:
    """Fill one GPU and say how far it went."""
    parser = argparse.ArgumentParser(prog="agent.gpu.fill", description="Fill the free memory of one GPU.")
    parser.add_argument("uuid")
    given = parser.parse_args()
    until_s = time.monotonic() + DEADLINE_S
    os.environ.update(ALONE, CUDA_VISIBLE_DEVICES=given.uuid)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        filled, total = fill(Cuda(), until_s)
        answer: dict[str, Any] = {"filled_mib": filled // MIB, "of_mib": total // MIB}
    except RefusedError as error:
        answer = {"error": str(error)}
    answers.write(json.dumps(answer) + "\n")
    answers.close()
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main())
