"""
The speed of the network interface that leads somewhere, as its driver tells.

Without netlink, which the agent's unit does not allow it: hence not getifaddrs(3), nor what is built on it.
"""

import fcntl
import ipaddress
import os
import socket
from pathlib import Path

SIOCGIFADDR = 0x8915
"""Source: Linux, include/uapi/linux/sockios.h; netdevice(7) for the struct."""


def link_bit_s(host: str, port: int) -> int | None:
    """Return the speed of the interface towards an address, in bit/s; None where it does not tell."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)  # sends nothing: it only asks the kernel for the way
            own = probe.getsockname()[0]
        name = _name_v6(own) if family == socket.AF_INET6 else _name_v4(own)
        speed = Path("/sys/class/net", name, "speed").read_text().strip() if name else ""
    except OSError:
        return None  # connecting will tell what is wrong; some drivers refuse to be asked
    return int(speed) * 10**6 if speed.isdigit() and int(speed) > 0 else None


def _name_v4(own: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for name in os.listdir("/sys/class/net"):  # noqa: PTH208 - names, not paths
            try:
                told = fcntl.ioctl(probe, SIOCGIFADDR, name.encode()[:15].ljust(40, b"\0"))
            except OSError:
                continue  # it has no such address
            if socket.inet_ntoa(told[20:24]) == own:
                return name
    return ""


def _name_v6(own: str) -> str:
    wanted = ipaddress.IPv6Address(own.partition("%")[0])
    for line in Path("/proc/net/if_inet6").read_text().splitlines():
        address, *_, name = line.split()
        if int(address, 16) == int(wanted):
            return name
    return ""
