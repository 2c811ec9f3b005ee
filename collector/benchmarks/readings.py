"""
What the collector looks up in a component's details: the one place that knows their names.

Details come from a machine that may say anything, so every reader here takes what is well-formed and is silent about
the rest. Names expected, by component:

    cpu      cpu_score_single, threads, triad_gb_s
    disk     write.device_share, read.device_share (0 to 1), packed (what is left of samples when they are compressed),
             device.model, device.rotational, device.link ("16.0 GT/s PCIe x4", "6.0 Gbps"), device.virtual,
             device.software, device.layers
    gpu      models: a list of name, multiprocessors; gpus: a list of model (its place in that list), uuid, and
             fp16 and fp32, each with tflop_s and mhz (median of what was observed)
    network  witness (an envelope), link_bit_s
    any      spread.FIGURE: the least and the most of its slices; disk also: read.least_mb_s, read.most_mb_s (write too)
"""

import math
import re
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
    """
    A disk component's details. Shares: of what was asked, how much the device did; `packed`: as `agent` tells it.

    `rotational` and `link_mb_s` are of one disk on its own: a hypervisor's word for them means nothing, and an array is
    faster than each of its members.
    """

    model: str | None
    rotational: bool | None
    link_mb_s: float | None
    write_share: float | None
    read_share: float | None
    packed: float | None


class Gpu(Struct, frozen=True, kw_only=True):
    """One GPU of a GPU component's details; FP16 and FP32 in TFLOP/s, each with the clock that it had meanwhile."""

    uuid: str | None
    name: str | None
    sms: float | None
    fp16: float | None
    fp16_mhz: float | None
    fp32: float | None
    fp32_mhz: float | None


class Network(Struct, frozen=True, kw_only=True):
    """A network component's details. `witness`: null when there is none, `garbled` when what stands there is none."""

    link_bit_s: float | None
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
    rotational, layers = device.get("rotational"), device.get("layers")
    # A partition and its disk: what has more layers may have more disks.
    alone = isinstance(layers, list) and len(layers) <= 2
    real = alone and not device.get("virtual") and not device.get("software")
    return Disk(
        model=text(device.get("model")),
        rotational=rotational if real and isinstance(rotational, bool) else None,
        link_mb_s=link_mb_s(text(device.get("link")) or "") if real else None,
        write_share=number(part(details, "write").get("device_share")),
        read_share=number(part(details, "read").get("device_share")),
        packed=number(details.get("packed")),
    )


def link_mb_s(link: str) -> float | None:
    """
    Return what a link carries in MB/s after its line code, from the kernel's words for it; None where they are others.

    Source: PCI Express Base Specification: 8b/10b up to 5 GT/s, 128b/130b above; Serial ATA: 8b/10b.
    """
    pcie = re.fullmatch(r"(\d+(?:\.\d+)?) GT/s(?: PCIe)? x(\d{1,2})", link)
    if pcie is not None:
        rate = float(pcie[1])
        return rate * 1000 / 8 * (0.8 if rate <= 5 else 128 / 130) * int(pcie[2])
    serial = re.fullmatch(r"(1\.5|3\.0|6\.0) Gbps", link)
    return float(serial[1]) * 100 if serial is not None else None


def gpus(details: Mapping[str, Any]) -> tuple[Gpu, ...]:
    """Read a GPU component's details: one for each GPU."""
    listed, models = details.get("gpus"), details.get("models")
    return tuple(
        _gpu(one, models if isinstance(models, list) else [])
        for one in (listed[:MOST_GPUS] if isinstance(listed, list) else ())
        if isinstance(one, dict)
    )


def _gpu(one: Mapping[str, Any], models: list[Any]) -> Gpu:
    place = one.get("model")
    model = models[place] if isinstance(place, int) and 0 <= place < len(models) else None
    if not isinstance(model, dict):
        model = _NOTHING
    fp16, fp32 = part(one, "fp16"), part(one, "fp32")
    return Gpu(
        uuid=text(one.get("uuid")),
        name=text(model.get("name")),
        sms=number(model.get("multiprocessors")),
        fp16=number(fp16.get("tflop_s")),
        fp16_mhz=number(fp16.get("mhz")),
        fp32=number(fp32.get("tflop_s")),
        fp32_mhz=number(fp32.get("mhz")),
    )


def network(details: Mapping[str, Any]) -> Network:
    """Read a network component's details."""
    raw = details.get("witness")
    witness = None
    try:
        witness = msgspec.convert(raw, Envelope) if raw is not None else None
    except (msgspec.ValidationError, ValueError):
        # What stands there is the machine's own doing, and is told as such.
        return Network(link_bit_s=number(details.get("link_bit_s")), witness=None, garbled=True)
    return Network(link_bit_s=number(details.get("link_bit_s")), witness=witness, garbled=False)


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
