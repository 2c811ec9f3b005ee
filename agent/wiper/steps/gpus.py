"""
GPUs: the tenant's processes on them, the settings that he changed, the memory that nobody answers for.

NVIDIA's only; other accelerators are told and not looked into. What is compared was recorded when he came. A process
that is not his by the rules of `processes` is never ended, an MPS daemon of the provider's included. Tried with
stand-ins for NVIDIA's libraries only, on no real GPU.

Source: NVML API reference; nvidia-cuda-mps-control(1).
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from agent.wiper.gpu import nvml, scrub
from agent.wiper.gpu.gpus import TOLD, WORDS, Seen, changed, judge, restores
from agent.wiper.steps import (
    CLEAN,
    NOT_APPLICABLE,
    NOT_EXAMINED,
    RESIDUE,
    Erased,
    Found,
    Item,
    Looked,
    Subject,
    Tell,
)
from agent.wiper.tenant import holding

OTHERS = ("kfd", "davinci[0-9]*")
"""Device files of AMD's and Huawei's accelerators. Source: Linux, drivers/gpu/drm/amd/amdkfd; Ascend driver."""
ROUNDS = 3
PAUSE_S = 1.0
"""A context of many GiB takes the driver a moment to clear away after its process was killed."""
MPS = b"nvidia-cuda-mps"
MOST = 0.9
"""The part of the memory that counts for all of it: the driver and what fills it need some themselves."""
NOT_FILLED = (
    "GPU memory was not overwritten; whether the driver clears it before another process gets it was not examined."
)


class His(Protocol):
    """The tenant's processes."""

    def alive(self) -> set[int]:
        """Return those that live."""

    def end(self, pid: int) -> None:
        """Kill one, if it is still his."""


class View(NamedTuple):
    """
    One look.

    `blind`: why the GPUs could not be read; `his`: the tenant's processes on them; `unseen`: those of his that could
    not be looked at; `others`: the processes that are not his.
    """

    seen: tuple[Seen, ...]
    blind: str | None
    his: frozenset[int]
    unseen: frozenset[int]
    others: frozenset[int]


class Gpus:
    """GPUs that hold something of the tenant's, or were changed while he was here."""

    name = "gpus"

    def __init__(self, subject: Subject, his: His) -> None:
        self._simulated = subject.ground.simulated
        self._recorded = subject.tenant.gpus
        self._fill = subject.policy.fill_gpu_memory
        self._his = his
        self._filled = False
        self._blind: str | None = None

    def find(self) -> Found:
        """Count his processes on them and changed settings."""
        if not self._is_here():
            return Found(0)
        view = self._look()
        self._blind = view.blind
        return Found(len(view.his) + sum(len(names) for names in self._changes(view.seen).values()))

    def erase(self, tell: Tell) -> Erased:
        """End his processes, put recorded settings back, and fill the memory where the provider's policy says so."""
        if not self._is_here():
            return Erased(0)
        if self._blind is not None:
            # Asked once, it hung or crashed; his processes are ended by their own step.
            return Erased(0, (self._blind,))
        view, killed = self._end_his(tell)
        if view.blind is not None:
            return Erased(len(killed), (view.blind,))
        put_back, notes = self._put_back(view.seen)
        notes += _strangers(view)
        if self._fill and view.seen:
            notes += self._scrub(view.seen)
        return Erased(len(killed) + put_back, notes)

    def list(self) -> Iterator[Item]:
        """Tell each process of his and each setting."""
        if not self._is_here():
            return
        view = self._look()
        if view.blind is not None:
            yield Item("GPU", "all", goes=False, why=view.blind)
        for pid in sorted(view.his):
            yield Item("process on a GPU", str(pid))
        for uuid, names in self._changes(view.seen).items():
            for name in names:
                stays = "it takes a reset or a restart" if name in TOLD else None
                yield Item("changed GPU setting", f"{WORDS[name]} of {uuid}", goes=stays is None, why=stays)

    def verify(self) -> Looked:
        """Look again; memory that is still being cleared away gets a few seconds."""
        if self._simulated:
            return Looked(NOT_APPLICABLE, reason="a simulated machine has none")
        others = sorted(str(path) for pattern in OTHERS for path in Path("/dev").glob(pattern))
        doubts = [f"cannot look into: {', '.join(others)}"] if others else []
        if not nvml.present():
            doubts += ["no GPU is here, and there were some at the grant"] if self._recorded else []
            return _looked(0, (), doubts) if doubts else Looked(NOT_APPLICABLE, reason="no GPU was found")
        left, residues, more = self._judged()
        looked = _looked(left, residues, [*doubts, *more])
        return Looked(looked.state, looked.left, looked.reason, limits=() if self._filled else (NOT_FILLED,))

    def _is_here(self) -> bool:
        return not self._simulated and nvml.present()

    def _look(self) -> View:
        try:
            seen, blind = nvml.look(), None
        except OSError as error:
            seen, blind = (), str(error.strerror)
        alive = self._his.alive()
        held = holding.look(alive)
        listed = {user.pid for one in seen for user in one.users or ()}
        his = frozenset(alive) & (held.holders | listed)
        return View(seen, blind, his, held.unseen - listed, _living() - alive)

    def _changes(self, seen: tuple[Seen, ...]) -> dict[str, tuple[str, ...]]:
        before = {one.uuid: one for one in self._recorded or () if one.uuid}
        return {one.now.uuid: changed(before[one.now.uuid], one.now) for one in seen if one.now.uuid in before}

    def _end_his(self, tell: Tell) -> tuple[View, set[int]]:
        killed = set[int]()
        view = self._look()
        for _ in range(ROUNDS):
            if not view.his:
                break
            for pid in view.his:
                self._his.end(pid)
            killed |= view.his
            tell(len(killed), len(killed))
            time.sleep(PAUSE_S)
            view = self._look()
        return view, killed

    def _put_back(self, seen: tuple[Seen, ...]) -> tuple[int, tuple[str, ...]]:
        """Return how many settings are as recorded again, and why others are not."""
        before = {one.uuid: one for one in self._recorded or () if one.uuid}
        known = [one.now for one in seen if one.now.uuid in before]
        wanted = {now.uuid: steps for now in known if (steps := restores(before[now.uuid], now))}
        if not wanted:
            return 0, ()
        were = sum(len(names) for names in self._changes(seen).values())
        try:
            failures = nvml.restore(wanted)
            are = sum(len(names) for names in self._changes(nvml.look()).values())
        except OSError as error:
            return 0, (f"settings were not put back: {error.strerror}",)
        return max(0, were - are), tuple(dict.fromkeys(f"not put back: {why}" for why in failures))

    def _scrub(self, seen: tuple[Seen, ...]) -> tuple[str, ...]:
        done = scrub.scrub(seen)
        self._filled = done.gpus == len(seen) and done.filled_mib >= MOST * done.of_mib > 0
        said = f"filled {done.filled_mib} of {done.of_mib} MiB of memory on {done.gpus} of {len(seen)} GPUs"
        return (said, *done.notes)

    def _judged(self) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
        for attempt in range(ROUNDS):
            view = self._look()
            if view.blind is not None:
                break
            verdict = judge(self._recorded, view.seen, _living())
            if not view.his and not verdict.residues:
                break
            if attempt < ROUNDS - 1:
                time.sleep(PAUSE_S)
        doubts = (f"{len(view.unseen)} of his processes could not be looked at",) if view.unseen else ()
        his = (f"{len(view.his)} of his processes on GPUs",) if view.his else ()
        if view.blind is not None:
            return len(view.his), his, (view.blind, *doubts)
        return len(view.his) + verdict.left, (*his, *verdict.residues), (*doubts, *verdict.doubts)


def _looked(left: int, residues: tuple[str, ...], doubts: list[str]) -> Looked:
    if not residues and not doubts:
        return Looked(CLEAN)
    reason = "; ".join((*residues, *doubts))[:300]
    return Looked(RESIDUE if residues else NOT_EXAMINED, left, reason)


def _strangers(view: View) -> tuple[str, ...]:
    """Tell of what is on the GPUs and not his: it was left alone, and an MPS server may have worked for him."""
    pids = {user.pid for one in view.seen for user in one.users or ()} & view.others
    notes = (f"{len(pids)} processes of others on GPUs were left alone",) if pids else ()
    if any(_name(pid).startswith(MPS) for pid in view.others):
        return (*notes, "an MPS daemon that is not his runs and may have served him; it was left alone")
    return notes


def _living() -> frozenset[int]:
    return frozenset(int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - names only


def _name(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/comm").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
