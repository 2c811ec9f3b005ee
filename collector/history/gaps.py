"""Which reports are missing, from when to when, and why."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from msgspec import Struct, structs

from collector.history.following import Followed
from shared.messages import Intervals

BEATS = 2.5
"""Heartbeats after which a report is missing; reports come at one heartbeat, give or take a fifth."""
LEAST = BEATS * timedelta(seconds=Intervals().heartbeat_s)
"""Below this nothing is called missing: an agent that starts while the collector is away knows no other heartbeat."""


MOST_BEFORE = 20_000
"""Reports before a machine's first one that it can have made and kept: an outbox has no room for more."""


class GapCause(StrEnum):
    """
    Why reports are missing.

    silent: it is not known yet: nothing has come since. agent_stopped: the machine was up, its agent made none: it was
    stopped, started anew or held up. machine_down: it was off or started anew. disk_full, disk_failed: made and not
    kept, for the machine's disk. outbox_full: kept until there was no room for more. outbox_lost: the agent's state
    was lost with whatever it held. refused: the collector's database did not take them. unknown: none of these.
    """

    SILENT = "silent"
    AGENT_STOPPED = "agent_stopped"
    MACHINE_DOWN = "machine_down"
    DISK_FULL = "disk_full"
    DISK_FAILED = "disk_failed"
    OUTBOX_FULL = "outbox_full"
    OUTBOX_LOST = "outbox_lost"
    REFUSED = "refused"
    UNKNOWN = "unknown"


WORDS: dict[GapCause, str] = {
    GapCause.SILENT: "nothing has come since; why is known when the machine is back",
    GapCause.AGENT_STOPPED: "the machine was up, but its agent made no reports: stopped, started anew or held up",
    GapCause.MACHINE_DOWN: "the machine was off or started anew",
    GapCause.DISK_FULL: "made, but the machine's disk was full",
    GapCause.DISK_FAILED: "made, but the machine's disk could not be written",
    GapCause.OUTBOX_FULL: "kept while the collector could not be reached, until there was no room for more",
    GapCause.OUTBOX_LOST: "the agent's state was lost, with the reports that waited in it",
    GapCause.REFUSED: "the collector's database did not take them",
    GapCause.UNKNOWN: "made, and never delivered; the agent does not tell why",
}


class Gap(Struct, frozen=True, kw_only=True):
    """
    Reports that are missing.

    Attributes:
        hardware_id: Whose.
        outbox_id: Whose numbers these are.
        first_seq: The first number that is missing; where none was ever made, that of the report after the gap.
        last_seq: The last one; `first_seq - 1` where none was ever made.
        cause: Why.
        started_at: When the last report before the gap was made.
        ended_at: When the first one after it was; null while the machine is silent.
    """

    hardware_id: str
    outbox_id: str
    first_seq: int
    last_seq: int
    cause: GapCause
    started_at: datetime
    ended_at: datetime | None

    @property
    def missing(self) -> int:
        """How many reports were made and are not here."""
        return self.last_seq - self.first_seq + 1


class Told(Protocol):
    """What an agent tells of reports that it could not keep: their numbers, both ends included, and why."""

    @property
    def first(self) -> int: ...  # noqa: D102 - as the class says
    @property
    def last(self) -> int: ...  # noqa: D102
    @property
    def reason(self) -> str: ...  # noqa: D102


def patience(every: timedelta) -> timedelta:
    """Return after how long without a report one is missing."""
    return max(BEATS * every, LEAST)


def between(
    hardware_id: str, before: Followed | None, newer: Followed, told: Iterable[Told], every: timedelta
) -> tuple[Gap, ...]:
    """
    Return what is missing between two reports of a machine, one after another as they came in.

    Args:
        hardware_id: Which machine.
        before: The report before; None for the first of all.
        newer: The one that has come in.
        told: What the agent tells of numbers that it lost.
        every: The usual distance of reports.
    """
    fresh = before is None or before.outbox_id != newer.outbox_id or before.seq < 1
    first = 1 if fresh or before is None else before.seq + 1
    if newer.seq < first:
        return ()
    # A machine may begin with any number; how long it takes to make so many is bounded all the same.
    started_at = before.at if before is not None else newer.at - min(newer.seq - first, MOST_BEFORE) * every
    lost = before is not None and fresh
    gap = Gap(
        hardware_id=hardware_id,
        outbox_id=newer.outbox_id,
        first_seq=first,
        last_seq=newer.seq - 1,
        cause=GapCause.OUTBOX_LOST if lost else GapCause.UNKNOWN,
        started_at=started_at,
        ended_at=newer.at,
    )
    if gap.missing:
        return _explained(gap, told)
    if before is None or newer.at - before.at <= patience(every):
        return ()
    down = before.boot_id != newer.boot_id
    cause = GapCause.OUTBOX_LOST if lost else GapCause.MACHINE_DOWN if down else GapCause.AGENT_STOPPED
    return (structs.replace(gap, cause=cause),)


def silence(hardware_id: str, newest: Followed | None, every: timedelta, now: datetime) -> Gap | None:
    """Return the gap that is open now, where a machine has been silent for too long."""
    if newest is None or now - newest.at <= patience(every):
        return None
    return Gap(
        hardware_id=hardware_id,
        outbox_id=newest.outbox_id,
        first_seq=newest.seq + 1,
        last_seq=newest.seq,
        cause=GapCause.SILENT,
        started_at=newest.at,
        ended_at=None,
    )


def without(gap: Gap, seqs: Sequence[int], times: Sequence[datetime]) -> tuple[Gap, ...]:
    """
    Return what is left of a gap after reports of it came in all the same.

    Args:
        gap: The gap.
        seqs: Numbers that have come in, ascending; others than the gap's do not matter.
        times: When each of them was made.
    """
    left: list[Gap] = []
    rest = gap
    for seq, at in zip(seqs, times, strict=True):
        if not rest.first_seq <= seq <= rest.last_seq:
            continue
        if seq > rest.first_seq:
            left.append(structs.replace(rest, last_seq=seq - 1, ended_at=at))
        rest = structs.replace(rest, first_seq=seq + 1, started_at=at)
    return (*left, rest) if rest.missing > 0 else tuple(left)


def _explained(gap: Gap, told: Iterable[Told]) -> tuple[Gap, ...]:
    """Cut a gap where the agent tells of numbers in it, each piece with its cause and its share of the time."""
    pieces: list[tuple[int, int, GapCause]] = []
    at = gap.first_seq
    for one in sorted(told, key=lambda one: one.first):
        first, last = max(one.first, at), min(one.last, gap.last_seq)
        if first > last:
            continue
        if first > at:
            pieces.append((at, first - 1, gap.cause))
        pieces.append((first, last, _cause(one.reason)))
        at = last + 1
    if at <= gap.last_seq:
        pieces.append((at, gap.last_seq, gap.cause))
    return tuple(_piece(gap, *one) for one in pieces)


def _piece(gap: Gap, first: int, last: int, cause: GapCause) -> Gap:
    assert gap.ended_at is not None
    share = (gap.ended_at - gap.started_at) / (gap.missing + 1)
    started_at = gap.started_at + (first - gap.first_seq) * share
    ended_at = gap.ended_at if last == gap.last_seq else gap.started_at + (last - gap.first_seq + 2) * share
    return structs.replace(gap, first_seq=first, last_seq=last, cause=cause, started_at=started_at, ended_at=ended_at)


def _cause(reason: str) -> GapCause:
    """Return the cause behind an agent's word; one of a newer agent is not known here."""
    known = {GapCause.DISK_FULL, GapCause.DISK_FAILED, GapCause.OUTBOX_FULL}
    return next((one for one in known if one.value == reason), GapCause.UNKNOWN)
