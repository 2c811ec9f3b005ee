"""Which CPUs may be used: affinity, what is switched off, what a control group pays for, kinds of cores."""

import math
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct


class Usable(Struct, frozen=True, kw_only=True):
    """
    The CPUs to use.

    Attributes:
        cpus: Their numbers, in order.
        affinity: How many this process may run on.
        online: How many there are.
        quota: How many the tightest control group pays for; None for no limit.
        kinds: Of a hybrid machine, the CPUs of each kind of core by the kernel's name; else empty.
    """

    cpus: tuple[int, ...]
    affinity: int
    online: int
    quota: float | None = None
    kinds: dict[str, tuple[int, ...]] = {}

    def fastest(self) -> tuple[int, ...]:
        """Return the places, in `cpus`, of those of the fastest kind."""
        performance = self.kinds.get("cpu_core", self.cpus)
        return tuple(place for place, cpu in enumerate(self.cpus) if cpu in performance) or (0,)


def usable(root: Path = Path("/")) -> Usable:
    """Look at this process and the machine below `root`."""
    allowed = os.sched_getaffinity(0)
    online = set(parse_list((root / "sys/devices/system/cpu/online").read_text()))
    quota = tightest_quota(root / "proc/self/cgroup", root / "sys/fs/cgroup")
    files = {kind: root / "sys/devices" / kind / "cpus" for kind in ("cpu_core", "cpu_atom")}
    return Usable(
        cpus=chosen(sorted(allowed & online or allowed), quota),
        affinity=len(allowed),
        online=len(online),
        quota=quota,
        kinds={kind: parse_list(file.read_text()) for kind, file in files.items() if file.is_file()},
    )


def chosen(cpus: Sequence[int], quota: float | None) -> tuple[int, ...]:
    """Return as many of the CPUs as a quota pays for wholly; one at least."""
    return tuple(cpus if quota is None else cpus[: max(1, math.floor(quota))])


def parse_list(text: str) -> tuple[int, ...]:
    """
    Return the numbers of a list such as "0-2,5".

    Source: Linux, Documentation/admin-guide/cputopology.rst.
    """
    ends = [part.partition("-") for part in text.strip().split(",") if part]
    return tuple(number for first, _, last in ends for number in range(int(first), int(last or first) + 1))


def parse_cpu_max(text: str) -> float | None:
    """
    Return a quota in CPUs; None for no limit.

    Args:
        text: "max 100000" or "150000 100000": microseconds of quota and period; "-1 100000" for no limit in version 1.

    Source: Linux, Documentation/admin-guide/cgroup-v2.rst, "cpu.max".
    """
    quota, _, period = text.strip().partition(" ")
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return None
    return int(quota) / int(period)


def tightest_quota(groups: Path, mount: Path) -> float | None:
    """
    Return the tightest quota of a process's control groups and those above them, in CPUs; None for no limit.

    Args:
        groups: A process's /proc/PID/cgroup.
        mount: Where control groups are mounted; in a container their tops may stand for the process's own.

    Source: cgroups(7); Linux, Documentation/scheduler/sched-bwc.rst for version 1.
    """
    quotas: list[float | None] = []
    for line in groups.read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            quotas += [_quota(top, path, _second) for top in (mount, mount / "unified")]
        elif "cpu" in controllers.split(","):
            quotas += [_quota(top, path, _first) for top in (mount / controllers, mount / "cpu")]
    return min((one for one in quotas if one is not None), default=None)


def _quota(top: Path, path: str, read: Callable[[Path], str]) -> float | None:
    """Return the tightest quota from a group up to the top."""
    quotas = []
    parts = [part for part in path.split("/") if part]
    for depth in range(len(parts) + 1):
        # Not there, for the root has none; or gone since.
        with suppress(OSError):
            quotas.append(parse_cpu_max(read(top.joinpath(*parts[:depth]))))
    return min((one for one in quotas if one is not None), default=None)


def _second(group: Path) -> str:
    return (group / "cpu.max").read_text()


def _first(group: Path) -> str:
    return f"{(group / 'cpu.cfs_quota_us').read_text().strip()} {(group / 'cpu.cfs_period_us').read_text()}"
