"""Hysteresis: a reason is told when it has been seen long enough, and taken back when it has been gone long enough."""

from msgspec import Struct

from collector.verdict import RANK, HealthState


class Standing(Struct):
    """
    How one reason stands.

    Attributes:
        state: What is told; healthy while it is not told yet.
        since: Since when.
        words: What was seen last.
        run_since: Since when something else is seen without a break; None while the same is seen.
        run_state: The nearest to what is told that was seen in this time.
    """

    state: HealthState = HealthState.HEALTHY
    since: float = 0.0
    words: str = ""
    run_since: float | None = None
    run_state: HealthState = HealthState.HEALTHY


def break_off(standing: Standing) -> None:
    """Forget how long something else has been seen: for a while nothing was seen at all."""
    standing.run_since = None


def step(standing: Standing, seen: HealthState, now: float, hold_s: float, gone_s: float) -> HealthState | None:
    """
    Take what is seen now; return what was told before if that changes, else None.

    Worse is told after `hold_s` and better after `gone_s` of nothing nearer, so that a value around a limit is told
    once and not each time.
    """
    told, rank = standing.state, RANK[seen]
    if rank == RANK[told]:
        standing.run_since = None
        return None
    worse = rank > RANK[told]
    if standing.run_since is None or (RANK[standing.run_state] > RANK[told]) is not worse:
        standing.run_since, standing.run_state = now, seen
    elif (rank < RANK[standing.run_state]) is worse:
        standing.run_state = seen
    if now - standing.run_since < (hold_s if worse else gone_s):
        return None
    standing.state, standing.since, standing.run_since = standing.run_state, now, None
    return told


def over(standing: Standing) -> bool:
    """Return whether nothing is told nor about to be."""
    return standing.state is HealthState.HEALTHY and standing.run_since is None
