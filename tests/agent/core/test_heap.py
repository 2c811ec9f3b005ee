"""The process's memory is handed out so that it does not grow with the number of threads it has had."""

import subprocess
import sys

import pytest

THREADS = """
import ctypes, sys, threading
from agent.heap import one_arena
if sys.argv[1] == "one":
    assert one_arena()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
together = threading.Barrier(4)
places = []
def take():
    together.wait()
    places.append(libc.malloc(4096) >> 26)  # a thread's arena lies in heaps of 64 MB
    together.wait()
threads = [threading.Thread(target=take) for _ in range(4)]
for one in threads:
    one.start()
for one in threads:
    one.join()
print(len(set(places)))
"""


def arenas(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", THREADS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the setting is glibc's")
def test_threads_share_one_arena() -> None:
    """Without the setting four threads at once get memory from several, each of which would fill up for itself."""
    assert (arenas("as it comes") > 1, arenas("one")) == (True, 1)
