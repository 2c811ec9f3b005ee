"""The process's memory does not grow with the threads it has had, nor with what it has read."""

import subprocess
import sys

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
    """The hundredth report finds the process as large as the twentieth did, to less than five blocks a report."""
    host = LinuxHost(GpuChild())
    indicators = [one for one in load(agent.indicators, "INDICATOR", Indicator) if one.name != "gpu"]
    sampler = Sampler(host, indicators, dict)
    blocks = []
    try:
        for reports in (20, 80):
            for _ in range(reports):
                await sampler.sample(everything=True)
                heap.tidy()
            blocks.append(sys.getallocatedblocks())
    finally:
        host.close()
    # Other programs come and go meanwhile, and some of what is read is about them.
    assert blocks[1] - blocks[0] < 5 * 80, blocks
