"""The process's memory does not grow with the threads it has had, nor with what it has read."""

import subprocess
import sys
from itertools import pairwise

import pytest

import agent.indicators
from agent import heap
from agent.gpu.child import GpuChild
from agent.health import Sampler
from agent.host.linux import LinuxHost
from agent.indicators import Indicator
from agent.plugins import load

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

TUPLES = """
import sys
from agent.heap import set_apart, tidy
tidy()
set_apart()
before = sys.getallocatedblocks()
for _ in range(1000):
    tuple(number for number in range(3))
    if sys.argv[1] == "tidy":
        tidy()
print(sys.getallocatedblocks() - before)
"""


def printed(program: str, how: str) -> int:
    done = subprocess.run([sys.executable, "-c", program, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the setting is glibc's")
def test_threads_share_one_arena() -> None:
    """Without the setting four threads at once get memory from several, each of which would fill up for itself."""
    assert (printed(THREADS, "as it comes") > 1, printed(THREADS, "one")) == (True, 1)


def test_freed_tuples_are_given_back() -> None:
    """What Python keeps of them for reuse, and never reuses, does not pile up from report to report."""
    assert printed(TUPLES, "tidy") < 50


@pytest.mark.skipif(sys.platform != "linux", reason="reads this machine, which is no Linux")
async def test_reports_leave_nothing_behind() -> None:
    """Of three times eighty reports one finds the process as large as it left it, to less than a block a report."""
    host = LinuxHost(GpuChild())
    indicators = [one for one in load(agent.indicators, "INDICATOR", Indicator) if one.name != "gpu"]
    sampler = Sampler(host, indicators, dict)
    blocks = []
    try:
        for reports in (20, 80, 80, 80):
            for _ in range(reports):
                await sampler.sample(everything=True)
                heap.tidy()
            blocks.append(sys.getallocatedblocks())
    finally:
        host.close()
    # Other programs come and go, and what is read of them with them; what a report leaves is left by each of them.
    assert min(after - before for before, after in pairwise(blocks)) < 80, blocks
