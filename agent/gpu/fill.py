"""
`python -m agent.gpu.fill UUID`: fill the free memory of one GPU with a constant, so that nothing older stands in it.

This runs as a process of its own and says on stdout, as JSON, how many MiB of how many it filled, or why not. What it
took is given back when it ends. Tried with a stand-in for libcuda only, on no real GPU.

Source: CUDA driver API reference, "Memory Management"; CUDA C++ programming guide, "CUDA Environment Variables".
"""

import argparse
import ctypes
import json
import os
import sys
import time
from typing import Any

MIB = 2**20
DEADLINE_S = 60.0
SMALLEST_BYTES = 2 * MIB
"""The size of a large page, in which the driver gives memory out."""
CONSTANT = 0
OUT_OF_MEMORY = 2
"""Source: CUDA driver API reference, CUresult, CUDA_ERROR_OUT_OF_MEMORY."""

ALONE = {"CUDA_MPS_PIPE_DIRECTORY": "/nonexistent", "CUDA_CACHE_DISABLE": "1"}
"""Never through somebody's MPS server, and without a cache in anybody's home."""


class RefusedError(Exception):
    """A call to libcuda failed; the text names it."""


class Cuda:
    """One GPU through libcuda, the only one that this process sees."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise RefusedError("libcuda.so.1 is missing") from error
        device, self._context = ctypes.c_int(), ctypes.c_void_p()
        self.call("cuInit", ctypes.c_uint(0))
        self.call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(0))
        self.call("cuCtxCreate_v2", ctypes.byref(self._context), ctypes.c_uint(0), device)

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function that must succeed."""
        code = self._ask(name, *arguments)
        if code:
            raise RefusedError(f"{name} failed with {code}")

    def memory(self) -> tuple[int, int]:
        """Return the free and the whole memory in bytes."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def take(self, size: int) -> int | None:
        """Return the address of so many bytes; None where there are not so many in one piece."""
        address = ctypes.c_uint64()
        code = self._ask("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        if code not in {0, OUT_OF_MEMORY}:
            raise RefusedError(f"cuMemAlloc_v2 failed with {code}")
        return None if code else address.value

    def fill(self, address: int, size: int) -> None:
        """Fill bytes and wait until they are filled."""
        self.call("cuMemsetD8_v2", ctypes.c_uint64(address), ctypes.c_ubyte(CONSTANT), ctypes.c_size_t(size))
        self.call("cuCtxSynchronize")

    def _ask(self, name: str, *arguments: Any) -> int:
        try:
            function = getattr(self._library, name)
        except AttributeError as error:
            raise RefusedError(f"libcuda has no {name}") from error
        return int(function(*arguments))


def fill(cuda: Cuda, until_s: float) -> tuple[int, int]:
    """Return how many bytes were filled, of how many the GPU has; pieces get smaller until none is left."""
    free, total = cuda.memory()
    filled, size = 0, free
    while size >= SMALLEST_BYTES and time.monotonic() < until_s:
        address = cuda.take(size)
        if address is None:
            size //= 2
            continue
        cuda.fill(address, size)
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
