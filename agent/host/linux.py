"""The machine itself: /proc and /sys, psutil, and three system calls."""

import contextlib
import ctypes
import os
import threading
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import psutil

from agent.gpu.child import GpuChild
from agent.host import PATIENCE_S, Clock, Cores, Gpus, KernelMessage, KernelPosition, Own, Usage, systemd
from agent.host.kernel import KernelLog
from agent.host.tree import Tree

TIME_ERROR = 5
STA_UNSYNC = 0x0040
STA_NANO = 0x2000
"""Source: Linux, include/uapi/linux/timex.h."""

UTMP = "/run/utmp"
"""The record of logins. Source: utmp(5); the same as /var/run/utmp, which the C library opens."""


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
        kernel_log: The kernel log; it is opened on the first question, unless it was handed over.
        keep_in: The directory for what is to outlive this process; nothing is kept where there is none.
        gpus_expected: How many GPUs the provider says there are; None when nothing is said.
    """

    def __init__(
        self,
        gpu_child: GpuChild,
        kernel_log: KernelLog | None = None,
        keep_in: Path | None = None,
        gpus_expected: int | None = None,
    ) -> None:
        super().__init__()
        self._gpu_child = gpu_child
        self._kernel_log = kernel_log or KernelLog()
        self._keep_in = keep_in
        self._gpus_expected = gpus_expected

    @cached_property
    def _process(self) -> psutil.Process:
        return psutil.Process()

    @cached_property
    def _libc(self) -> ctypes.CDLL:
        # Made once: each is a class of its own in a cycle, 2 kB that only a rare full collection gives back.
        return ctypes.CDLL(None, use_errno=True)

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
        state = self._libc.adjtimex(ctypes.byref(timex))
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

    def gpus(self, wait_s: float = PATIENCE_S) -> Gpus:
        """Ask NVML for the GPUs, in a process of its own."""
        return self._gpu_child.ask(wait_s)

    def gpus_expected(self) -> int | None:
        """Return how many GPUs the provider says this machine has."""
        return self._gpus_expected

    def kernel_messages(self, after: KernelPosition) -> Iterator[KernelMessage]:
        """Yield the kernel's messages after a position."""
        return self._kernel_log.messages(after)

    def failed_units(self) -> tuple[str, ...] | None:
        """Return the names of the units that systemd calls failed; None where it does not run or does not answer."""
        return systemd.failed_units()

    def users(self) -> frozenset[str] | None:
        """Return who is logged in, by the system's own record; None where it keeps none, as newer ones do."""
        if not os.access(UTMP, os.R_OK):
            return None
        return frozenset(user.name for user in psutil.users())

    def keep(self, name: str, content: bytes) -> None:
        """
        Keep something over a restart of the agent.

        It is not flushed: what is kept this way is of this boot. It is no reason to fail that the disk is full.
        """
        if self._keep_in is None:
            return
        beside = self._keep_in / f".{name}.new"
        with contextlib.suppress(OSError):
            beside.write_bytes(content)
            beside.replace(self._keep_in / name)

    def recall(self, name: str) -> bytes | None:
        """Return what was kept under this name."""
        try:
            return (self._keep_in / name).read_bytes() if self._keep_in is not None else None
        except OSError:
            return None

    def close(self) -> None:
        """End the GPU child, if one runs, and give the kernel log back."""
        self._gpu_child.close()
        self._kernel_log.close()
