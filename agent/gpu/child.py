"""
The supervisor of the NVML process: a deadline for each answer, an end for one that hangs, a pause before the next.

Source: a Python process with NVML inside ends with a segmentation fault when a GPU leaves the bus (nvitop issue 139);
calls block for more than 45 s on a GPU with many ECC errors (NVSentinel issue 1748).
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from threading import Lock

import msgspec
from msgspec import Struct

from agent.host import Gpu, Gpus, GpuUnreadable

PROBE = (sys.executable, "-P", "-m", "agent.gpu.probe")
"""`-P`: never import from the directory the agent happens to be started in."""

DEADLINE_S = 30.0
"""The first answer loads the driver when nobody else holds it: 1 to 3 s for each GPU, of which there may be 10."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 600.0
ANSWERS_OF_A_LIFE = 2000
"""About eight hours; then a fresh process, because long-running NVML readers grow (glances issue 2976)."""

_KILL_S = 2.0


class _Answer(Struct, frozen=True):
    """A line of the probe."""

    driver: str = ""
    gpus: tuple[Gpu, ...] = ()
    error: str = ""


class _Silent(Exception):  # noqa: N818 - one of the answers a probe can give
    """The probe gave no answer; the text says why."""


def pause_s(failures: int) -> float:
    """Return how long to leave the GPUs alone after so many failures in a row, the first being 1."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 16))


class GpuChild:
    """
    Asks NVML through a process of its own, which it starts, ends and replaces.

    Args:
        command: How the probe is started.
        environment: The probe's variables; this process's own when left out.
        deadline_s: How long one answer may take.
        now_s: A monotonic clock.
    """

    def __init__(
        self,
        command: Sequence[str] = PROBE,
        environment: Mapping[str, str] | None = None,
        deadline_s: float = DEADLINE_S,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = tuple(command)
        self._environment = environment
        self._deadline_s = deadline_s
        self._now_s = now_s
        self._turn = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._unended: subprocess.Popen[bytes] | None = None
        self._answered = 0
        self._failures = 0
        self._not_before_s = 0.0
        self._why = ""

    def ask(self) -> Gpus:
        """
        Return the GPUs as NVML sees them.

        Raises:
            GpuUnreadable: NVML refused, did not answer in time, died, or is left alone for a while after that.
        """
        if not self._turn.acquire(timeout=self._deadline_s):
            raise GpuUnreadable("the GPU probe still works on another question")
        try:
            self._may_start()
            answer = self._exchange()
        except _Silent as silent:
            raise self._given_up(str(silent)) from silent
        finally:
            self._turn.release()
        self._failures = 0
        return Gpus(driver=answer.driver, gpus=answer.gpus)

    def close(self) -> None:
        """End the probe. One that hangs in the driver is left to the kernel, which ends it when the call returns."""
        self._end()

    def _may_start(self) -> None:
        """Refuse while an old probe hangs in the kernel, or the pause after a failure is not over."""
        if self._unended is not None:
            if self._unended.poll() is None:
                raise GpuUnreadable(f"{self._why}; it hangs in the driver and cannot be ended: reboot the machine")
            self._unended = None
        left_s = self._not_before_s - self._now_s()
        if left_s > 0:
            raise GpuUnreadable(f"{self._why}; next try in {left_s:.0f} s")

    def _given_up(self, why: str) -> GpuUnreadable:
        """End the probe and note when to try again."""
        self._end()
        self._failures += 1
        self._why = why
        self._not_before_s = self._now_s() + pause_s(self._failures)
        return GpuUnreadable(why)

    def _exchange(self) -> _Answer:
        """Ask the running probe, or a fresh one."""
        if self._answered >= ANSWERS_OF_A_LIFE or (self._process is not None and self._process.poll() is not None):
            self._end()
        if self._process is None:
            self._process = self._started()
            self._answered = 0
        line = self._line(self._process)
        try:
            answer = msgspec.json.decode(line, type=_Answer)
        except msgspec.MsgspecError as error:
            raise _Silent(f"the GPU probe's answer cannot be read: {error}") from error
        if answer.error:
            raise _Silent(answer.error)
        self._answered += 1
        return answer

    def _started(self) -> subprocess.Popen[bytes]:
        """Start the probe."""
        try:
            return subprocess.Popen(
                self._command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=self._environment,
            )
        except OSError as error:
            raise _Silent(f"the GPU probe cannot be started: {error}") from error

    def _line(self, process: subprocess.Popen[bytes]) -> bytes:
        """Return the probe's answer to one question."""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(b"gpus\n")
        except BrokenPipeError as error:
            raise _Silent(_death(process)) from error
        ready = select.poll()
        ready.register(process.stdout, select.POLLIN)
        began_s, line = time.monotonic(), b""
        while not line.endswith(b"\n"):
            left_s = self._deadline_s - (time.monotonic() - began_s)
            if left_s <= 0 or not ready.poll(left_s * 1000):
                raise _Silent(f"the GPU probe gave no answer within {self._deadline_s:g} s")
            chunk = os.read(process.stdout.fileno(), 65_536)
            if not chunk:
                raise _Silent(_death(process))
            line += chunk
        return line

    def _end(self) -> None:
        """End the probe if there is one; remember one that does not end, so that hanging ones never pile up."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            process.wait(_KILL_S)
        except subprocess.TimeoutExpired:
            self._unended = process


def _death(process: subprocess.Popen[bytes]) -> str:
    """Say how a probe that closed its pipe ended."""
    try:
        status = process.wait(_KILL_S)
    except subprocess.TimeoutExpired:
        return "the GPU probe closed its pipe"
    if status < 0:
        return f"the GPU probe was ended by {signal.Signals(-status).name}"
    return f"the GPU probe ended with exit status {status}"
