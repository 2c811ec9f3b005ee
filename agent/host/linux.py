"""The machine itself: /proc and /sys, psutil, and three system calls."""

import ctypes
import os
import threading
import time
from functools import cached_property

import psutil

from agent.gpu.child import GpuChild
from agent.host import Clock, Cores, Gpus, Own, Usage
from agent.host.tree import Tree

TIME_ERROR = 5
STA_UNSYNC = 0x0040
STA_NANO = 0x2000
"""Source: Linux, include/uapi/linux/timex.h."""


class _Timex(ctypes.Structure):
    """The start of the kernel's struct timex; the rest is room. Source: adjtimex(2)."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("room", ctypes.c_long * 40),
    )


class LinuxHost(Tree):
    """
    The machine this process runs on.

    Args:
        gpu_child: The supervised process that speaks to NVML; it is started on the first question.
    """

    def __init__(self, gpu_child: GpuChild) -> None:
        super().__init__()
        self._gpu_child = gpu_child

    @cached_property
    def _process(self) -> psutil.Process:
        return psutil.Process()

    @cached_property
    def _cores(self) -> Cores:
        # Counting cores opens a file for each CPU; their number does not change while this process runs.
        return Cores(logical=psutil.cpu_count(logical=True), physical=psutil.cpu_count(logical=False))

    def usage(self, path: str) -> Usage:
        """Return how full the file system at this path is."""
        found = os.statvfs(path)
        return Usage(
            size_bytes=found.f_blocks * found.f_frsize,
            used_bytes=(found.f_blocks - found.f_bfree) * found.f_frsize,
            available_bytes=found.f_bavail * found.f_frsize,
            inodes=found.f_files,
            inodes_free=found.f_ffree,
        )

    def writable(self, path: str) -> bool:
        """Return whether this process may make files in this directory; nothing is written to find out."""
        return os.access(path, os.W_OK | os.X_OK)

    def monotonic_s(self) -> float:
        """Return seconds of a clock that never goes back."""
        return time.monotonic()

    def clock(self) -> Clock:
        """
        Return what the kernel knows of its clock's correction; unknown where a sandbox forbids asking.

        Source: adjtimex(2): with `modes` 0 it changes nothing and needs no privilege.
        """
        timex = _Timex()
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
        if state < 0:
            return Clock()
        per_ms = 1_000_000 if timex.status & STA_NANO else 1_000
        return Clock(
            synchronized=state != TIME_ERROR and not timex.status & STA_UNSYNC,
            offset_ms=round(timex.offset / per_ms, 3),
        )

    def cores(self) -> Cores:
        """Return the number of CPUs and cores."""
        return self._cores

    def own(self) -> Own:
        """Return what this process uses."""
        return Own(
            resident_bytes=self._process.memory_info().rss,
            cpu_s=round(time.process_time(), 3),
            threads=threading.active_count(),
            open_files=len(os.listdir("/proc/self/fd")) - 1,  # noqa: PTH208 - a Path for each would cost more
        )

    def gpus(self) -> Gpus:
        """Ask NVML for the GPUs, in a process of its own."""
        return self._gpu_child.ask()

    def close(self) -> None:
        """End the GPU child, if one runs."""
        self._gpu_child.close()
