"""
Linux's own asynchronous I/O, by system calls: one thread keeps all blocks in flight.

Source: io_setup(2), io_submit(2), io_getevents(2); Linux, include/uapi/linux/aio_abi.h.
"""

import ctypes
import errno
import os
import platform
import sys
import time
from importlib.metadata import version
from typing import Self

from agent.engines.disk import Engine, Job, Moved, Tell
from agent.engines.disk.buffers import Buffers
from agent.engines.disk.pace import Meter, offsets

PREAD, PWRITE = 0, 1
SETUP, DESTROY, GETEVENTS, SUBMIT = range(4)
NUMBERS = {"x86_64": (206, 207, 208, 209), "aarch64": (0, 1, 4, 2)}
"""In the order of the names above. Source: Linux, syscall_64.tbl; include/uapi/asm-generic/unistd.h."""


class Iocb(ctypes.Structure):
    """One block to move. The field between `data` and `opcode` is 0 in both byte orders."""

    _fields_ = (
        ("data", ctypes.c_uint64),
        ("key_and_flags", ctypes.c_uint64),
        ("opcode", ctypes.c_uint16),
        ("priority", ctypes.c_int16),
        ("descriptor", ctypes.c_uint32),
        ("buffer", ctypes.c_uint64),
        ("length", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("reserved", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("event_descriptor", ctypes.c_uint32),
    )


class Event(ctypes.Structure):
    """One block that is done: `result` is its bytes, or an error number below 0."""

    _fields_ = (
        ("data", ctypes.c_uint64),
        ("iocb", ctypes.c_uint64),
        ("result", ctypes.c_int64),
        ("result2", ctypes.c_int64),
    )


class Ring:
    """
    A kernel context for some blocks in flight.

    Args:
        descriptor: An open file.
        job: Gives the number of slots and the direction.
        buffers: A buffer for each slot; must outlive this.

    Raises:
        OSError: the kernel has none to give, or forbids it.
    """

    def __init__(self, descriptor: int, job: Job, buffers: Buffers) -> None:
        self._call = ctypes.CDLL(None, use_errno=True).syscall
        self._call.restype = ctypes.c_long
        self._numbers = NUMBERS[platform.machine()]
        count = job.in_flight
        self._block_bytes = job.block_bytes
        self._events = (Event * count)()
        self._given = (ctypes.c_void_p * 1)()
        self._iocbs = (Iocb * count)(
            *(
                Iocb(
                    data=slot,
                    opcode=PWRITE if job.write else PREAD,
                    descriptor=descriptor,
                    buffer=buffers.address + slot * job.block_bytes,
                    length=job.block_bytes,
                )
                for slot in range(count)
            )
        )
        first = ctypes.addressof(self._iocbs)
        self._addresses = [first + slot * ctypes.sizeof(Iocb) for slot in range(count)]
        self._context = ctypes.c_ulong(0)
        self._ask(SETUP, ctypes.c_long(count), ctypes.byref(self._context))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        """Waits for what is still in flight: until then the kernel owns the buffers."""
        self._ask(DESTROY, self._context)

    def submit(self, slot: int, place: int) -> None:
        """
        Give one block to the kernel, with its place in the file; raises `OSError`.

        One a call, as fio does: blocks given together are joined to larger ones before the device sees them.
        """
        self._iocbs[slot].offset = place
        self._given[0] = self._addresses[slot]
        self._ask(SUBMIT, self._context, ctypes.c_long(1), self._given)

    def wait(self) -> list[int]:
        """Wait for one block at least; return the slots of those that are done, or raise the `OSError` of one."""
        some = ctypes.c_long(len(self._events))
        count = self._ask(GETEVENTS, self._context, ctypes.c_long(1), some, self._events, None)
        done = self._events[:count]
        for event in done:
            if event.result < 0:
                raise OSError(-event.result, os.strerror(-event.result))
            if event.result != self._block_bytes:
                raise OSError(errno.EIO, "a block was moved in part")
        return [event.data for event in done]

    def _ask(self, what: int, *arguments: object) -> int:
        while True:
            answer = int(self._call(ctypes.c_long(self._numbers[what]), *arguments))
            if answer >= 0:
                return answer
            if ctypes.get_errno() != errno.EINTR:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def move(descriptor: int, job: Job, tell: Tell) -> Moved:
    """Do a job; raises `OSError`."""
    buffers = Buffers(job.in_flight, job.block_bytes)
    places = offsets(job)
    began_s = [0.0] * job.in_flight
    with Ring(descriptor, job, buffers) as ring:
        meter = Meter(job, tell)
        free, busy = list(range(job.in_flight)), 0
        while True:
            for slot in free:
                place = None if meter.is_over() else next(places, None)
                if place is None:
                    break
                if job.write:
                    buffers.stamp(slot)
                began_s[slot] = time.perf_counter()
                ring.submit(slot, place)
                busy += 1
            if not busy:
                return meter.moved()
            free = ring.wait()
            busy -= len(free)
            meter.add(len(free))
            if job.random:
                now_s = time.perf_counter()
                for slot in free:
                    meter.add_latency(now_s - began_s[slot])


def available() -> str | None:
    """Return this engine's version, or None: another kind of processor, or a sandbox that forbids the calls."""
    if platform.machine() not in NUMBERS or sys.maxsize < 2**32:
        return None
    job = Job(write=False, block_bytes=4096, in_flight=1, size_bytes=4096, most_bytes=0, limit_s=0.0)
    try:
        with Ring(-1, job, Buffers(1, job.block_bytes)):
            return version("rackproof")
    except OSError:
        return None


ENGINE = Engine("aio", available, move)
