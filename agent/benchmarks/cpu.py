"""
CPU: how fast all usable threads do compiled work, from slices in which nobody else had the CPU.

`cpu/1`: 1000 x the geometric mean, over the four kernels of `agent.engines.cpu.kernels`, of all threads' rate over
eight times one thread's reference rate. `cpu_score_single`, in the details, is the same for one thread that has the
machine alone: 1000 x the geometric mean of its rate over eight times the reference; so score / single <= threads.

Why compiled kernels out of exactly pinned wheels, and why slices: on one machine other builds of Python and of
libraries moved an FFT to 0.38 of its rate and regular expressions to 1.65; and beside a neighbour ten runs of the usual
programs spread by 33 to 49 %.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import structs

from agent.benchmarks import Benchmark, Found, Progress, Request, Unmeasured
from agent.engines.cpu.crew import Crew
from agent.engines.cpu.extras import available_bytes, machine, mean_mhz
from agent.engines.cpu.kernels import KERNELS, TRIAD, TRIAD_ARRAY_BYTES, Kernel
from agent.engines.cpu.slices import NEEDED, Slice, clean, least_disturbed, mean_share, points, rates
from agent.engines.cpu.usable import Usable, usable
from shared.codes import Code, Trouble
from shared.documents import BenchmarkName
from shared.marks import Mark

METHOD = "cpu/1"
Slices = Sequence[Sequence[Slice]]
"""Each process's."""


class Times:
    """
    How long things may take.

    Args:
        quick: For a short look.
    """

    def __init__(self, *, quick: bool) -> None:
        self.wanted = NEEDED if quick else 2 * NEEDED
        self.together_s, self.alone_s, self.triad_s = (1.4, 0.9, 0.6) if quick else (6.0, 1.25, 1.25)
        self._ends = time.monotonic() + (9.0 if quick else 28.5)

    def limit_s(self, most_s: float) -> float:
        """Return how long the next part may take, so that all of them stay within their 10 or 30 seconds."""
        return max(0.0, min(most_s, self._ends - time.monotonic()))


def run(request: Request, progress: Progress) -> Found:
    """Measure all threads together, then one alone, then the memory."""
    where, times = usable(), Times(quick=request.quick)
    if where.quota is not None and where.quota < 1:
        raise Trouble(Code.DISTURBED, f"a control group's quota of {where.quota:g} CPUs leaves no thread undisturbed")
    mhz = mean_mhz(where.cpus)
    with Crew(where.cpus) as crew:
        together: dict[str, Slices] = {}
        for done, kernel in enumerate(KERNELS):
            progress(f"{kernel.name}, all threads", done, 2 * len(KERNELS))
            together[kernel.name] = crew.measure(kernel, times.wanted, times.limit_s(times.together_s))
            if rates(together[kernel.name]) is None:
                raise disturbed(kernel, together[kernel.name], where)
        details = conditions(where, crew, mhz)
        alone: dict[str, Slices] = {}
        for done, kernel in enumerate(KERNELS, start=len(KERNELS)):
            progress(f"{kernel.name}, one thread", done, 2 * len(KERNELS))
            place = least_disturbed(together[kernel.name], where.fastest())
            alone[kernel.name] = crew.measure(kernel, times.wanted, times.limit_s(times.alone_s), only=place)
        details |= memory(crew, times)
    progress("one thread", 2 * len(KERNELS), 2 * len(KERNELS))
    return judged(together, alone, details)


def judged(together: Mapping[str, Slices], alone: Mapping[str, Slices], details: Mapping[str, Any]) -> Found:
    """
    Return the score and all that stands behind it.

    Args:
        together: By kernel, of all processes; enough of them clean.
        alone: By kernel, of the one that worked alone; without enough clean ones there is no `cpu_score_single`.
        details: More of them.
    """
    references = [kernel.reference for kernel in KERNELS]
    every = [one for kernel in KERNELS if (one := rates(together[kernel.name]))]
    single = [one for kernel in KERNELS if (one := rates(alone[kernel.name]))]
    ends = [[one.least for one in every], [one.most for one in every]]
    told: dict[str, Any] = {"spread": {"cpu_score": [points(totals, references) for totals in ends]}}
    if len(single) == len(KERNELS):
        told["cpu_score_single"] = points([one.total for one in single], references)
    told["kernels"] = {kernel.name: row(kernel, together[kernel.name], alone[kernel.name]) for kernel in KERNELS}
    score = points([one.total for one in every], references)
    return Found(figures={"cpu_score": score}, details={**told, **details})


def row(kernel: Kernel, together: Slices, alone: Slices) -> dict[str, Any]:
    """Return what is told of one kernel: all threads' rate and spread, a thread's lowest and highest, one alone."""
    found: dict[str, Any] = {"unit": kernel.unit, **counts(together)}
    if (every := rates(together)) is not None:
        found |= {name: rounded(value) for name, value in structs.asdict(every).items()}
    if (one := rates(alone)) is not None:
        found["alone"] = {name: rounded(getattr(one, name)) for name in ("total", "least", "most")}
    return found


def counts(slices: Slices) -> dict[str, Any]:
    """Return how many slices there were, how many of them counted, and the share of the CPUs that was had."""
    return {
        "slices": sum(map(len, slices)),
        "clean_slices": sum(len(clean(one)) for one in slices),
        "mean_share": rounded(mean_share(slices)),
    }


def disturbed(kernel: Kernel, slices: Slices, where: Usable) -> Unmeasured:
    """Return why there is no score: a sum over some threads would be a wrong one, not a lower one."""
    told = counts(slices)
    words = (
        f"other work took the CPU: {told['clean_slices']} of {told['slices']} slices of {kernel.name} were undisturbed"
    )
    if where.quota is not None:
        words += f"; a control group's quota is {where.quota:g} CPUs"
    return Unmeasured(Code.DISTURBED, words, (Mark.DISTURBED,), kernel=kernel.name, **told, **cpus(where))


def cpus(where: Usable) -> dict[str, Any]:
    """Return which CPUs were used, and out of how many."""
    told: dict[str, Any] = {"threads": len(where.cpus), "affinity": where.affinity, "online": where.online}
    if where.quota is not None:
        told["quota_cpus"] = where.quota
    if where.kinds:
        told["hybrid"] = {kind: sum(cpu in numbers for cpu in where.cpus) for kind, numbers in where.kinds.items()}
    return told


def conditions(where: Usable, crew: Crew, mhz: int | None) -> dict[str, Any]:
    """Return what a reader needs beside the rates; to be asked while the CPUs are still warm."""
    clocks = {"before": mhz, "after": mean_mhz(where.cpus)}
    return {
        **cpus(where),
        "pinned": sum(one.pinned for one in crew.hello),
        "mhz": {when: clock for when, clock in clocks.items() if clock is not None},
        "machine": machine(),
        "software": crew.hello[0].software,
    }


def memory(crew: Crew, times: Times) -> dict[str, Any]:
    """Return the memory's bandwidth, all threads together; or why there is none, which leaves the score as it is."""
    needed = 3 * TRIAD_ARRAY_BYTES * len(crew.workers)
    if needed > available_bytes() // 2:
        return {"triad": f"not measured: it takes {needed / 1e9:.1f} GB, more than half of what is available"}
    try:
        found = rates(crew.measure(TRIAD, NEEDED, times.limit_s(times.triad_s)))
    except Trouble as trouble:
        # A control group may have less memory than the machine, and then a process was killed.
        return {"triad": f"not measured: {trouble.detail}"}
    if found is None:
        return {"triad": "not measured: other work took the CPU"}
    return {"triad_gb_s": rounded(found.total), "triad_least_gb_s": rounded(found.least)}


def rounded(value: float) -> float:
    """Return a value with four significant digits."""
    return float(f"{value:.4g}")


BENCHMARK = Benchmark(name=BenchmarkName.CPU, method_version=METHOD, deadline_s=40.0, run=run)
