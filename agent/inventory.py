"""What the machine is: its facts in the words of the Machine record, and the id of its hardware."""

import hashlib
import re
from collections import Counter

from agent.host import Gpus, GpuUnreadable, Host, pci, text_or_none
from agent.host.cpus import parse_cpu_model
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

MEANINGLESS_WORDS = frozenset(
    {
        "0123456789",
        "123456789",
        ".pcie2",
        "base board serial number",
        "default string",
        "n/a",
        "none",
        "not applicable",
        "not available",
        "not present",
        "not settable",
        "not specified",
        "o.e.m.",
        "system serial number",
        "to be filled by o.e.m",
        "to be filled by o.e.m.",
        "type2 - board serial number",
        "uninitialized",
        "unknown",
    }
)
"""What makers leave where a serial number belongs, in lower case.

Source: the serial numbers that FOG Project's inventory ignores; "Not Specified" and "Not Settable" are dmidecode's own
words; "uninitialized" is what /etc/machine-id holds before the first boot, machine-id(5)."""

SHARED_IDS = frozenset(
    {
        "00020003-0004-0005-0006-000700080009",
        "03000200-0400-0500-0006-000700080009",
        "07090201-0103-0301-0807-060504030201",
        "11111111-2222-3333-4444-555555555555",
        "12345678-1234-5678-90ab-cddeefaabbcc",
        "4c4c4544-0000-2010-8020-80c04f202020",
        "890e2d14-cacd-45d1-ae66-bc80e8bfeb0f",
        "8e275844-178f-44a8-aceb-a7d7e5178c63",
        "dc698397-fa54-4cf2-82c8-b1b5307a6a7f",
        "b08dfa6083e7567a1921a715000001fb",
    }
)
"""Ids that many machines have: the first two are one, what AMI's reference firmware carries, in both byte orders.

Source: the UUIDs that FreeBSD's rc.d/hostid and FOG Project refuse; the last is Whonix's machine id, the same
everywhere on purpose (Whonix/dist-base-files)."""

_SHARED_ENDS = ("-ffff-ffff-ffff-ffffffffffff", "0000-0000-0000-000000000000")
_REPEATED = re.compile(r"(.{1,2})\1*")
_GIB_IN_KB = 1024 * 1024


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
    """Return whether a serial number or id can be this machine's own; one or two signs repeated cannot."""
    plain = " ".join(value.split()).lower()
    signs = re.sub(r"[^0-9a-z]", "", plain)
    known = plain in MEANINGLESS_WORDS or plain in SHARED_IDS or plain.endswith(_SHARED_ENDS)
    return not known and signs != "" and not _REPEATED.fullmatch(signs)


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
