"""One job after another on one open file, each between two looks at what the kernel counts."""

import os
import time
from collections.abc import Callable

from msgspec import Struct

from agent.engines.disk import Engine, Job, Moved, proof
from agent.engines.disk.place import Place
from shared.codes import Code, Trouble


class Phase(Struct, frozen=True, kw_only=True):
    """What a phase moved, and the share of it that a device moved; None where nobody tells."""

    moved: Moved
    device_share: float | None


class Phases:
    """
    The phases on one open file.

    Args:
        descriptor: The file.
        at: Where it lies.
        engine: Moves the blocks.
        progress: Takes the phase's name, percent, and 100.
    """

    def __init__(self, descriptor: int, at: Place, engine: Engine, progress: Callable[[str, int, int], None]) -> None:
        self.descriptor = descriptor
        self.engine = engine
        self._at = at
        self._progress = progress

    def do(self, step: str, job: Job) -> Phase:
        """
        Do one job.

        Raises:
            OSError: what the kernel said.
            Trouble: `benchmark_failed`: not one block was done in time, or as the engine says.
        """

        def tell(done_bytes: int) -> None:
            passed_s = time.perf_counter() - began_s
            self._progress(step, min(99, int(100 * max(done_bytes / job.most_bytes, passed_s / job.limit_s))), 100)

        self._progress(step, 0, 100)
        before, began_s = proof.count(self._at.carriers, write=job.write), time.perf_counter()
        moved = self.engine.move(self.descriptor, job, tell)
        after = proof.count(self._at.carriers, write=job.write)
        if moved.total_bytes < job.block_bytes or not moved.passed_s:
            raise Trouble(Code.BENCHMARK_FAILED, f"{step}: not one block in {job.limit_s:.0f} s")
        self._progress(step, 100, 100)
        share = proof.share(moved.total_bytes, self._at.kind, before, after) if self._at.carriers else None
        return Phase(moved=moved, device_share=share)

    def flush(self) -> float:
        """Have the disk make everything safe; return how many seconds that took. Raises `OSError`."""
        began_s = time.perf_counter()
        os.fdatasync(self.descriptor)
        return time.perf_counter() - began_s
