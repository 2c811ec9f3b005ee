"""What a GPU benchmark makes of what it saw: pure decisions, no I/O and no clock."""

import hashlib
import math
import statistics
from collections.abc import Mapping, Sequence

from agent.engines.gpu.records import SMALL_BYTES, Card, Plan, Reading, Timing, Watched
from shared.codes import Code, Trouble
from shared.marks import Mark

CHECKED = 16
"""Elements of each product that are compared with the CPU's."""
EVERY_S = 0.2
"""Between two looks at all GPUs."""
NVIDIA, AMD = "0x10de", "0x1002"
GPU_CLASSES = ("0x03", "0x12")
"""Display controllers, and processing accelerators. Source: the PCI ID repository (pci.ids)."""
IDLE_PERCENT = 3
"""Use from which on a GPU is not idle."""
EVEN = 0.9
"""Share of the median of a machine's GPUs below which one of them is uneven."""
POWER_CAP = 0x4
REASONS = {
    POWER_CAP: "power_cap",
    0x8: "hw_slowdown",
    0x20: "sw_thermal",
    0x40: "hw_thermal",
    0x80: "power_brake",
}
"""Those of NVML's clocks event reasons that make a mark. Source: NVML API reference, nvmlClocksEventReasons."""
SEEN_TWICE = 2
"""Looks that must have a reason: the hardware slowdown "may be also reported during PState or clock change" (ibid.)."""
LEAST_PRODUCT_BYTES = 400 * 2**20
"""Free memory that three matrices of the small size and cuBLAS's own room need."""


def size_for(plan: Plan, free_bytes: int) -> int:
    """
    Return how many rows and columns the matrices have.

    Raises:
        Trouble: `benchmark_failed`: too little memory is free.
    """
    if free_bytes < LEAST_PRODUCT_BYTES:
        words = f"out of memory: {free_bytes // 2**20} MiB are free, {LEAST_PRODUCT_BYTES // 2**20} needed"
        raise Trouble(Code.BENCHMARK_FAILED, words)
    return plan.size if free_bytes >= SMALL_BYTES else plan.small_size


def chosen(seed: bytes, size: int) -> tuple[tuple[int, int], ...]:
    """
    Return which elements are checked: rows and columns that follow from the seed and from nothing else.

    Args:
        seed: The collector's nonce, the GPU and the kind of product together, or anything random.
        size: Rows and columns of the matrices.
    """
    raw = hashlib.shake_256(seed).digest(CHECKED * 8)
    numbers = [int.from_bytes(raw[at : at + 4], "big") % size for at in range(0, len(raw), 4)]
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def tolerance(kind: str, size: int, expected: float, norm: float) -> float:
    """
    Return by how much an element of a right product may differ from the exact one.

    The factors are random and of both signs, so that partial sums wander: four times the norm bounds them.

    - "fp32": each of `size` additions rounds to nearest, to 2^-24 of the partial sum; such errors add up as a random
      walk, to sqrt(size) of them. TF32, whose factors have 2^-11, is outside by a factor of 20.
    - "fp16": tensor cores cut off, to 2^-23 of the partial sum, at worst at each of `size` terms; and the result is
      rounded to 16 bits, by 2^-11 of itself. A wrong factor, row or tile is outside by far.

    Args:
        kind: "fp16" or "fp32".
        size: Terms of the sum.
        expected: The exact element.
        norm: Square root of the sum of the squares of its terms.

    Source: Higham and Mary, "A new approach to probabilistic rounding error analysis", SIAM J. Sci. Comput. 41 (2019);
    Fasi, Higham, Mikaitis and Pranesh, "Numerical behavior of NVIDIA tensor cores", PeerJ Comput. Sci. 7 (2021).
    """
    if kind == "fp32":
        return math.sqrt(size) * 2**-24 * 4 * norm
    return size * 2**-23 * 4 * norm + abs(expected) * 2**-11


def timing(work: float, batches_s: Sequence[float], began_s: float, ended_s: float) -> Timing:
    """
    Return rates from the time that one piece of work took in each batch.

    Args:
        work: Floating point operations, or bytes, of one piece.
        batches_s: Seconds for one piece, by batch.
        began_s: When the first batch began.
        ended_s: When the last was over.
    """
    rates = [work / one for one in batches_s]
    return Timing(
        began_s=began_s,
        ended_s=ended_s,
        low=min(rates),
        median=statistics.median(rates),
        high=max(rates),
        batches=len(rates),
    )


def absent(bus: Mapping[str, tuple[str, str]]) -> Trouble | None:
    """
    Return why there is no GPU to measure; None where an NVIDIA GPU is on the PCI bus.

    Args:
        bus: Vendor and class ("0x10de", "0x030200") of each PCI device, by address.
    """
    vendors = {vendor for vendor, kind in bus.values() if kind.startswith(GPU_CLASSES)}
    if NVIDIA in vendors:
        return None
    if AMD in vendors:
        return Trouble(
            Code.UNSUPPORTED, "an AMD GPU is here; gpu/1 is defined for NVIDIA's only, and nothing is guessed"
        )
    return Trouble(Code.NO_GPU, "no NVIDIA GPU on the PCI bus")


def refused(cards: Sequence[Card], bound: Sequence[str]) -> Trouble | None:
    """
    Return why a machine's GPUs cannot be measured together.

    Args:
        cards: As NVML describes them.
        bound: PCI addresses of the GPUs that the NVIDIA driver has taken.
    """
    split = [one for one in cards if one.mig]
    if split:
        words = f"{named(split[0])} is split into instances (MIG): nvidia-smi -i {split[0].pci} -mig 0 makes it whole"
        return Trouble(Code.UNSUPPORTED, words)
    if not cards:
        return Trouble(Code.NO_GPU, "an NVIDIA GPU is on the PCI bus, and its driver knows none")
    lost = sorted(set(bound) - {one.pci for one in cards})
    if lost:
        return Trouble(
            Code.BENCHMARK_FAILED, f"{lost[0]} is on the PCI bus, and NVML does not know it: lost, or failed"
        )
    return None


def named(card: Card) -> str:
    """Return how a person finds a GPU."""
    return f"{card.name} at {card.pci}"


def disturbance(cards: Sequence[Card], readings: Sequence[Reading], names: Mapping[int, str]) -> str | None:
    """
    Return who uses a GPU that nobody should use; None when they all are idle.

    Raises:
        Trouble: `benchmark_failed`: one no longer answers.
    """
    for card, one in zip(cards, readings, strict=True):
        if one.error:
            raise Trouble(Code.BENCHMARK_FAILED, f"{named(card)}: {one.error}")
        if one.pids:
            return f"{who(one.pids, names)} computes on {named(card)}"
        if (one.use_percent or 0) >= IDLE_PERCENT:
            return f"something uses {one.use_percent} % of {named(card)}"
    return None


def who(pids: Sequence[int], names: Mapping[int, str]) -> str:
    """Return processes in words."""
    return ", ".join(f"{names.get(pid) or 'a process'} ({pid})" for pid in pids)


def intruders(looks: Sequence[Watched], ours: Sequence[int], from_s: float, until_s: float) -> tuple[int, ...]:
    """
    Return the processes of others that computed on a GPU while ours did.

    A GPU has one process of ours all that time, and what NVML lists beyond one is somebody else's: in a container NVML
    may call ours by a number that we do not know.
    """
    found: set[int] = set()
    for look in looks:
        for one in look.readings if from_s <= look.at_s <= until_s else ():
            if len(one.pids) > 1:
                found |= set(one.pids) - set(ours)
    return tuple(sorted(found))


def within(looks: Sequence[Watched], index: int, timing: Timing) -> list[Reading]:
    """Return what one GPU did during a phase, as far as it answered."""
    readings = [one.readings[index] for one in looks if timing.began_s <= one.at_s <= timing.ended_s]
    return [one for one in readings if not one.error]


def reasons(readings: Sequence[Reading]) -> tuple[str, ...]:
    """Return why the clock was held down, by NVML's word, in more than a passing moment."""
    return tuple(
        name for bit, name in REASONS.items() if sum(bool((one.reasons or 0) & bit) for one in readings) >= SEEN_TWICE
    )


def held_down(found: Sequence[str]) -> tuple[Mark, ...]:
    """Return the marks that reasons make."""
    marks = {
        Mark.THROTTLED: any(one != REASONS[POWER_CAP] for one in found),
        Mark.POWER_CAPPED: REASONS[POWER_CAP] in found,
    }
    return tuple(mark for mark, there in marks.items() if there)


def uneven(rates: Sequence[float]) -> bool:
    """Return whether one of a machine's GPUs is much slower than the others."""
    return len(rates) > 1 and min(rates) < EVEN * statistics.median(rates)


def middle(values: Sequence[float | None]) -> float | None:
    """Return the median of what is known; None where nothing is."""
    known = [one for one in values if one is not None]
    return statistics.median(known) if known else None
