"""What a machine is by what is remembered of it, and that memory made again from what was kept."""

from datetime import UTC, datetime

from collector.verdict import RANK, HealthState, HealthVerdict, Reason
from collector.verdict.memory import Memory
from collector.verdict.rulebook import BY_CODE
from collector.verdict.standing import Standing
from collector.verdict.thresholds import Threshold

SILENT = "no_reports"
"""The reason of a machine that is offline."""


def worst_of(memory: Memory) -> HealthState:
    """Return the worst state that a reason makes of the machine; one on trial makes nothing of it."""
    worst = HealthState.HEALTHY if memory.judged_at else memory.state
    for code, standings in memory.standings.items():
        if not BY_CODE[code].shadow:
            for one in standings.values():
                if RANK[one.state] > RANK[worst]:
                    worst = one.state
    return worst


def reasons(memory: Memory) -> tuple[Reason, ...]:
    """Return why a machine is not healthy, the worst first, those on trial last."""
    found = [
        _reason(BY_CODE[code], item, one)
        for code, standings in memory.standings.items()
        for item, one in standings.items()
        if one.state is not HealthState.HEALTHY
    ]
    found.sort(key=lambda one: (one.shadow, -RANK[one.state], one.code, one.item))
    return tuple(found)


def _reason(threshold: Threshold, item: str, standing: Standing) -> Reason:
    return Reason(
        code=threshold.code,
        state=standing.state,
        words=standing.words,
        item=item,
        remedy=threshold.remedy,
        shadow=threshold.shadow,
        since=datetime.fromtimestamp(standing.since, UTC),
    )


def verdict(memory: Memory) -> HealthVerdict:
    """Return what a machine is, and why."""
    why = reasons(memory)
    if memory.silent:
        silent = Reason(
            code=SILENT,
            state=HealthState.UNKNOWN,
            words="nothing is heard of the machine; what follows was so before",
            remedy="see whether the machine runs and its agent reaches the collector: rackproof-agent doctor",
            since=datetime.fromtimestamp(memory.since, UTC),
        )
        why = (silent, *why)
    return HealthVerdict(
        hardware_id=memory.hardware_id,
        state=memory.state,
        since=datetime.fromtimestamp(memory.since, UTC),
        reasons=why,
        gpus_expected=memory.gpus_expected,
    )


def restored(known: HealthVerdict) -> Memory:
    """Return the memory of a machine whose verdict was kept: what was told then is not told again."""
    memory = Memory(
        hardware_id=known.hardware_id,
        state=known.state,
        since=known.since.timestamp(),
        silent=any(one.code == SILENT for one in known.reasons),
        fresh=known.state is HealthState.UNKNOWN and not known.reasons,
        gpus_expected=known.gpus_expected,
    )
    for one in known.reasons:
        if one.code in BY_CODE:
            since = one.since.timestamp() if one.since is not None else memory.since
            standings = memory.standings.setdefault(one.code, {})
            standings[one.item] = Standing(state=one.state, since=since, words=one.words)
    return memory
