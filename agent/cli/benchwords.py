"""What benchmarks found, for a person. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from shared.documents import Component
from shared.marks import MEANING, Mark
from shared.records import UNITS

Details = Mapping[str, Any]


def in_words(components: Sequence[Component]) -> str:
    """Return the figures, what stands behind each, why one is missing, and what the marks mean."""
    lines = [line for one in components for line in _one(one)]
    marks = sorted({Mark(mark) for one in components for mark in one.marks})
    return "\n".join([*lines, *(f"  {mark}: {MEANING[mark]}" for mark in marks)])


def _one(one: Component) -> Iterator[str]:
    marks = f"  [{', '.join(one.marks)}]" if one.marks else ""
    yield f"{one.name:8} {one.method_version}, {one.took_s:.0f} s{marks}"
    for name, value in one.figures.items():
        yield f"  ✓ {name:24} {value:>12,.2f} {UNITS.get(name, '')}"
    if not one.figures:
        yield f"  ✕ no figure: {one.code}: {one.reason}"
    if one.details:
        yield from (f"    {label:24} {words}" for label, words in BEHIND[one.name](one.details))


def _cpu(told: Details) -> Iterator[tuple[str, str]]:
    if spread := told.get("spread", {}).get("cpu_score"):
        yield "least, most", f"{spread[0]:,.2f}, {spread[1]:,.2f}; 1000 points are eight reference threads"
    if "cpu_score_single" in told:
        yield "one thread alone", f"{told['cpu_score_single']:,.2f} points"
    if "threads" in told:
        quota = f", by a quota of {told['quota_cpus']:g}" if "quota_cpus" in told else ""
        yield "threads", f"{told['threads']} of {told.get('online')} that are online{quota}"
    for name, kernel in told.get("kernels", {}).items():
        if "total" in kernel:
            yield name, f"{kernel['total']:,.5g} {kernel['unit']}"
    if "triad_gb_s" in told:
        yield "memory", f"{told['triad_gb_s']:,.4g} GB/s (triad)"


def _disk(told: Details) -> Iterator[tuple[str, str]]:
    device = told.get("device") or {}
    kind = device.get("model") or device.get("transport") or ""
    place = f"{told.get('file_system')} on {' < '.join(device.get('layers', ['?']))} {kind}".rstrip()
    yield "where", f"{told.get('directory')}, {place}"
    yield "how", f"{told.get('engine')} {told.get('engine_version')}, direct, {told.get('in_flight')} x 1 MiB in flight"
    for phase in ("write", "read"):
        share = told.get(phase, {}).get("device_share")
        if share is not None:
            yield f"{phase}: by the device", f"{share:.0%} of {told[phase]['bytes'] / 1e9:.1f} GB"
    for phase, row in told.get("random", {}).items():
        if isinstance(row, dict) and "iops" in row:
            slow = row["latency_us"].get("p99")
            yield (
                f"4 KiB random {phase}",
                f"{row['iops']:,} a second" + (f", 99 % within {slow:,.0f} µs" if slow else ""),
            )


def _gpu(told: Details) -> Iterator[tuple[str, str]]:
    for one in told.get("gpus", ()):
        name = told["models"][one["model"]]["name"]
        if "reason" in one:
            yield one["pci"], f"{name}: {one['code']}: {one['reason']}"
            continue
        rates = ", ".join(f"{kind} {one[kind]['tflop_s']:,.4g} TFLOP/s" for kind in ("fp16", "fp32"))
        clock = f" at {one['fp16']['mhz']:.0f} MHz" if "mhz" in one["fp16"] else ""
        yield one["pci"], f"{name}: {rates}{clock}; memory {one['memory_gb_s']:,.4g} GB/s"


def _network(told: Details) -> Iterator[tuple[str, str]]:
    for direction in ("down", "up"):
        row = told.get(direction)
        if row is None:
            continue
        gbps = row["gbps"] if "gbps" in row else row["bit_s"] / 1e9
        limit = f"; limited by the {row['limited_by']}" if row.get("limited_by") else ""
        yield direction, f"{gbps:,.4g} Gbit/s{limit}"
    if "moved_bytes" in told:
        yield "moved", f"{told['moved_bytes'] / 1e9:,.2f} GB, of this month's budget"


BEHIND: Mapping[str, Callable[[Details], Iterator[tuple[str, str]]]] = {
    "cpu": _cpu,
    "disk": _disk,
    "gpu": _gpu,
    "network": _network,
}
"""By benchmark: what its details say of the figures, as labels and words; silent where they say nothing."""
