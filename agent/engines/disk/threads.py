"""The engine that works everywhere: a thread for each block in flight, each with a blocking call."""

import errno
import os
import threading
import time
from importlib.metadata import version

from agent.engines.disk import Engine, Job, Moved, Tell
from agent.engines.disk.buffers import Buffers
from agent.engines.disk.pace import Meter, offsets


def move(descriptor: int, job: Job, tell: Tell) -> Moved:
    """Do a job with `job.in_flight` threads; raises the first `OSError` that one of them met."""
    buffers, places, lock = Buffers(job.in_flight, job.block_bytes), offsets(job), threading.Lock()
    broken: list[OSError] = []
    meter = Meter(job, tell)

    def work(slot: int) -> None:
        buffer = [buffers.blocks[slot]]
        transfer = os.pwritev if job.write else os.preadv
        try:
            while not broken:
                with lock:
                    at = None if meter.is_over() else next(places, None)
                    if at is None:
                        return
                    if job.write:
                        buffers.stamp(slot)
                began_s = time.perf_counter()
                if transfer(descriptor, buffer, at) != job.block_bytes:
                    raise OSError(errno.EIO, "a block was moved in part")
                with lock:
                    if job.random:
                        meter.add_latency(time.perf_counter() - began_s)
                    meter.add(1)
        except OSError as error:
            broken.append(error)

    threads = [threading.Thread(target=work, args=(slot,), daemon=True) for slot in range(job.in_flight)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    if broken:
        raise broken[0]
    return meter.moved()


ENGINE = Engine("threads", lambda: version("rackproof"), move)
