"""What the collector itself sees of a machine, as readings of an indicator of its own."""

from collections.abc import Mapping

from collector.verdict.memory import Look, Memory
from collector.verdict.sightings import plain, quoted, readable
from shared.messages import Absent, Failed, Indicators, Measured, Values

NAME = "collector"
EXPECTED = ("cpu", "memory", "disks", "system")
"""Indicators that every machine has: without any of them nothing is known of it."""
MOST_FAILED = 32
"""Failed indicators that are told; an agent has about a dozen."""
MOST_GPUS = 64
"""More in one machine is a lie or a fault."""
HELD_S = 3600.0
"""How long more GPUs must stand on the bus before they are expected: one that is being tried out is not."""

DESCRIBES: Mapping[str, str] = {
    "clock_skew_s": "by how much the machine's clock is ahead of the collector's",
    "boots": "boots seen to begin",
    "failed": "by indicator: why it could not be read, or not in time",
    "missing": "by indicator: one that every machine has, and this one does not tell",
    "blind": "whether none of these indicators was read",
    "unreadable": "by reading: a value that no measurement can give",
    "left_out": "reasons for which there was no room",
    "gpus_on_bus": "NVIDIA GPUs on the PCI bus",
    "gpus_expected": "the most GPUs that stood on it for an hour, or that the machine's own configuration names",
    "hardware": "what the machine says it is, changed",
}
"""What each reading is."""


def readings(memory: Memory, indicators: Indicators, look: Look, skew_s: float) -> Values:
    """Return what the collector sees beside the report's own readings; what is not so is left out."""
    values: Values = {"clock_skew_s": skew_s, "boots": memory.boots}
    failed = [(name, plain(one.error)) for name, one in indicators.items() if type(one) is Failed]
    if failed:
        values["failed"] = dict(failed[:MOST_FAILED])
    missing = [name for name in EXPECTED if name not in indicators]
    if missing:
        values["missing"] = dict.fromkeys(missing, True)
    if not any(type(indicators.get(name)) is Measured for name in EXPECTED):
        values["blind"] = True
    values.update(_gpus(memory, indicators, look))
    if look.odd:
        values["unreadable"] = dict(look.odd)
    if look.left_out:
        values["left_out"] = look.left_out
    return values


def _gpus(memory: Memory, indicators: Indicators, look: Look) -> Values:
    """Return how many GPUs there are and should be; nothing where the report does not tell."""
    gpu = indicators.get("gpu")
    if type(gpu) is Absent:
        count, said = 0, None
    elif type(gpu) is Measured:
        found = gpu.values.get("on_pci_bus")
        if not isinstance(found, int) or not readable(found, 0):
            return {}
        count, said = found, gpu.values.get("expected")
    else:
        return {}
    if count > MOST_GPUS:
        look.odd["gpu.on_pci_bus"] = f"{quoted(count)} GPUs are more than a machine can have"
        return {}
    _learn(memory, count, look.now)
    wanted = [one for one in (memory.gpus_expected, said) if isinstance(one, int) and 0 <= one <= MOST_GPUS]
    return {"gpus_on_bus": count, "gpus_expected": max(wanted)} if wanted else {}


def _learn(memory: Memory, count: int, now: float) -> None:
    """Expect more GPUs once they have stood on the bus long enough; never fewer: an admin says so."""
    if count <= (memory.gpus_expected or 0):
        memory.gpus_more = None
        return
    least, since = memory.gpus_more or (count, now)
    memory.gpus_more = (min(least, count), since)
    if now - since >= HELD_S:
        memory.gpus_expected, memory.gpus_more = memory.gpus_more[0], None
