"""
Xids: what NVIDIA's driver reports of a GPU, by what has to be done about it.

Source: NVIDIA, XID Errors, "Analyzing Xid Errors with the Xid Catalog" (docs.nvidia.com/deploy/xid-errors), of
October 2025, column "Resolution Bucket (Immediate Action)".
"""

import re

from agent.matchers import Event, Matcher

_LINE = re.compile(
    r"NVRM: Xid \((?:PCI:)?([0-9a-fA-F]{4,8}):([0-9a-fA-F]{2}):([0-9a-fA-F]{2})(?:\.0)?(?:[ ,][^()]{1,40})?\): "
    r"(\d{1,4}),(.*)",
    re.DOTALL,
)
"""Source: NVIDIA open-gpu-kernel-modules, src/nvidia/src/kernel/core/system.c; XID Errors, "Viewing Xid Messages"."""

APPLICATION = frozenset(
    {8, 11, 13, 25, 31, 32, 37, 38, 39, 40, 41, 43, 44, 45, 60, 63, 66, 67, 68, 69, 70, 71, 72, 75, 76, 77, 80}
    | {
        *range(82, 87),
        88,
        89,
        92,
        93,
        94,
        *range(96, 109),
        121,
        *range(126, 136),
        137,
        139,
        141,
        152,
        153,
        157,
        160,
        161,
    }
)
"""RESTART_APP and IGNORE, and 45, which cleans up after another one: the machine needs nothing."""

RESET = frozenset({46, 48, 62, 64, 74, 95, 109, 110, 119, 120, 136, 140, 143, 155, 156, 158, 171, 172})
"""RESET_GPU; the workflows of 48 and 74 begin with a reset too, and 171 and 172 are said together with 48."""

REBOOT = frozenset({79, 151})
"""RESTART_BM and RESTART_VM."""

REPLACE = frozenset({54, 142})
"""CHECK_MECHANICALS, and CONTACT_SUPPORT for a number that is in use: a person has to take the GPU out."""

_NVLINK_5 = frozenset(range(144, 151))
"""The severity stands in the line: what is fatal takes a reset. Source: the catalog's sheet "XID 144-150 Decode"."""

_RECOVERY = {"1": "xid_reset", "2": "xid_reboot", "3": "xid_application", "4": "xid_reset"}
"""What 154 says is to be done now. Source: NVML API reference, nvmlDeviceGpuRecoveryAction_t."""
_NEW_RECOVERY = re.compile(r" GPU recovery action changed from 0x[0-9a-f] \([\w ]{1,40}\) to 0x([0-9a-f]) ")

WORDS = {
    8: "GPU stopped processing",
    13: "graphics engine exception",
    31: "GPU memory page fault",
    32: "corrupted push buffer stream",
    38: "driver firmware error",
    43: "GPU stopped processing",
    45: "cleanup after an earlier error",
    46: "GPU stopped processing",
    48: "double bit ECC error",
    54: "auxiliary power is not connected",
    61: "internal micro-controller breakpoint",
    62: "internal micro-controller halt",
    63: "memory row remapped or page retired",
    64: "memory row could not be remapped or page retired",
    68: "video decoder exception",
    69: "graphics engine class error",
    74: "NVLink error",
    79: "GPU has fallen off the bus",
    92: "high rate of single bit ECC errors",
    94: "contained memory error",
    95: "uncontained memory error",
    109: "context switch timeout",
    119: "GSP does not answer",
    120: "GSP error",
    121: "C2C error",
    136: "link training failed",
    137: "NVLink privilege error",
    140: "unrecovered ECC error",
    143: "GPU initialization error",
    154: "recovery action changed",
    156: "resource retired",
    157: "resource could not be retired",
    158: "fatal timeout",
    171: "uncorrectable DRAM error",
    172: "uncorrectable SRAM error",
}
"""The catalog's descriptions of those that are met; the line's own words would carry a process's name."""


def reading_of(number: int, rest: str) -> str | None:
    """
    Return what a number is counted as, None for one that says that nothing is to be done any more.

    Args:
        number: The Xid.
        rest: The line after it.
    """
    if number == 154 and (found := _NEW_RECOVERY.match(rest)):
        return None if found[1] == "0" else _RECOVERY.get(found[1], "xid_unknown")
    if number in _NVLINK_5:
        return "xid_reset" if re.match(r" \w{1,40} +Fatal ", rest) else "xid_application"
    classes = {"xid_application": APPLICATION, "xid_reset": RESET, "xid_reboot": REBOOT, "xid_replace": REPLACE}
    return next((reading for reading, numbers in classes.items() if number in numbers), "xid_unknown")


def match(text: str) -> Event | None:
    """Return the Xid in a line."""
    found = _LINE.match(text)
    reading = reading_of(int(found[4]), found[5]) if found else None
    if found is None or reading is None:
        return None
    number, words = int(found[4]), WORDS.get(int(found[4]), "see the Xid catalog")
    address = f"{int(found[1], 16):04x}:{found[2]}:{found[3]}.0".lower()
    return Event(
        reading=reading,
        words=f"{address}: Xid {number}, {words}",
        item=address,
        newest=("xid_last", f"{number}: {words}"),
    )


MATCHER = Matcher(
    name="xid",
    match=match,
    describes={
        "xid_application": "by PCI address: Xids that need nothing but the application restarted, since boot",
        "xid_reset": "by PCI address: Xids after which the GPU needs a reset, since boot",
        "xid_reboot": "by PCI address: Xids after which the machine needs a reboot, since boot",
        "xid_replace": "by PCI address: Xids for which a person has to look at the GPU, since boot",
        "xid_unknown": "by PCI address: Xids that the catalog used here gives no remedy for, since boot",
        "xid_last": "by PCI address: the newest Xid in words, and when",
    },
)
