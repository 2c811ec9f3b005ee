"""
SXids: what NVIDIA's driver reports of an NVSwitch.

Source: NVIDIA, Fabric Manager User Guide, "NVSwitch SXid Errors": a line with the severity, then lines with data.
"""

import re

from agent.matchers import Event, Matcher

_LINE = re.compile(
    r"nvidia-nvswitch\d{1,3}: SXid \(PCI:([0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7])\): "
    r"(\d{1,6}), (Fatal|Non-fatal),"
)


def match(text: str) -> Event | None:
    """Return the SXid in a line."""
    found = _LINE.match(text)
    if found is None:
        return None
    fatal, address = found[3] == "Fatal", found[1].lower()
    return Event(
        reading="sxid_fatal" if fatal else "sxid_nonfatal",
        words=f"{address}: SXid {found[2]}, {'fatal' if fatal else 'not fatal'}",
        item=address,
    )


MATCHER = Matcher(
    name="sxid",
    match=match,
    describes={
        "sxid_fatal": "by PCI address of an NVSwitch: errors that end what runs on the fabric, since boot",
        "sxid_nonfatal": "by PCI address of an NVSwitch: errors it could go on after, since boot",
    },
)
