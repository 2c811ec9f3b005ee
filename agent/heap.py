"""The process's own memory: how it is handed out, and what is given back. Nothing here may grow by the report."""

import ctypes
import gc

M_ARENA_MAX = -8
"""Source: mallopt(3); glibc, malloc/malloc.h."""


def one_arena() -> bool:
    """
    Let all threads share one arena, from the first thread on; return whether the C library has such a setting.

    By default each thread that runs beside another gets an arena of its own. Every report begins threads, and they may
    get other arenas than the last ones did: each fills up for itself, so for hours the process grows by pages touched
    for the first time. Threads that hold Python's lock while they allocate gain nothing by arenas.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    return bool(mallopt(M_ARENA_MAX, 1))


def set_apart() -> None:
    """Let the garbage collector pass over all that there is now: full collections then take microseconds, not 20 ms."""
    gc.freeze()


def tidy() -> None:
    """
    Give back what a report has left behind.

    Python keeps freed tuples for reuse, 2000 of each length up to 20. One made of a generator is cut to its length, so
    it is taken from one list and put back into another, which fills up over hours; only a full collection empties them,
    and a program that idles never comes to one by itself. Source: CPython 3.11, Objects/tupleobject.c.
    """
    gc.collect()
