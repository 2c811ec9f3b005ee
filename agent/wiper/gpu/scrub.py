"""
Filling the free memory of GPUs, each by a process of its own that has the devices and little else.

libcuda may want memory that is writable and executable, which the wiper's unit forbids: hence apart from it.
"""

import errno
import sys
from collections.abc import Iterable
from typing import NamedTuple

import msgspec
from msgspec import Struct

from agent.wiper.gpu.gpus import Seen
from agent.wiper.system.tools import NOW, run, systemd_runs

FILLER = "agent.gpu.fill"
PATIENCE_S = 90.0
"""It stops by itself after 60 s; this is for one that hangs in the driver."""
SLACK_S = 5.0
"""How much longer than the service manager we wait."""
APART = (
    *NOW,
    *("--property=NoNewPrivileges=yes", "--property=PrivateNetwork=yes"),
    *("--property=CapabilityBoundingSet=", "--property=PrivateTmp=yes", "--property=ProtectSystem=strict"),
    *("--property=ProtectHome=read-only", "--property=DevicePolicy=closed", "--property=DeviceAllow=char-nvidia* rw"),
    f"--property=RuntimeMaxSec={PATIENCE_S:.0f}",
)
"""How it is kept apart: as root, whose the device files may be, but without what root may. Source: systemd.exec(5)."""


class _Answer(Struct, frozen=True):
    filled_mib: int = 0
    of_mib: int = 0
    error: str = ""


class Scrubbed(NamedTuple):
    """How much was filled, of how much, on how many GPUs, and what stood in the way of more."""

    filled_mib: int
    of_mib: int
    gpus: int
    notes: tuple[str, ...]


def hindrance(seen: Seen) -> str | None:
    """Return why the memory of a GPU is not to be filled, or None. Pure."""
    if seen.error or not seen.now.uuid:
        return "it cannot be read"
    if seen.users is None or seen.users:
        return "other processes use it" if seen.users else "who uses it is not known"
    return "it is divided (MIG)" if seen.now.mig else None


def scrub(gpus: Iterable[Seen]) -> Scrubbed:
    """Fill one GPU after the other; never one that somebody uses, who would be left without memory."""
    filled, of, done, notes = 0, 0, 0, list[str]()
    for one in gpus:
        why = hindrance(one)
        if why is None:
            try:
                answer = _fill(one.now.uuid)
                filled, of, done = filled + answer.filled_mib, of + answer.of_mib, done + 1
                continue
            except OSError as error:
                why = str(error.strerror)
        notes.append(f"the memory of a GPU was not filled: {why}")
    return Scrubbed(filled, of, done, tuple(dict.fromkeys(notes)))


def _fill(uuid: str) -> _Answer:
    """
    Fill one GPU.

    Raises:
        OSError: it could not be done.
    """
    apart = ("systemd-run", *APART, "--") if systemd_runs() else ()
    done = run(*apart, sys.executable, "-I", "-m", FILLER, uuid, deadline_s=PATIENCE_S + SLACK_S)
    try:
        answer = msgspec.json.decode(done.out.encode(), type=_Answer)
    except msgspec.MsgspecError as error:
        raise OSError(errno.EPROTO, f"what should fill it ended with {done.code}: {done.words}"[:200]) from error
    if answer.error:
        raise OSError(errno.EIO, answer.error)
    return answer
