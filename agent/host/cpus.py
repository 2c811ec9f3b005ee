"""CPUs: what they are called, and the kernel's way to list them."""

from collections.abc import Mapping

IMPLEMENTERS: Mapping[int, str] = {
    0x41: "ARM",
    0x42: "Broadcom",
    0x43: "Cavium",
    0x46: "Fujitsu",
    0x48: "HiSilicon",
    0x4E: "NVIDIA",
    0x50: "APM",
    0x51: "Qualcomm",
    0x61: "Apple",
    0x6D: "Microsoft",
    0x70: "Phytium",
    0xC0: "Ampere",
}
"""Who designed an ARM core, by the top byte of MIDR_EL1. Source: util-linux, sys-utils/lscpu-arm.c."""

PARTS: Mapping[tuple[int, int], str] = {
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD42): "Cortex-A78AE",
    (0x41, 0xD49): "Neoverse-N2",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x41, 0xD83): "Neoverse-V3AE",
    (0x41, 0xD84): "Neoverse-V3",
    (0x41, 0xD8E): "Neoverse-N3",
    (0x43, 0x0A1): "ThunderX 88XX",
    (0x43, 0x0AF): "ThunderX2 99xx",
    (0x46, 0x001): "A64FX",
    (0x48, 0xD01): "TaiShan-v110",
    (0x48, 0xD02): "TaiShan-v120",
    (0x4E, 0x004): "Carmel",
    (0x4E, 0x010): "Olympus",
    (0x50, 0x000): "X-Gene",
    (0x51, 0x001): "Oryon",
    (0x6D, 0xD49): "Azure Cobalt 100",
    (0xC0, 0xAC3): "Ampere-1",
    (0xC0, 0xAC4): "Ampere-1a",
}
"""ARM cores of servers, and of NVIDIA's boards. Source: Linux, arch/arm64/include/asm/cputype.h; lscpu-arm.c."""

_MOST_WORDS = 200


def parse_cpu_model(cpuinfo: str) -> str | None:
    """
    Return the CPU's name; None where /proc/cpuinfo has none that is known.

    ARM's has no name, only numbers: "ARM Neoverse-N1" is looked up, and a core that nobody knows here is told by them.
    """
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), " ".join(value.split())[:_MOST_WORDS])
    return fields.get("model name") or _arm_model(fields.get("CPU implementer", ""), fields.get("CPU part", ""))


def _arm_model(implementer: str, part: str) -> str | None:
    """Return the name of an ARM core by its maker's and its own number, both in hexadecimal."""
    try:
        maker, core = int(implementer, 16), int(part, 16)
    except ValueError:
        return None
    words = IMPLEMENTERS.get(maker, f"ARM implementer {maker:#04x}")
    return f"{words} {PARTS.get((maker, core), f'part {core:#05x}')}"


def parse_cpu_list(text: str) -> int | None:
    """
    Return how many CPUs a list such as "0-3,8" names; None if it is none.

    Source: Linux, Documentation/admin-guide/cputopology.rst.
    """
    count = 0
    for part in text.split(",") if text else ():
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            return None
        count += int(last or first) - int(first) + 1
    return count if count >= 0 else None
