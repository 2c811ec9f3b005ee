"""
The supervisor of the NVML process: it never waits for it, names the call that hangs, and replaces what hangs or dies.

A question is asked, and what has come after a moment is taken; the rest is taken by the next question. So neither a
report nor a heartbeat is later than that moment, whatever NVML does.

Source: a Python process with NVML inside ends with a segmentation fault when a GPU leaves the bus (nvitop issue 139);
calls block for more than 45 s on a GPU with many ECC errors (NVSentinel issue 1748).
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from threading import Lock

from msgspec.structs import replace

from agent.backoff import wait_s as pause_s
from agent.gpu.answer import Answer, Named, Refusal, UnreadableError
from agent.gpu.process import DONE, PROBE, Call, EndedError, Process
from agent.gpu.sparing import Spared, active, spare
from agent.host import PATIENCE_S, SHORT_UUID, Gpu, Gpus, GpuUnreadable

HANGS_AFTER_S = 10.0
"""A call that takes longer is not waited for: attaching a GPU that nobody else holds takes up to 3 s."""
WAITS_AFTER_S = 1.0
"""A call that takes longer is told as one that has not answered yet."""
SHORTEST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_REFUSED_S = 1.0, 300.0, 30.0
"""Between two starts: after crashes, each a line in the kernel's log, and after refusals, which cost nothing."""
MOST_UNENDED = 2
"""Processes that hang in the driver and cannot be ended; with so many, no other is started."""
ANSWERS_OF_A_LIFE = 2000
"""About eight hours; then a fresh process, because long-running NVML readers grow (glances issue 2976)."""
RENEWED_AFTER_S = 60.0
"""How long a GPU may be ill before a fresh process looks whether it is back: NVML keeps a lost one lost."""
CLOSES_S = 1.0
"""How long a stop of the agent waits for what it killed."""

_STEP_S, _YIELD_S = 0.2, 0.001
"""Longest time for which one question keeps the others out, and the gap that lets them in."""


class GpuChild:
    """
    Asks NVML through a process of its own, which it starts, ends and replaces.

    Args:
        command: How the probe is started.
        environment: The probe's variables; this process's own when left out.
        hangs_after_s: How long one call of NVML may take.
        now_s: A monotonic clock for pauses.
        draw: Gives a number in [0, 1), by which pauses differ.
    """

    def __init__(
        self,
        command: Sequence[str] = PROBE,
        environment: Mapping[str, str] | None = None,
        hangs_after_s: float = HANGS_AFTER_S,
        now_s: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._command = tuple(command)
        self._environment = environment
        self._hangs_after_s = hangs_after_s
        self._now_s = now_s
        self._draw = draw
        self._turn = Lock()
        self._process: Process | None = None
        self._unended: list[Process] = []
        self._answer: Answer | None = None
        self._asked_s = 0.0
        self._before_s = self._began_s = 0.0
        self._last: tuple[float, Gpus] | None = None
        self._known: dict[int, Named] = {}
        self._spared: tuple[Spared, ...] = ()
        self._spared_until_s = 0.0
        self._answers = self._failures = self._restarts = 0
        self._started_s = self._not_before_s = 0.0
        self._trouble = ""
        self._refusal: Refusal | None = None

    def ask(self, wait_s: float = PATIENCE_S) -> Gpus:
        """
        Return the GPUs as NVML sees them, after waiting for it for a while.

        Raises:
            GpuUnreadable: it refused, hangs, died or is left alone for a while after that, and no GPU is known yet.
        """
        until_s = time.monotonic() + wait_s
        began_s = time.monotonic()
        self._before_s, self._began_s = self._began_s, began_s
        while (left_s := until_s - time.monotonic()) > 0 and self._turn.acquire(timeout=left_s):
            try:
                if self._went_on(began_s, min(left_s, _STEP_S)):
                    break
            finally:
                self._turn.release()
            time.sleep(_YIELD_S)
        with self._turn:
            return self._told()

    def close(self) -> None:
        """End the probe. One that hangs in the driver is left to the kernel, which ends it when the call returns."""
        with self._turn:
            self._end()
        until_s = time.monotonic() + CLOSES_S
        for one in self._unended:
            one.bury(max(0.0, until_s - time.monotonic()))

    def _went_on(self, began_s: float, wait_s: float) -> bool:
        """Go on for a moment; true when there is nothing left to wait for since the question began."""
        try:
            process = self._running()
            if process is None:
                return True
            if self._answer is None:
                self._spared_until_s = self._now_s()
                process.ask("\t".join(one.key for one in active(self._spared, self._spared_until_s)))
                self._answer, self._asked_s = Answer(), time.monotonic()
            for line in process.lines(wait_s):
                self._answer.take(line)
        except EndedError:
            self._crashed()
            return False
        except UnreadableError as error:
            self._gave_up(f"the GPU probe's answer cannot be read: {error}")
            return True
        return self._looked_at(process, self._answer, began_s)

    def _looked_at(self, process: Process, answer: Answer, began_s: float) -> bool:
        """Take a whole answer, end a process that hangs; true when the question is answered."""
        if answer.refusal is not None:
            self._gave_up(answer.refusal.words, answer.refusal)
            return True
        if answer.ended:
            self._finished(answer)
            return self._asked_s >= began_s
        call = process.call()
        if call is not None and time.monotonic() - call.began_s >= self._hangs_after_s:
            self._hung(call)
        return False

    def _running(self) -> Process | None:
        """Return the running probe, or a fresh one; None while none may be started."""
        self._unended = [one for one in self._unended if not one.ended]
        if self._process is not None and self._answer is None and self._outlived(self._process):
            self._end()
        if self._process is None and not self._may_start():
            return None
        if self._process is None:
            try:
                self._process = Process(self._command, self._environment)
            except OSError as error:
                self._gave_up(f"the GPU probe cannot be started: {error}")
                return None
            self._answers, self._started_s = 0, self._now_s()
        return self._process

    def _outlived(self, process: Process) -> bool:
        """Return whether a process that has nothing to do is to be replaced."""
        ill = self._last is not None and any(gpu.error for gpu in self._last[1].gpus)
        renewed = ill and self._now_s() - self._started_s >= RENEWED_AFTER_S
        return process.ended or self._answers >= ANSWERS_OF_A_LIFE or renewed

    def _may_start(self) -> bool:
        """Return whether a process may be started now; if not, the trouble says why."""
        if len(self._unended) >= MOST_UNENDED:
            stuck = f"{len(self._unended)} GPU probes hang in the kernel and cannot be ended: reboot the machine"
            if stuck not in self._trouble:
                self._trouble = "; ".join(filter(None, (self._trouble or self._why_spared(), stuck)))
            return False
        return self._now_s() >= self._not_before_s

    def _finished(self, answer: Answer) -> None:
        """Keep a whole answer."""
        # What was asked for again, and answered, is well.
        self._spared = active(self._spared, self._spared_until_s)
        if len(answer.named) != len(self._known):
            self._known = {}
        self._known |= {i: one for i, one in answer.named.items() if one.uuid != f"index {i}"}
        gpus = answer.gpus(self._known, {one.about: one.why for one in self._spared})
        self._last = (self._asked_s, Gpus(driver=answer.driver, gpus=gpus))
        self._answer = None
        self._answers += 1
        self._failures = 0
        self._trouble, self._refusal = "", None

    def _hung(self, call: Call) -> None:
        """End a process whose call does not return, and leave that call out for a while."""
        self._end()
        self._restarts += 1
        why = f"{_named(call)} hung since {_clock_time(call)}"
        if call.about:
            self._spared = spare(self._spared, call.name, call.about, why, self._now_s())
        else:
            self._pause(why, LONGEST_PAUSE_S)

    def _crashed(self) -> None:
        """Note how a process ended that was asked, and leave alone for a while what it was doing."""
        process, self._process = self._process, None
        assert process is not None
        call, death = process.call(), process.death()
        self._forget(process)
        if death == DONE:
            return
        self._restarts += 1
        where = f" in {_named(call)}" if call is not None else ""
        why = f"NVML crashed{where}: {death}"
        if call is not None and call.about:
            self._spared = spare(self._spared, call.name, call.about, why, self._now_s())
        pause = self._pause(why, LONGEST_PAUSE_S)
        self._trouble = f"{why}, restart in {pause:.0f} s"

    def _gave_up(self, why: str, refusal: Refusal | None = None) -> None:
        """End a process that answers, but not with GPUs."""
        self._end()
        self._pause(why, LONGEST_PAUSE_S if refusal is None else LONGEST_REFUSED_S)
        self._refusal = refusal

    def _pause(self, why: str, longest_s: float) -> float:
        """Start nothing for a while, and return for how long."""
        self._failures += 1
        pause = max(SHORTEST_PAUSE_S, pause_s(self._failures, self._draw(), cap_s=longest_s))
        self._not_before_s = self._now_s() + pause
        self._trouble, self._refusal = why, None
        return pause

    def _end(self) -> None:
        """End the probe if there is one."""
        process, self._process = self._process, None
        if process is not None:
            self._forget(process)

    def _forget(self, process: Process) -> None:
        """Kill a process and wait for nothing; remember it until it is gone, so that stuck ones never pile up."""
        self._answer = None
        process.kill()
        if not process.ended:
            self._unended.append(process)

    def _told(self) -> Gpus:
        """Return what is known now, fresh or not, and what happened."""
        probe = self._trouble or self._waiting() or "ok"
        if not self._trouble and self._last is not None and self._last[0] >= self._before_s:
            return replace(self._last[1], probe=probe, restarts=self._restarts)
        why = probe if probe != "ok" else "the GPU probe has not answered yet"
        if not self._known:
            refusal = self._refusal
            raise GpuUnreadable(
                why,
                restarts=self._restarts,
                refused=refusal is not None,
                without_driver=refusal is not None and refusal.without_driver,
            )
        errors = {one.about: one.why for one in active(self._spared, self._now_s())}
        gpus = tuple(
            Gpu(uuid=one.uuid, model=one.model, pci_address=one.pci_address, error=errors.get(one.uuid, ""))
            for _, one in sorted(self._known.items())
        )
        return Gpus(gpus=gpus, probe=why, restarts=self._restarts, complete=self._refusal is not None)

    def _why_spared(self) -> str:
        """Return why something is left out now; empty when nothing is."""
        return next((one.why for one in active(self._spared, self._now_s())), "")

    def _waiting(self) -> str:
        """Return which call is being waited for longer than usual; empty when none is."""
        process = self._process
        call = process.call() if process is not None and self._answer is not None else None
        if call is None or time.monotonic() - call.began_s < WAITS_AFTER_S:
            return ""
        return f"{_named(call)} has not answered since {_clock_time(call)}"


def _named(call: Call) -> str:
    """Return a call as people read it, the GPU by its short name."""
    return f"{call.name} of {call.about[:SHORT_UUID]}" if call.about else call.name


def _clock_time(call: Call) -> str:
    """Return when a call began."""
    began_at = datetime.now(UTC) - timedelta(seconds=time.monotonic() - call.began_s)
    return began_at.strftime("%H:%M:%S UTC")
