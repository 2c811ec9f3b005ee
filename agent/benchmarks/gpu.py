"""
GPU: how fast all GPUs of the machine multiply matrices, at once.

`gpu/1`: TFLOP/s of dense products of random matrices of 8192 x 8192 (4096 on a GPU with less than 4 GiB free), summed
over the GPUs. FP16: 16 bit in and out, tensor cores, sums in FP32. FP32: IEEE arithmetic, no TF32, no emulation. 2 s of
warm-up, then 5 s in batches of 0.25 s by the GPU's own clock, median; 16 elements of each product compared with the
CPU's. The figure is the sum over GPUs; where one of them gave nothing there is none. Tried with stand-ins for NVIDIA's
libraries only, on no real GPU.
"""

import asyncio
import statistics
from typing import Any

import msgspec

from agent.benchmarks import Benchmark, Found, Progress, Request, Unmeasured
from agent.engines.gpu import judge
from agent.engines.gpu.crew import Run, measure
from agent.engines.gpu.records import FULL, QUICK, Card, Failure, Measured, Timing
from shared.codes import Code
from shared.documents import BenchmarkName
from shared.marks import Mark

METHOD = "gpu/1"
TERA, GIGA = 1e12, 1e9
PRODUCTS = ("fp16", "fp32")
COPIES = {"memory": "memory_gb_s", "to_gpu": "to_gpu_gb_s", "to_host": "to_host_gb_s"}
MOST_OTHERS = 8
"""Processes of others that are named; more would only fill the details."""

MOST_WORDS = 200
"""Of a GPU's reason."""


def run(request: Request, progress: Progress) -> Found:
    """Measure all GPUs."""
    return judged(asyncio.run(measure(QUICK if request.quick else FULL, request.nonce, progress)))


def judged(went: Run) -> Found:
    """
    Return what a run found.

    Raises:
        Unmeasured: a GPU gave nothing, or NVML said nothing of it meanwhile; the details have what the others gave.
    """
    measured = [one for one in went.outcomes if isinstance(one, Measured)]
    details, marks = _details(went), _marks(went, measured)
    for index, (card, one) in enumerate(zip(went.cards, went.outcomes, strict=True)):
        if isinstance(one, Failure):
            # Seldom NVML knows more, that the GPU is lost, say.
            also = next((look.readings[index].error for look in reversed(went.looks) if look.readings[index].error), "")
            words = f"{judge.named(card)}: {one.reason}" + (f"; NVML: {also}" if also else "")
            raise Unmeasured(Code(one.code), words, marks, **details)
        if not all(judge.within(went.looks, index, one.timings[name]) for name in PRODUCTS):
            words = f"{judge.named(card)}: NVML said nothing while it worked, so nobody knows under what conditions"
            raise Unmeasured(Code.BENCHMARK_FAILED, words, marks, **details)
    timings = {f"gpu_throughput_{name}": [one.timings[name] for one in measured] for name in PRODUCTS}
    # Not rounded: two equal figures are one that was sent twice.
    figures = {figure: sum(one.median for one in ours) / TERA for figure, ours in timings.items()}
    spread = {
        figure: [significant(sum(one.low for one in ours) / TERA), significant(sum(one.high for one in ours) / TERA)]
        for figure, ours in timings.items()
    }
    return Found(figures=figures, marks=marks, details={**details, "spread": spread})


def significant(value: float) -> float:
    """Return a value with five digits that count."""
    return float(f"{value:.5g}")


def _marks(went: Run, measured: list[Measured]) -> tuple[Mark, ...]:
    found = [mark for row in _reasons(went) for mark in judge.held_down(row)]
    if _intruders(went):
        found.append(Mark.DISTURBED)
    if any(judge.uneven([one.timings[name].median for one in measured]) for name in PRODUCTS):
        found.append(Mark.UNEVEN)
    return tuple(dict.fromkeys(found))


def _intruders(went: Run) -> tuple[int, ...]:
    phases = [phase for one in went.outcomes if isinstance(one, Measured) for phase in one.timings.values()]
    from_s, until_s = min((one.began_s for one in phases), default=0), max((one.ended_s for one in phases), default=0)
    return judge.intruders(went.looks, went.ours, from_s, until_s)


def _reasons(went: Run) -> list[tuple[str, ...]]:
    """Return for each GPU what held its clock down during the products."""
    return [
        judge.reasons([look for name in PRODUCTS for look in judge.within(went.looks, index, one.timings[name])])
        if isinstance(one, Measured)
        else ()
        for index, one in enumerate(went.outcomes)
    ]


def _details(went: Run) -> dict[str, Any]:
    """Return the details: what many GPUs of a machine share stands once, in `models`."""
    rows = [_model(card, one) for card, one in zip(went.cards, went.outcomes, strict=True)]
    models = [row for at, row in enumerate(rows) if row not in rows[:at]]
    gpus = [
        {"model": models.index(row), **_gpu(went, index, reasons)}
        for index, (row, reasons) in enumerate(zip(rows, _reasons(went), strict=True))
    ]
    measured = [one for one in went.outcomes if isinstance(one, Measured)]
    least = {
        f"least_{name}_tflop_s": significant(min(one.timings[name].median for one in measured) / TERA)
        for name in (PRODUCTS if measured else ())
    }
    others = [judge.who([pid], went.names) for pid in _intruders(went)[:MOST_OTHERS]]
    told = {"driver": went.driver, **least, "models": models, "gpus": gpus}
    return {**told, "others": others} if others else told


def _model(card: Card, one: Measured | Failure) -> dict[str, Any]:
    told = msgspec.structs.asdict(card)
    for own in ("uuid", "pci"):
        del told[own]
    if isinstance(one, Measured):
        told |= {"multiprocessors": one.multiprocessors, "capability": one.capability}
        told |= {"cuda": one.cuda, "cublas": one.cublas, "size": one.size, "checked": one.checked}
    return {name: value for name, value in told.items() if value is not None}


def _gpu(went: Run, index: int, reasons: tuple[str, ...]) -> dict[str, Any]:
    card, one = went.cards[index], went.outcomes[index]
    told: dict[str, Any] = {"uuid": card.uuid, "pci": card.pci}
    if isinstance(one, Failure):
        return told | {"code": one.code, "reason": one.reason[:MOST_WORDS]}
    for name in PRODUCTS:
        told[name] = _product(went, index, one.timings[name])
    told |= {title: significant(one.timings[name].median / GIGA) for name, title in COPIES.items()}
    links = [look.pcie for timing in one.timings.values() for look in judge.within(went.looks, index, timing)]
    known = [link for link in links if link]
    told |= {"pcie": statistics.mode(known)} if known else {}
    return told | ({"reasons": list(reasons)} if reasons else {})


def _product(went: Run, index: int, timing: Timing) -> dict[str, float]:
    """Return one GPU's rate with its spread, and under what clock, power and heat it was."""
    looks = judge.within(went.looks, index, timing)
    told = {
        "tflop_s": significant(timing.median / TERA),
        "low": significant(timing.low / TERA),
        "high": significant(timing.high / TERA),
        "spread": round((timing.high - timing.low) / timing.median, 4),
    }
    seen = {
        "mhz": judge.middle([one.mhz for one in looks]),
        "w": judge.middle([one.power_w for one in looks]),
        "celsius": max((one.celsius for one in looks if one.celsius is not None), default=None),
    }
    return told | {name: value for name, value in seen.items() if value is not None}


BENCHMARK = Benchmark(name=BenchmarkName.GPU, method_version=METHOD, deadline_s=240.0, run=run)
