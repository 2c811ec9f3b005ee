"""
One GPU through libcuda, by ctypes: for processes of their own, which may hang and crash with the driver.

Tried with stand-ins for libcuda only, on no real GPU.

Source: CUDA driver API reference, "Primary Context Management", "Memory Management", "Event Management"; CUDA C++
programming guide, "CUDA Environment Variables".
"""

import ctypes
import uuid
from typing import Any

OUT_OF_MEMORY = 2
"""Source: CUDA driver API reference, CUresult, CUDA_ERROR_OUT_OF_MEMORY."""
BLOCKING_SYNC = 1
"""A wait for such an event sleeps and does not spin: a process a GPU must not cost a CPU a GPU."""
MULTIPROCESSORS, CAPABILITY_MAJOR, CAPABILITY_MINOR = 16, 75, 76
"""Source: CUDA driver API reference, CUdevice_attribute."""

ALONE = {"CUDA_MPS_PIPE_DIRECTORY": "/nonexistent", "CUDA_CACHE_DISABLE": "1"}
"""Never through somebody's MPS server, and without a cache in anybody's home."""


class RefusedError(Exception):
    """
    A call failed; the text names it.

    Args:
        words: What failed.
        code: The CUresult; 0 where the library or the function is missing.
    """

    def __init__(self, words: str, code: int = 0) -> None:
        super().__init__(words)
        self.code = code


class Cuda:
    """The first GPU that this process sees, with its primary context, which is the one that cuBLAS uses too."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise RefusedError("libcuda.so.1 is missing") from error
        self._device, context = ctypes.c_int(), ctypes.c_void_p()
        self.call("cuInit", ctypes.c_uint(0))
        self.call("cuDeviceGet", ctypes.byref(self._device), ctypes.c_int(0))
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        self.call("cuCtxSetCurrent", context)

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function that must succeed."""
        code = self._ask(name, *arguments)
        if code:
            raise RefusedError(f"{name} failed with {code}{self._named(code)}", code)

    def _ask(self, name: str, *arguments: Any) -> int:
        try:
            function = getattr(self._library, name)
        except AttributeError as error:
            raise RefusedError(f"libcuda has no {name}") from error
        return int(function(*arguments))

    def _named(self, code: int) -> str:
        """Return an error's name in brackets, where the library knows one."""
        name = ctypes.c_char_p()
        known = hasattr(self._library, "cuGetErrorName") and not self._library.cuGetErrorName(code, ctypes.byref(name))
        return f" ({name.value.decode()})" if known and name.value else ""

    def driver_version(self) -> tuple[int, int]:
        """Return the newest CUDA that the driver can do."""
        version = ctypes.c_int()
        self.call("cuDriverGetVersion", ctypes.byref(version))
        return version.value // 1000, version.value % 1000 // 10

    def attribute(self, number: int) -> int:
        """Return one property of the device."""
        value = ctypes.c_int()
        self.call("cuDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(number), self._device)
        return value.value

    def uuid(self) -> str:
        """Return the device's UUID as NVML writes it."""
        raw = (ctypes.c_ubyte * 16)()
        self.call("cuDeviceGetUuid", raw, self._device)
        return f"GPU-{uuid.UUID(bytes=bytes(raw))}"

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
            raise RefusedError(f"cuMemAlloc_v2 failed with {code}{self._named(code)}", code)
        return None if code else address.value

    def give_back(self, address: int) -> None:
        """Free what was taken."""
        self.call("cuMemFree_v2", ctypes.c_uint64(address))

    def take_of_host(self, size: int) -> int:
        """Return the address of so many bytes of the machine's memory, kept in place so that the GPU may fetch them."""
        address = ctypes.c_void_p()
        self.call("cuMemHostAlloc", ctypes.byref(address), ctypes.c_size_t(size), ctypes.c_uint(0))
        return address.value or 0

    def fill(self, address: int, size: int, value: int) -> None:
        """Fill bytes and wait until they are filled."""
        self.call("cuMemsetD8_v2", ctypes.c_uint64(address), ctypes.c_ubyte(value), ctypes.c_size_t(size))
        self.call("cuCtxSynchronize")

    def upload(self, address: int, values: bytes | memoryview) -> None:
        """Copy bytes to the GPU."""
        source = (ctypes.c_char * len(values)).from_buffer_copy(values)
        self.call("cuMemcpyHtoD_v2", ctypes.c_uint64(address), source, ctypes.c_size_t(len(values)))

    def download(self, address: int, size: int) -> bytes:
        """Copy bytes from the GPU."""
        found = ctypes.create_string_buffer(size)
        self.call("cuMemcpyDtoH_v2", found, ctypes.c_uint64(address), ctypes.c_size_t(size))
        return found.raw

    def copy(self, to: int, source: int, size: int) -> None:
        """Begin to copy bytes within the GPU."""
        sizes = ctypes.c_uint64(to), ctypes.c_uint64(source), ctypes.c_size_t(size)
        self.call("cuMemcpyDtoDAsync_v2", *sizes, ctypes.c_void_p())

    def fetch(self, to: int, host: int, size: int) -> None:
        """Begin to copy bytes of `take_of_host` to the GPU."""
        sizes = ctypes.c_uint64(to), ctypes.c_void_p(host), ctypes.c_size_t(size)
        self.call("cuMemcpyHtoDAsync_v2", *sizes, ctypes.c_void_p())

    def send(self, host: int, source: int, size: int) -> None:
        """Begin to copy bytes of the GPU to those of `take_of_host`."""
        sizes = ctypes.c_void_p(host), ctypes.c_uint64(source), ctypes.c_size_t(size)
        self.call("cuMemcpyDtoHAsync_v2", *sizes, ctypes.c_void_p())

    def mark(self) -> ctypes.c_void_p:
        """Return an event that happens when all that was begun is done."""
        event = ctypes.c_void_p()
        self.call("cuEventCreate", ctypes.byref(event), ctypes.c_uint(BLOCKING_SYNC))
        self.call("cuEventRecord", event, ctypes.c_void_p())
        return event

    def wait(self, event: ctypes.c_void_p) -> None:
        """Wait for an event."""
        self.call("cuEventSynchronize", event)

    def between_s(self, first: ctypes.c_void_p, second: ctypes.c_void_p) -> float:
        """Return how long one event happened after another, in seconds by the GPU's clock, to 0.5 µs."""
        passed_ms = ctypes.c_float()
        self.call("cuEventElapsedTime", ctypes.byref(passed_ms), first, second)
        return passed_ms.value / 1000
