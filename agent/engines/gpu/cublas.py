"""
cuBLAS by ctypes: finding it, and one product of two square matrices.

Every function and number used here stands in the library and the headers of nvidia-cublas-cu12 12.9.3.13; it was loaded
and asked for its version without a GPU. It was never run on a real GPU.

Source: cuBLAS library documentation, "cublasGemmEx", "cublasComputeType_t", "cublasMath_t", "Floating Point Emulation".
"""

import ctypes
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from agent.gpu.cuda import RefusedError

ENVIRONMENT = {"NVIDIA_TF32_OVERRIDE": "0", "CUBLAS_EMULATE_SINGLE_PRECISION": "0"}
"""No TF32 and no BF16x9 in the place of FP32, whatever a library version likes better. Source: as above."""

MAJORS = (12, 13, 11)
"""First the version that the extra `rackproof[gpu]` installs, so that machines are alike where they can be."""
WHEELS = {11: "nvidia/cublas/lib", 12: "nvidia/cublas/lib", 13: "nvidia/cu13/lib"}
TOOLKIT = Path("/usr/local/cuda/lib64")
"""Where NVIDIA's own installer puts it, without telling the dynamic linker."""

_NO_TRANSPOSE, _DEFAULT_ALGORITHM = 0, -1
_R_32F, _R_16F = 0, 2
_COMPUTE_32F, _COMPUTE_32F_PEDANTIC = 68, 69
_DEFAULT_MATH, _PEDANTIC_MATH, _NO_REDUCED_REDUCTION = 0, 2, 16
_STATUS = {
    1: "NOT_INITIALIZED",
    3: "ALLOC_FAILED",
    7: "INVALID_VALUE",
    8: "ARCH_MISMATCH",
    11: "MAPPING_ERROR",
    13: "EXECUTION_FAILED",
    14: "INTERNAL_ERROR",
    15: "NOT_SUPPORTED",
}


class MissingError(Exception):
    """No cuBLAS that fits the driver can be loaded; the text says what to do."""


class Kind(Struct, frozen=True):
    """
    How a product is computed.

    Attributes:
        name: What it is called among the figures.
        given, result: cudaDataType of the two factors, and of the product.
        compute: cublasComputeType_t: with what precision sums are kept.
        math: cublasMath_t: what the library may do to be faster.
        item_bytes: Of one number of a factor.
    """

    name: str
    given: int
    result: int
    compute: int
    math: int
    item_bytes: int


FP16 = Kind("fp16", _R_16F, _R_16F, _COMPUTE_32F, _DEFAULT_MATH | _NO_REDUCED_REDUCTION, 2)
"""16 bit in and out, tensor cores, and sums in FP32 only, also between the parts of a sum."""
FP32 = Kind("fp32", _R_32F, _R_32F, _COMPUTE_32F_PEDANTIC, _PEDANTIC_MATH, 4)
"""IEEE arithmetic throughout."""
EXACT = Kind("exact", _R_16F, _R_32F, _COMPUTE_32F, _DEFAULT_MATH | _NO_REDUCED_REDUCTION, 2)
"""16 bit in, 32 out: exact where all products and sums are whole numbers below 2^24."""


def candidates(driver_major: int, folders: Sequence[str]) -> Iterator[str]:
    """Return what may be cuBLAS, best first, for a driver that can do CUDA `driver_major`."""
    for major in (one for one in MAJORS if one <= driver_major):
        name = f"libcublas.so.{major}"
        yield from (str(file) for one in folders if (file := Path(one, WHEELS[major], name)).is_file())
        yield name
        yield str(TOOLKIT / name)


def load(driver: tuple[int, int]) -> ctypes.CDLL:
    """
    Return cuBLAS.

    Args:
        driver: The newest CUDA that the driver can do.

    Raises:
        MissingError: there is none that fits it.
    """
    if driver[0] < min(MAJORS):
        raise MissingError(f"the NVIDIA driver is for CUDA {driver[0]}.{driver[1]}: install version 525 or newer")
    for one in candidates(driver[0], sys.path):
        try:
            return ctypes.CDLL(one)
        except OSError:
            continue
    newer = "" if driver[0] >= MAJORS[0] else ", and a driver of version 525 or newer"
    words = f"cuBLAS for CUDA {driver[0]}.{driver[1]} is not installed: pip install 'rackproof[gpu]'{newer}"
    raise MissingError(words)


class Cublas:
    """
    cuBLAS for the current context.

    Args:
        driver: The newest CUDA that the driver can do.
    """

    def __init__(self, driver: tuple[int, int]) -> None:
        self._library = load(driver)
        self._handle = ctypes.c_void_p()
        self._math: int | None = None
        self._call("cublasCreate_v2", ctypes.byref(self._handle))

    def version(self) -> str:
        """Return the library's version, such as "12.9.3"."""
        parts = [ctypes.c_int() for _ in range(3)]
        for number, part in enumerate(parts):
            self._call("cublasGetProperty", ctypes.c_int(number), ctypes.byref(part))
        return ".".join(str(part.value) for part in parts)

    def multiply(self, kind: Kind, left: int, right: int, product: int, size: int) -> None:
        """Begin to multiply two square matrices, which lie column by column as the product will."""
        if self._math != kind.math:
            self._call("cublasSetMathMode", self._handle, ctypes.c_int(kind.math))
            self._math = kind.math
        side, plain = ctypes.c_int(size), ctypes.c_int(_NO_TRANSPOSE)
        one, nothing = ctypes.c_float(1), ctypes.c_float(0)
        given, result = ctypes.c_int(kind.given), ctypes.c_int(kind.result)
        self._call(
            "cublasGemmEx",
            *(self._handle, plain, plain, side, side, side, ctypes.byref(one)),
            *(ctypes.c_void_p(left), given, side, ctypes.c_void_p(right), given, side),
            *(ctypes.byref(nothing), ctypes.c_void_p(product), result, side),
            *(ctypes.c_int(kind.compute), ctypes.c_int(_DEFAULT_ALGORITHM)),
        )

    def _call(self, name: str, *arguments: object) -> None:
        status = int(getattr(self._library, name)(*arguments))
        if status:
            raise RefusedError(f"{name} failed with {status} ({_STATUS.get(status, 'unknown')})", status)
