"""
What the collector looks up in a component's details: the one place that knows their names.

Details come from a machine that may say anything, so every reader here takes what is well-formed and is silent about
the rest. Names expected, by component:

    cpu      cpu_score_single, threads, triad_gb_s
    disk     write.device_share, read.device_share (0 to 1), data ("random"),
             device.model, device.rotational, device.link_mb_s, device.virtual
    gpu      gpus: a list of uuid, name, sms, clock_mhz (median of what was observed), fp16, fp32 (TFLOP/s)
    network  witness (an envelope), link_mbit_s, up_gbps, down_gbps, limited_by
    any      spread.FIGURE: the least and the most of its slices; disk also: read.least_mb_s, read.most_mb_s (write too)
"""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from shared.documents import Component
from shared.envelope import Envelope

MOST_GPUS = 64
_NOTHING: Mapping[str, Any] = {}


class Cpu(Struct, frozen=True, kw_only=True):
    """A CPU component's details: score of one thread, how many ran together, memory bandwidth in GB/s."""

    single: float | None
    threads: float | None
    triad_gb_s: float | None


class Disk(Struct, frozen=True, kw_only=True):
    """A disk component's details. Shares: of what was asked, how much the device did. `data`: what was written."""

    model: str | None
    rotational: bool | None
    link_mb_s: float | None
    write_share: float | None
    read_share: float | None
    data: str | None


class Gpu(Struct, frozen=True, kw_only=True):
    """One GPU of a GPU component's details; FP16 and FP32 in TFLOP/s."""

    uuid: str | None
    name: str | None
    sms: float | None
    clock_mhz: float | None
    fp16: float | None
    fp32: float | None


class Network(Struct, frozen=True, kw_only=True):
    """A network component's details. `witness`: null when there is none, `garbled` when what stands there is none."""

    link_mbit_s: float | None
    witness: Envelope | None
    garbled: bool


def cpu(details: Mapping[str, Any]) -> Cpu:
    """Read a CPU component's details."""
    return Cpu(
        single=number(details.get("cpu_score_single")),
        threads=number(details.get("threads")),
        triad_gb_s=number(details.get("triad_gb_s")),
    )


def disk(details: Mapping[str, Any]) -> Disk:
    """Read a disk component's details."""
    device = part(details, "device")
    rotational = device.get("rotational")
    return Disk(
        model=text(device.get("model")),
        rotational=rotational if isinstance(rotational, bool) else None,
        link_mb_s=number(device.get("link_mb_s")),
        write_share=number(part(details, "write").get("device_share")),
        read_share=number(part(details, "read").get("device_share")),
        data=text(details.get("data")),
    )


def gpus(details: Mapping[str, Any]) -> tuple[Gpu, ...]:
    """Read a GPU component's details: one for each GPU."""
    listed = details.get("gpus")
    return tuple(
        Gpu(
            uuid=text(one.get("uuid")),
            name=text(one.get("name")),
            sms=number(one.get("sms")),
            clock_mhz=number(one.get("clock_mhz")),
            fp16=number(one.get("fp16")),
            fp32=number(one.get("fp32")),
        )
        for one in (listed[:MOST_GPUS] if isinstance(listed, list) else ())
        if isinstance(one, dict)
    )


def network(details: Mapping[str, Any]) -> Network:
    """Read a network component's details."""
    raw = details.get("witness")
    witness = None
    try:
        witness = msgspec.convert(raw, Envelope) if raw is not None else None
    except (msgspec.ValidationError, ValueError):
        # What stands there is the machine's own doing, and is told as such.
        return Network(link_mbit_s=number(details.get("link_mbit_s")), witness=None, garbled=True)
    return Network(link_mbit_s=number(details.get("link_mbit_s")), witness=witness, garbled=False)


def spread(component: Component, figure: str) -> tuple[float | None, float | None]:
    """Return the least and the most of a figure's slices; null where the details do not tell."""
    pair = part(component.details, "spread").get(figure)
    if isinstance(pair, list) and len(pair) == 2:
        return number(pair[0]), number(pair[1])
    phase = part(component.details, figure.removeprefix("disk_").partition("_")[0])
    return number(phase.get("least_mb_s")), number(phase.get("most_mb_s"))


def gpu_names(found: tuple[Gpu, ...]) -> str | None:
    """Return the names of GPUs as a machine's record has them: "8 x NVIDIA H200"; null when one has none."""
    names = [one.name for one in found if one.name]
    if not found or len(names) < len(found):
        return None
    counts = sorted(Counter(names).items())
    return ", ".join(f"{count} x {name}" if count > 1 else name for name, count in counts)[:300]


def part(details: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an object among the details, empty when there is none."""
    found = details.get(name)
    return found if isinstance(found, dict) else _NOTHING


def number(value: object) -> float | None:
    """Return a finite number >= 0, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        plain = float(value)
    except OverflowError:
        return None
    return plain if math.isfinite(plain) and plain >= 0 else None


def text(value: object) -> str | None:
    """Return words that can be shown and stored, 1 to 200 characters, else None."""
    return value if isinstance(value, str) and value.isprintable() and 1 <= len(value) <= 200 else None
