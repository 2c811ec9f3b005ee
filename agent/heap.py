"""How the C library hands out memory: set once, before the first thread."""

import ctypes

M_ARENA_MAX = -8
"""Source: mallopt(3); glibc, malloc/malloc.h."""


def one_arena() -> bool:
    """
    Let all threads share one arena; return whether the C library has such a setting.

    By default each thread that runs beside another gets an arena of its own. Every report begins threads, and they may
    get other arenas than the last ones did: each fills up for itself, so for hours the process grows by pages touched
    for the first time. Threads that hold Python's lock while they allocate gain nothing by arenas.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    return bool(mallopt(M_ARENA_MAX, 1))
