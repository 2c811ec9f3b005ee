"""NVIDIA GPUs on the PCI bus, whether or not a driver knows them."""

from collections.abc import Iterable, Mapping
from contextlib import suppress

from agent.host import Host, names_or_nothing, text_or_none

NVIDIA = "0x10de"
DISPLAY_CLASS = "0x03"
"""Vendor id, and the class of display controllers, which "3D controllers" without outputs belong to too.

Source: the PCI ID repository (pci.ids); NVIDIA's audio functions and NVSwitches are of other classes."""

_DEVICES = "/sys/bus/pci/devices"


def is_gpu(vendor: str | None, device_class: str | None) -> bool:
    """Return whether a PCI device is an NVIDIA GPU."""
    return vendor == NVIDIA and (device_class or "").startswith(DISPLAY_CLASS)


def devices(host: Host, known: Mapping[str, bool] | None = None) -> dict[str, bool]:
    """
    Return every PCI device by address, and whether it is an NVIDIA GPU.

    Args:
        host: The machine.
        known: What an earlier call returned; only devices not in it are looked at, a large server has hundreds.
    """
    known = known or {}
    return {
        name: known[name] if name in known else is_gpu(_id(host, name, "vendor"), _id(host, name, "class"))
        for name in names_or_nothing(host, _DEVICES)
    }


def _id(host: Host, name: str, file: str) -> str | None:
    return text_or_none(host, f"{_DEVICES}/{name}/{file}")


def drivers(host: Host, addresses: Iterable[str]) -> set[str]:
    """Return the kernel drivers that hold these devices; none where nobody does. Source: Linux, sysfs-bus-pci."""
    found = set()
    for address in addresses:
        with suppress(OSError):
            found.add(host.link(f"{_DEVICES}/{address}/driver").rpartition("/")[2])
    return found
