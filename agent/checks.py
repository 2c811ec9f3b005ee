"""What `doctor` looks at, and what it says of it: local conditions only, before enrollment, without root or writing."""

import os
import sys
from enum import StrEnum
from pathlib import PurePosixPath

from msgspec import Struct

from agent.host import GpuUnreadable, Host, pci
from agent.indicators.memory import parse_meminfo
from shared.codes import Trouble

LEAST_PYTHON = (3, 11)
LEAST_STATE_BYTES = 500_000_000
"""A day of reports without a collector takes about 10 MB; the rest keeps the database away from a full disk."""

LEAST_AVAILABLE_BYTES = 200_000_000
"""The agent takes about 45 MB; below this the kernel is about to kill something, and it may be the agent."""

MOST_CLOCK_OFFSET_MS = 1000.0
"""Orders carry times of validity, and TLS certificates too; a second off is far more than any time service leaves."""


class State(StrEnum):
    """What a check found."""

    FINE = "fine"
    PROBLEM = "problem"
    UNKNOWN = "unknown"


class Check(Struct, frozen=True, kw_only=True):
    """
    One line of `doctor`.

    Attributes:
        code: Stable name, for scripts.
        name: The same in words.
        state: "unknown" when it does not apply or cannot be told; then `value` says why.
        value: What was found.
        limit: What it is held against.
        remedy: What to do about a problem.
    """

    code: str
    name: str
    state: State
    value: str
    limit: str = ""
    remedy: str = ""


class Conditions(Struct, frozen=True, kw_only=True):
    """
    What `doctor` knows before it judges.

    Attributes:
        state_dir_exists: Whether the directory itself is there, not only one above it.
        state_free_bytes: Free where the state directory is or will be; None if it cannot be told.
        gpus_seen: GPUs that NVML can read; None when it was not asked or did not answer, `gpu_error` says which.
        collector: Its round trip in ms, the trouble reaching it, or None when no collector is known yet.
    """

    python: tuple[int, int]
    root: bool
    state_dir: str
    state_dir_exists: bool
    state_dir_writable: bool
    state_free_bytes: int | None
    available_bytes: int
    clock_synchronized: bool | None
    clock_offset_ms: float | None
    gpus_on_bus: int
    gpus_seen: int | None = None
    gpu_error: str = ""
    collector: float | Trouble | None = None


def run_checks(host: Host, *, state_dir: str, collector: float | Trouble | None = None) -> tuple[Check, ...]:
    """
    Look at this machine and judge it.

    Args:
        host: The machine.
        state_dir: Where the agent keeps its state.
        collector: What trying to reach it gave: round trip in ms, trouble, or None when none is known yet.

    Raises:
        OSError: /proc is not there.
    """
    return judge(look(host, state_dir=state_dir, collector=collector))


def look(host: Host, *, state_dir: str, collector: float | Trouble | None = None) -> Conditions:
    """Look at this machine; nothing is written."""
    existing, free_bytes = _space(host, state_dir)
    clock = host.clock()
    on_bus = sum(pci.devices(host).values())
    seen, error = _seen(host) if on_bus else (None, "")
    return Conditions(
        python=sys.version_info[:2],
        root=os.geteuid() == 0,
        state_dir=state_dir,
        state_dir_exists=existing == state_dir,
        state_dir_writable=host.writable(existing),
        state_free_bytes=free_bytes,
        available_bytes=parse_meminfo(host.text("/proc/meminfo"))["MemAvailable"],
        clock_synchronized=clock.synchronized,
        clock_offset_ms=clock.offset_ms,
        gpus_on_bus=on_bus,
        gpus_seen=seen,
        gpu_error=error,
        collector=collector,
    )


def judge(found: Conditions) -> tuple[Check, ...]:
    """Judge the conditions of a machine; pure."""
    return (
        _python(found),
        _root(found),
        _clock(found),
        _memory(found),
        _state_dir(found),
        _disk_space(found),
        _gpus(found),
        _collector(found),
    )


def _space(host: Host, directory: str) -> tuple[str, int | None]:
    """Return the directory or the nearest one above it that exists, and what is free there."""
    path = PurePosixPath(directory)
    for place in (path, *path.parents):
        try:
            return str(place), host.usage(str(place)).available_bytes
        except OSError:
            continue
    return "/", None


def _seen(host: Host) -> tuple[int | None, str]:
    """Return how many GPUs NVML can read, or why it cannot be told."""
    try:
        return sum(not gpu.error for gpu in host.gpus().gpus), ""
    except GpuUnreadable as error:
        return None, str(error)


def _state(fine: bool) -> State:  # noqa: FBT001 - it is the whole question
    return State.FINE if fine else State.PROBLEM


def _python(found: Conditions) -> Check:
    return Check(
        code="python",
        name="Python version",
        state=_state(found.python >= LEAST_PYTHON),
        value=".".join(map(str, found.python)),
        limit=f"at least {LEAST_PYTHON[0]}.{LEAST_PYTHON[1]}",
        remedy="install the agent with a newer Python",
    )


def _root(found: Conditions) -> Check:
    value = "root" if found.root else "not root: some sensors and the board's serial number stay hidden"
    return Check(code="root", name="user", state=State.FINE if found.root else State.UNKNOWN, value=value)


def _clock(found: Conditions) -> Check:
    def line(state: State, value: str) -> Check:
        return Check(
            code="clock",
            name="clock synchronized",
            state=state,
            value=value,
            limit=f"at most {MOST_CLOCK_OFFSET_MS:g} ms off",
            remedy="sudo timedatectl set-ntp true",
        )

    if found.clock_synchronized is None or found.clock_offset_ms is None:
        return line(State.UNKNOWN, "the kernel may not be asked here")
    if not found.clock_synchronized:
        return line(State.PROBLEM, "no time service keeps it")
    return line(_state(abs(found.clock_offset_ms) <= MOST_CLOCK_OFFSET_MS), f"{found.clock_offset_ms:g} ms off")


def _memory(found: Conditions) -> Check:
    return Check(
        code="memory",
        name="memory available",
        state=_state(found.available_bytes >= LEAST_AVAILABLE_BYTES),
        value=f"{found.available_bytes / 1e6:.0f} MB",
        limit=f"at least {LEAST_AVAILABLE_BYTES / 1e6:.0f} MB",
        remedy="end what uses the memory, or add swap",
    )


def _state_dir(found: Conditions) -> Check:
    def line(state: State, value: str) -> Check:
        return Check(
            code="state_dir",
            name="state directory",
            state=state,
            value=f"{found.state_dir} {value}",
            limit="writable",
            remedy=f"give {found.state_dir} to the user the agent runs as",
        )

    if found.state_dir_writable:
        return line(State.FINE, "is writable" if found.state_dir_exists else "is not there yet, it can be made")
    if found.root:
        return line(State.PROBLEM, "cannot be written, not even by root: its file system may be read-only")
    return line(State.UNKNOWN, "is not this user's: only the agent's user or root can tell")


def _disk_space(found: Conditions) -> Check:
    free = found.state_free_bytes
    return Check(
        code="disk_space",
        name="free space for state",
        state=State.UNKNOWN if free is None else _state(free >= LEAST_STATE_BYTES),
        value="cannot be told" if free is None else f"{free / 1e9:.1f} GB",
        limit=f"at least {LEAST_STATE_BYTES / 1e9:g} GB",
        remedy=f"free some space where {found.state_dir} is",
    )


def _gpus(found: Conditions) -> Check:
    def line(state: State, value: str, remedy: str = "") -> Check:
        limit = "every NVIDIA GPU on the PCI bus answers"
        return Check(code="gpus", name="GPUs", state=state, value=value, limit=limit, remedy=remedy)

    if not found.gpus_on_bus:
        return line(State.UNKNOWN, "no NVIDIA GPU on the PCI bus")
    if found.gpus_seen is None:
        return line(State.PROBLEM, f"{found.gpus_on_bus} on the PCI bus, none readable", found.gpu_error)
    value = f"{found.gpus_seen} seen by the driver, {found.gpus_on_bus} on the PCI bus"
    return line(_state(found.gpus_seen >= found.gpus_on_bus), value, "see dmesg for NVRM messages; reboot the machine")


def _collector(found: Conditions) -> Check:
    def line(state: State, value: str, remedy: str = "") -> Check:
        return Check(code="collector", name="collector", state=state, value=value, limit="reachable", remedy=remedy)

    match found.collector:
        case None:
            return line(State.UNKNOWN, "none known yet: enroll first")
        case Trouble() as trouble:
            return line(State.PROBLEM, trouble.detail, trouble.remedy)
        case round_trip_ms:
            return line(State.FINE, f"answers in {round_trip_ms:.0f} ms")
