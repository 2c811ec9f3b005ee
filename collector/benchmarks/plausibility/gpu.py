"""GPU figures against what the model can do, and against who else has that GPU."""

import math
import re
from collections import Counter
from collections.abc import Iterator

from collector.benchmarks.gpu_models import bounds, model_of
from collector.benchmarks.plausibility.seen import Seen, flag
from collector.benchmarks.readings import Gpu, gpu_names
from shared.flags import Flag, FlagCode

LEAST, MOST = 0.45, 1.03
"""Plausible share of the bound at the observed clock: a power limit halves it, rounding adds a little."""
MOST_OVERCLOCK = 1.25
"""Over the boost clock: consumer cards run up to a fifth above it, none a quarter."""
RATIO = (0.5, 2.0)
"""FP16 over FP32, as a share of the model's own."""
SUM_WITHIN = 0.01

FP16, FP32 = "gpu_throughput_fp16", "gpu_throughput_fp32"


def bound(seen: Seen) -> Iterator[Flag]:
    """See that every GPU does what its model can at its clock."""
    if not seen.gpus:
        for figure in (FP16, FP32):
            if getattr(seen.outcome, figure) is not None:
                yield flag(FlagCode.NO_BOUND, "the details do not tell on which GPUs", figure)
    for gpu in seen.gpus:
        limits = bounds(gpu)
        if limits is None:
            words = f"{_name(gpu)}: its model or clock is not known here; nothing bounds it"
            # A new model is nobody's fault. A known one without a clock, but with figures, left it out.
            hidden = model_of(gpu.name) is not None and (gpu.fp16 is not None or gpu.fp32 is not None)
            yield flag(FlagCode.NO_BOUND, words, shadow=not hidden)
            continue
        measured = (FP16, gpu.fp16, gpu.fp16_mhz), (FP32, gpu.fp32, gpu.fp32_mhz)
        for (figure, value, mhz), limit in zip(measured, limits, strict=True):
            if value is None:
                continue
            share = value / limit if limit > 0 else math.inf
            at = f"{limit:,.4g}, its bound at {mhz:.0f} MHz"
            words = f"{_name(gpu)}: {value:,.4g} TFLOP/s is {share:.2f} of {at}"
            if share > MOST:
                yield flag(FlagCode.OVER_BOUND, words, figure)
            elif share < LEAST:
                yield flag(FlagCode.UNDER_BOUND, words, figure)


def name(seen: Seen) -> Iterator[Flag]:
    """See that what NVML counts fits the name it gives."""
    for gpu in seen.gpus:
        model = model_of(gpu.name)
        if model is None:
            continue
        if gpu.sms is not None and gpu.sms != model.sms:
            words = f"{_name(gpu)} has {gpu.sms:.0f} multiprocessors, a {model.name} {model.sms}"
            yield flag(FlagCode.FALSE_NAME, words)
        mhz = max(gpu.fp16_mhz or 0.0, gpu.fp32_mhz or 0.0)
        if mhz > model.boost_mhz * MOST_OVERCLOCK:
            words = f"{_name(gpu)} ran at {mhz:.0f} MHz, a {model.name} boosts to {model.boost_mhz:.0f}"
            yield flag(FlagCode.FALSE_NAME, words)


def ratio(seen: Seen) -> Iterator[Flag]:
    """See that FP16 and FP32 are in the model's proportion."""
    for gpu in seen.gpus:
        model = model_of(gpu.name)
        if model is None or not gpu.fp16 or not gpu.fp32:
            continue
        found, usual = gpu.fp16 / gpu.fp32, model.k16 / model.k32
        if not RATIO[0] <= found / usual <= RATIO[1]:
            yield flag(FlagCode.ODD_RATIO, f"{_name(gpu)}: FP16 is {found:.3g} x FP32, a {model.name}'s {usual:.3g} x")


def total(seen: Seen) -> Iterator[Flag]:
    """See that the record's figure is the sum of the GPUs'."""
    for figure, values in ((FP16, [one.fp16 for one in seen.gpus]), (FP32, [one.fp32 for one in seen.gpus])):
        told = getattr(seen.outcome, figure)
        if told is None or not values:
            continue
        # One that failed has none, and adds nothing to the sum either.
        summed = sum(value for value in values if value is not None)
        if abs(told - summed) > SUM_WITHIN * max(told, summed):
            words = f"{told:,.6g} TFLOP/s, but its {len(values)} GPUs together {summed:,.6g}"
            yield flag(FlagCode.UNEXPLAINED, words, figure)


def record(seen: Seen) -> Iterator[Flag]:
    """See that the GPUs measured are those that the machine's record names."""
    measured, known = gpu_names(seen.gpus), seen.context.gpu_model
    if measured is not None and (known is None or _plain(measured) != _plain(known)):
        yield flag(FlagCode.OTHER_GPU, f"measured: {measured[:120]}; the record: {(known or 'none')[:120]}")


def elsewhere(seen: Seen) -> Iterator[Flag]:
    """See that every GPU can be known again, counts once, and was measured in no other machine."""
    for uuid, count in sorted(Counter(one.uuid or "" for one in seen.gpus).items()):
        if not uuid:
            yield flag(FlagCode.NO_PROOF, f"{count} GPUs without a UUID: they may be anybody's, or one counted twice")
        elif count > 1:
            yield flag(FlagCode.GPU_ELSEWHERE, f"{uuid} stands here {count} times")
        if uuid in seen.context.elsewhere:
            yield flag(FlagCode.GPU_ELSEWHERE, f"{uuid} was measured in {seen.context.elsewhere[uuid]}")


def _name(gpu: Gpu) -> str:
    return f"{gpu.name or 'a GPU without a name'} {(gpu.uuid or '')[:12]}".strip()


def _plain(names: str) -> str:
    """Drivers of different ages differ in these words for one GPU."""
    return " ".join(re.sub(r"\b(nvidia|geforce|tesla)\b", "", names.lower()).split())
