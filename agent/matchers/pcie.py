"""
PCI Express: errors on a link, with the device that noticed.

Source: Linux, drivers/pci/pcie/aer.c, aer_print_error(), and drivers/pci/pcie/dpc.c.
"""

import re

from agent.matchers import Event, Matcher

_ADDRESS = r"([0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])"
_ERROR = re.compile(
    rf"[\w.-]{{1,40}} {_ADDRESS}: (?:AER: )?PCIe Bus Error: "
    r"severity=(Correct|Uncorrect)(?:ed|able)(?: \((Non-)?Fatal\))?"
)
_CONTAINED = re.compile(rf"[\w.-]{{1,40}} {_ADDRESS}: DPC: containment event, status:")


def match(text: str) -> Event | None:
    """Return the error of a PCI Express device in a line."""
    if found := _ERROR.match(text):
        severity = "corrected" if found[2] == "Correct" else "not fatal" if found[3] else "fatal"
        return Event(reading="pcie_errors", words=f"{found[1]}: PCIe error, {severity}", item=found[1])
    if contained := _CONTAINED.match(text):
        return Event(reading="pcie_errors", words=f"{contained[1]}: PCIe link shut off", item=contained[1])
    return None


MATCHER = Matcher(
    name="pcie",
    match=match,
    describes={"pcie_errors": "by PCI address: errors of PCI Express links, corrected ones too, since boot"},
)
