"""
The door to NVML: `libnvidia-ml.so.1` by ctypes alone, because NVIDIA's own bindings cost another 4 MB.

Each call is noted before it is made, so that whoever watches this process can name one that never returns.

Source: NVML API reference; nvml.h of CUDA 12 and 13.
"""

from collections.abc import Callable, Collection
from ctypes import (
    CDLL,
    Structure,
    Union,
    byref,
    c_char,
    c_char_p,
    c_double,
    c_int,
    c_int64,
    c_longlong,
    c_uint,
    c_ulong,
    c_ulonglong,
    c_ushort,
    c_void_p,
    create_string_buffer,
)
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
NOT_SUPPORTED, NOT_LOADED, NO_LIBRARY, NO_FUNCTION = 3, 9, 12, 13
INSUFFICIENT_SIZE, LOST, RESET_REQUIRED, MISMATCH = 7, 15, 16, 18
UNANSWERED = frozenset({2, NOT_SUPPORTED, 4, 6, NO_FUNCTION, 21, 25, 26})
"""This model, driver or user does not get this reading, the others are still good: invalid argument, not supported, no
permission, not found, no such function, no data, another version of the argument, deprecated."""

REMEDIES: dict[int, str] = {
    NO_LIBRARY: f"{LIBRARY} is missing: install the NVIDIA driver (on Ubuntu: sudo ubuntu-drivers install --gpgpu)",
    NOT_LOADED: "the NVIDIA kernel driver is not loaded: sudo modprobe nvidia, or reboot",
    MISMATCH: (
        "driver/library version mismatch: the NVIDIA driver was updated and the old one still runs: reboot to load the"
        " new one"
    ),
    4: "this user may not open /dev/nvidiactl: check its permissions",
}
"""What to do about errors that concern the whole machine. Source: NVML API reference, nvmlReturn_t."""

WHOLE_GPU = "*"
"""Stands for every call about a GPU that is left alone."""
COUNTER = "_ns"
"""Ends the names of counters of time, which never leave the agent: shares are made of two reads."""
UUID_CALL = "nvmlDeviceGetUUID"
_TEXT_BYTES = 96


class NvmlError(Exception):
    """NVML's answer was an error; `code` is its nvmlReturn_t, `call` the function."""

    def __init__(self, code: int, call: str, words: str = "") -> None:
        super().__init__(words or f"NVML error {code}")
        self.code = code
        self.call = call


class LeftOutError(NvmlError):
    """The call was not made: it hung or crashed lately."""

    def __init__(self, call: str) -> None:
        super().__init__(NOT_SUPPORTED, call, "left out")


class Value(Union):
    """nvmlValue_t."""

    _fields_ = (("d", c_double), ("ui", c_uint), ("ul", c_ulong), ("ull", c_ulonglong), ("sll", c_longlong),
                ("si", c_int), ("us", c_ushort))  # fmt: skip


class FieldValue(Structure):
    """nvmlFieldValue_t."""

    _fields_ = (("field", c_uint), ("scope", c_uint), ("timestamp", c_int64), ("latency_us", c_int64),
                ("kind", c_uint), ("code", c_uint), ("value", Value))  # fmt: skip

    def number(self) -> float | int:
        """Return the value in the type that NVML says it has."""
        names = ("d", "ui", "ul", "ull", "sll", "si", "us")
        found: float | int = getattr(self.value, names[self.kind] if self.kind < len(names) else "ull")
        return found


class PciInfo(Structure):
    """nvmlPciInfo_t, as nvmlDeviceGetPciInfo_v3 fills it."""

    _fields_ = (("legacy", c_char * 16), ("domain", c_uint), ("bus", c_uint), ("device", c_uint), ("id", c_uint),
                ("subsystem", c_uint), ("bus_id", c_char * 32))  # fmt: skip


class Memory(Structure):
    """nvmlMemory_t."""

    _fields_ = (("total", c_ulonglong), ("free", c_ulonglong), ("used", c_ulonglong))


class Utilization(Structure):
    """nvmlUtilization_t."""

    _fields_ = (("gpu", c_uint), ("memory", c_uint))


class ViolationTime(Structure):
    """nvmlViolationTime_t: microseconds and nanoseconds."""

    _fields_ = (("reference_us", c_ulonglong), ("violation_ns", c_ulonglong))


class MarginTemperature(Structure):
    """nvmlMarginTemperature_v1_t; `version` is the struct's size and its number."""

    VERSION = 8 | 1 << 24
    _fields_ = (("version", c_uint), ("margin", c_int))


class Library:
    """
    NVML itself, not yet begun.

    Args:
        note: Told the call and what it is about, before each.

    Raises:
        NvmlError: the library is not there.
    """

    def __init__(self, note: Callable[[str, str], None]) -> None:
        try:
            self._functions = CDLL(LIBRARY)
        except OSError as error:
            raise NvmlError(NO_LIBRARY, "dlopen", REMEDIES[NO_LIBRARY]) from error
        self._note = note
        self.left_out: Collection[str] = ()

    def answer(self, call: str, about: str, *arguments: Any) -> int:
        """Make one call about a GPU, or about all ("") and return NVML's code."""
        if self.left_out and (f"{call} {about}" in self.left_out or f"{WHOLE_GPU} {about}" in self.left_out):
            raise LeftOutError(call)
        try:
            function = getattr(self._functions, call)
        except AttributeError:
            return NO_FUNCTION
        self._note(call, about)
        code: int = function(*arguments)
        return code

    def call(self, call: str, about: str, *arguments: Any) -> None:
        """
        Make one call.

        Raises:
            NvmlError: what NVML answered.
        """
        code = self.answer(call, about, *arguments)
        if code:
            raise NvmlError(code, call, (not about and REMEDIES.get(code)) or self._words(code))

    def number(self, call: str, about: str = "", *arguments: Any) -> int:
        """Return what one call puts into its last argument, an unsigned int."""
        found = c_uint()
        self.call(call, about, *arguments, byref(found))
        return found.value

    def text(self, call: str, about: str = "", *arguments: Any) -> str:
        """Return what one call writes into a buffer."""
        found = create_string_buffer(_TEXT_BYTES)
        self.call(call, about, *arguments, found, _TEXT_BYTES)
        return found.value.decode(errors="replace")

    def _words(self, code: int) -> str:
        """Return NVML's own name for an error. Source: nvmlErrorString."""
        try:
            function = self._functions.nvmlErrorString
        except AttributeError:
            return f"NVML error {code}"
        function.restype = c_char_p
        found: bytes | None = function(code)
        return (found or b"").decode(errors="replace") or f"NVML error {code}"


class Device:
    """
    One GPU; every call about it carries its UUID, or its index until that is known.

    Raises:
        NvmlError: it has no handle or tells no UUID.
    """

    def __init__(self, library: Library, index: int) -> None:
        self._library = library
        self._handle = c_void_p()
        self.about = f"index {index}"
        library.call("nvmlDeviceGetHandleByIndex_v2", self.about, index, byref(self._handle))
        self.about = self.text(UUID_CALL)

    def answer(self, call: str, *arguments: Any) -> int:
        """Make a call about this GPU and return NVML's code."""
        return self._library.answer(call, self.about, self._handle, *arguments)

    def call(self, call: str, *arguments: Any) -> None:
        """Make a call about this GPU."""
        self._library.call(call, self.about, self._handle, *arguments)

    def number(self, call: str, *arguments: Any) -> int:
        """Return an unsigned int that NVML tells of this GPU."""
        return self._library.number(call, self.about, self._handle, *arguments)

    def long(self, call: str, *arguments: Any) -> int:
        """Return an unsigned long long that NVML tells of this GPU."""
        found = c_ulonglong()
        self.call(call, *arguments, byref(found))
        return found.value

    def text(self, call: str) -> str:
        """Return a text that NVML tells of this GPU."""
        return self._library.text(call, self.about, self._handle)
