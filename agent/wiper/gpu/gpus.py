"""
What a tenant may have left of himself on GPUs, judged by what was recorded when he came. Pure.

The clocks that NVML can lock and not read back (`nvidia-smi -lgc`) are not seen here.
"""

from collections.abc import Container
from typing import NamedTuple

from msgspec import Struct

MARGIN_MIB = 64
"""How much more memory may be in use than at the grant: the driver's own use differs that much from look to look."""

WORDS = {
    "persistence": "persistence mode",
    "compute_mode": "compute mode",
    "power_limit_mw": "power limit",
    "graphics_clock_mhz": "graphics clock",
    "memory_clock_mhz": "memory clock",
    "ecc": "ECC mode",
    "ecc_pending": "pending ECC mode",
    "mig": "MIG mode",
    "mig_pending": "pending MIG mode",
}
"""What is compared, and what it is called."""

CLOCKS = ("graphics_clock_mhz", "memory_clock_mhz")
TOLD = frozenset({"ecc", "ecc_pending", "mig", "mig_pending"})
"""Never put back: it takes a reset of the GPU or a restart of the machine, which is the provider's to decide."""


class GpuRecord(Struct, frozen=True, kw_only=True):
    """
    One GPU at one moment: what a tenant could change of it, and how much of its memory is in use.

    Modes are NVML's numbers. None: this GPU has no such setting, or it could not be read. `memory_mib`: in use, in all;
    `processes_mib`: of it by the processes that NVML lists, None where it does not say.
    """

    uuid: str = ""
    persistence: int | None = None
    compute_mode: int | None = None
    power_limit_mw: int | None = None
    graphics_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    ecc: int | None = None
    ecc_pending: int | None = None
    mig: int | None = None
    mig_pending: int | None = None
    memory_mib: int | None = None
    processes_mib: int | None = None


class GpuUser(Struct, frozen=True):
    """A process that NVML lists on a GPU; `memory_mib` None where it does not say."""

    pid: int
    memory_mib: int | None = None


class Seen(Struct, frozen=True, kw_only=True):
    """A GPU now; `users` None: it does not list its processes; `error`: why the rest is missing."""

    now: GpuRecord
    users: tuple[GpuUser, ...] | None = None
    error: str = ""


class Restore(NamedTuple):
    """One setting to be put back: its name (clocks have one together) and its values."""

    setting: str
    values: tuple[int, ...]


class Verdict(NamedTuple):
    """What is left, in words and counted, and what could not be told."""

    left: int
    residues: tuple[str, ...]
    doubts: tuple[str, ...]


def changed(before: GpuRecord, now: GpuRecord) -> tuple[str, ...]:
    """Return the settings that were read at both times and differ."""
    return tuple(
        name
        for name in WORDS
        if None not in (getattr(before, name), getattr(now, name)) and getattr(before, name) != getattr(now, name)
    )


def untold(before: GpuRecord, now: GpuRecord) -> tuple[str, ...]:
    """Return the settings that were read at one of the two times only."""
    return tuple(name for name in WORDS if (getattr(before, name) is None) != (getattr(now, name) is None))


def restores(before: GpuRecord, now: GpuRecord) -> tuple[Restore, ...]:
    """Return what is to be put back, in order: without persistence the driver may forget the rest, so that stays on."""
    names = [name for name in changed(before, now) if name not in TOLD]
    found = [Restore(name, (getattr(before, name),)) for name in names if name not in CLOCKS]
    clocks = (before.memory_clock_mhz, before.graphics_clock_mhz)
    if set(names) & set(CLOCKS):
        found.append(Restore("clocks", tuple(one for one in clocks if one is not None)))
    found.sort(key=lambda one: _place(one, on=bool(before.persistence)))
    return tuple(found)


def _place(one: Restore, *, on: bool) -> int:
    if one.setting != "persistence":
        return 1
    return 0 if on else 2


def left_over(before: GpuRecord, seen: Seen, alive: Container[int]) -> int | None:
    """
    Return the MiB in use by nobody, beyond what was so at the grant and the margin; 0 if none, None where unknown.

    What NVML lists for a process that has ended is nobody's.
    """
    total, users = seen.now.memory_mib, seen.users
    if None in (total, before.memory_mib, before.processes_mib) or users is None:
        return None
    assert total is not None
    assert before.memory_mib is not None
    assert before.processes_mib is not None
    if any(one.memory_mib is None for one in users if one.pid in alive):
        return None
    accounted = sum(one.memory_mib or 0 for one in users if one.pid in alive)
    more = max(0, total - accounted) - max(0, before.memory_mib - before.processes_mib)
    return more if more > MARGIN_MIB else 0


def judge(recorded: tuple[GpuRecord, ...] | None, seen: tuple[Seen, ...], alive: Container[int]) -> Verdict:
    """
    Compare the GPUs with those of the grant.

    Args:
        recorded: At the grant; None where they could not be read then, or nobody did.
        seen: As they are now.
        alive: The processes that live, whoever's they are.
    """
    if recorded is None:
        unread = _count(sum(bool(one.error) for one in seen), "GPU cannot be read", "GPUs cannot be read")
        return Verdict(0, (), ("no record of the GPUs from the grant", *unread))
    before = {one.uuid: one for one in recorded if one.uuid}
    here = {one.now.uuid: one for one in seen if one.now.uuid}
    doubts = [
        *_count(len(set(before) - set(here)), "GPU of the grant is missing", "GPUs of the grant are missing"),
        *_count(len(set(here) - set(before)), "GPU was not there at the grant", "GPUs were not there at the grant"),
        *_count(sum(bool(one.error) for one in seen), "GPU cannot be read", "GPUs cannot be read"),
        *_count(len(recorded) - len(before), "GPU could not be read then", "GPUs could not be read then"),
    ]
    residues, left = list[str](), 0
    for uuid in (one for one in here if one in before and not here[one].error):
        verdict = _one(before[uuid], here[uuid], alive)
        residues += verdict.residues
        doubts += verdict.doubts
        left += verdict.left
    return Verdict(left, tuple(dict.fromkeys(residues)), tuple(dict.fromkeys(doubts)))


def _one(before: GpuRecord, seen: Seen, alive: Container[int]) -> Verdict:
    names = changed(before, seen.now)
    residues = [f"another {WORDS[name]} than at the grant" for name in names]
    doubts = [f"{WORDS[name]} cannot be compared" for name in untold(before, seen.now)]
    nobodys = left_over(before, seen, alive)
    if nobodys is None:
        doubts.append("whose the memory in use is cannot be told")
    elif nobodys:
        residues.append(f"{nobodys} MiB of GPU memory in use by nobody")
    return Verdict(len(residues), tuple(residues), tuple(doubts))


def _count(number: int, one: str, more: str) -> tuple[str, ...]:
    return (f"{number} {one if number == 1 else more}",) if number else ()
