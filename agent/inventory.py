"""What the machine is: its facts in the words of the Machine record, and the id of its hardware."""

import hashlib
import re
from collections import Counter

from agent.host import Gpus, GpuUnreadable, Host, pci, text_or_none
from agent.host.disks import Disk, carrying, disk, disk_names
from agent.host.links import is_up, link_names, speed_mbit_s
from agent.host.mounts import holding, parse_mounts
from shared.codes import Code, Trouble
from shared.messages import Facts

HOMES = "/home"
"""Where tenants' data lies; the disk that carries it is the one that is rented out."""

HARDWARE_SOURCES = (
    ("product", "/sys/class/dmi/id/product_uuid"),
    ("board", "/sys/class/dmi/id/board_serial"),
    ("machine", "/etc/machine-id"),
)
"""What identifies a machine. The first two may be read by root only: the same user must always ask.

Source: Linux, drivers/firmware/dmi-id.c (modes 0400); machine-id(5)."""

MEANINGLESS = frozenset(
    {
        "",
        "none",
        "null",
        "n/a",
        "na",
        "unknown",
        "empty",
        "invalid",
        "uninitialized",
        "default string",
        "default",
        "system serial number",
        "serial number",
        "base board serial number",
        "board serial number",
        "to be filled by o.e.m.",
        "to be filled by o.e.m",
        "o.e.m.",
        "oem",
        "not specified",
        "not applicable",
        "not available",
        "not settable",
        "123456789",
        "0123456789",
        "1234567890",
        "03000200-0400-0500-0006-000700080009",
        "12345678-1234-5678-90ab-cddeefaabbcc",
        "fefefefe-fefe-fefe-fefe-fefefefefefe",
        "b08dfa6083e7567a1921a715000001fb",
    }
)
"""What makers leave where a serial number or UUID belongs, in lower case; thousands of machines share each.

Source: "To Be Filled By O.E.M.", "Default string" and 03000200-0400-0500-0006-000700080009 are the texts of AMI's
reference firmware; "Not Specified" is dmidecode's word for an empty field; the UUID that starts with 12345678 is an
example that firmware shipped with; the machine id at the end came inside published container images."""

_ONE_SIGN = re.compile(r"([0-9a-z])\1*")
_GIB_IN_KB = 1024 * 1024


def parse_cpu_model(cpuinfo: str) -> str | None:
    """Return the CPU's name; None on architectures whose /proc/cpuinfo has none, such as ARM's."""
    for line in cpuinfo.splitlines():
        name, colon, value = line.partition(":")
        if colon and name.strip() == "model name":
            return " ".join(value.split()) or None
    return None


def parse_ram_gb(meminfo: str) -> int | None:
    """
    Return the installed memory in GB (2^30 bytes, as memory is sold).

    Firmware and kernel keep 1 to 3 % for themselves, and modules come in sizes of few significant bits: what is left is
    rounded up to a multiple of the largest power of two that is at most its 16th part. 251.5 becomes 256, 755 becomes
    768, 1511 becomes 1536.
    """
    found = re.search(r"^MemTotal: +(\d+) kB", meminfo, re.MULTILINE)
    if found is None:
        return None
    kb = int(found[1])
    step_kb = max(_GIB_IN_KB, 1 << max(kb // 16, 1).bit_length() - 1)
    return -(-kb // step_kb) * step_kb // _GIB_IN_KB


def parse_os(os_release: str) -> str | None:
    """Return the system's name and version, such as "Ubuntu 22.04". Source: os-release(5)."""
    pairs = (line.partition("=")[::2] for line in os_release.splitlines())
    values = {name: value.strip().strip("\"'") for name, value in pairs}
    name = values.get("NAME", "").removesuffix(" GNU/Linux")
    return f"{name} {values.get('VERSION_ID', '')}".strip() or None


def parse_bandwidth(speeds_mbit_s: list[int]) -> str | None:
    """Return the fastest link's speed in words, such as "10 Gbps"; None where no link tells."""
    if not speeds_mbit_s:
        return None
    fastest = max(speeds_mbit_s)
    return f"{fastest / 1000:g} Gbps" if fastest >= 1000 else f"{fastest} Mbps"


def parse_gpu_model(models: list[str]) -> str | None:
    """Return the GPUs' names, "8 x " before a name that several have; None where there are none."""
    counts = Counter(model for model in models if model)
    words = (f"{count} x {model}" if count > 1 else model for model, count in sorted(counts.items()))
    return ", ".join(words)[:300] or None


def homes_disk(host: Host) -> Disk | None:
    """
    Return the disk that carries tenants' homes.

    Where it cannot be told, as in a container or on a pool of disks, the largest disk stands for it.
    """
    mounts = parse_mounts(text_or_none(host, "/proc/self/mountinfo") or "")
    mount = holding(mounts, HOMES)
    found = carrying(host, mount) if mount is not None else None
    if found is not None and found.size_bytes:
        return found
    every = (disk(host, name) for name in disk_names(host))
    return max(every, key=lambda one: one.size_bytes, default=None)


def facts(host: Host) -> Facts:
    """Return what the machine is; null where it cannot be told."""
    where = homes_disk(host)
    speeds = [speed for name in link_names(host) if is_up(host, name) and (speed := speed_mbit_s(host, name))]
    release = text_or_none(host, "/etc/os-release") or text_or_none(host, "/usr/lib/os-release") or ""
    return Facts(
        gpu_model=parse_gpu_model([gpu.model for gpu in _gpus(host).gpus]),
        cpu_model=parse_cpu_model(text_or_none(host, "/proc/cpuinfo") or ""),
        ram_gb=parse_ram_gb(text_or_none(host, "/proc/meminfo") or ""),
        disk_type=where.kind if where is not None else None,
        disk_size_gb=round(where.size_bytes / 1e9) if where is not None else None,
        network_bandwidth=parse_bandwidth(speeds),
        os=parse_os(release),
    )


def meaningful(value: str) -> bool:
    """Return whether a serial number or id can be this machine's own; one sign repeated, such as zeros, cannot."""
    plain = value.strip().lower()
    signs = re.sub(r"[^0-9a-z]", "", plain)
    return plain not in MEANINGLESS and len(signs) > 1 and not _ONE_SIGN.fullmatch(signs)


def hardware_id(host: Host) -> str:
    """
    Return the id of this hardware: the same after a reinstallation of the agent, another on another machine.

    It is made once, at enrollment, and pinned: a GPU that is later lost or replaced does not change who the machine is.

    Raises:
        Trouble: `state_corrupt`: nothing identifies this machine.
    """
    found = [(name, text_or_none(host, path)) for name, path in HARDWARE_SOURCES]
    found += [("gpu", gpu.uuid) for gpu in sorted(_gpus(host).gpus, key=lambda gpu: gpu.uuid) if gpu.model]
    parts = [f"{name}:{value.lower()}" for name, value in found if value is not None and meaningful(value)]
    if not parts:
        raise Trouble(
            Code.STATE_CORRUPT,
            "nothing identifies this machine: no product UUID, no board serial, no machine id",
            "run: sudo systemd-machine-id-setup",
        )
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return f"hw_{digest[:32]}"


def boot_id(host: Host) -> str:
    """
    Return the id of this boot.

    Raises:
        OSError: /proc is not mounted.
    """
    return host.text("/proc/sys/kernel/random/boot_id").strip()


def _gpus(host: Host) -> Gpus:
    """Return the GPUs NVML can name; none where it cannot: the gpu indicator says why."""
    if not any(pci.devices(host).values()):
        return Gpus()
    try:
        return host.gpus()
    except GpuUnreadable:
        return Gpus()
