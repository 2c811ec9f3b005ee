"""A command's life: which state may follow which. A pure table; the store only guards with it."""

from enum import StrEnum

from shared.documents import BenchmarkOutcome, GrantOutcome, RevokeOutcome, WipeEvidence, WorkFailure
from shared.records import WipeStatus


class State(StrEnum):
    """
    How far a command is.

    unknown: the machine fell silent while it was at work; never shown as done, and a late result ends it properly.
    """

    QUEUED = "queued"
    SENT = "sent"
    ACCEPTED = "accepted"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    REFUSED = "refused"
    EXPIRED = "expired"
    CANCELED = "canceled"
    UNKNOWN = "unknown"


OPEN = frozenset({State.QUEUED, State.SENT, State.ACCEPTED, State.RUNNING, State.UNKNOWN})
"""States in which a command is (still) for its machine, and is sent again when the machine joins."""

DONE = frozenset({State.SUCCEEDED, State.PARTIAL, State.FAILED})
"""States that a signed result gives."""

_MAY_BE_AT_WORK = frozenset({State.SENT, State.ACCEPTED, State.RUNNING, State.UNKNOWN})

FROM: dict[State, frozenset[State]] = {
    State.SENT: frozenset({State.QUEUED}),
    State.ACCEPTED: frozenset({State.SENT, State.UNKNOWN, State.EXPIRED}),
    State.RUNNING: frozenset({State.SENT, State.ACCEPTED, State.UNKNOWN, State.EXPIRED}),
    # A late result is the truth about what happened, whatever was thought meanwhile.
    State.SUCCEEDED: _MAY_BE_AT_WORK | {State.EXPIRED},
    State.PARTIAL: _MAY_BE_AT_WORK | {State.EXPIRED},
    State.FAILED: _MAY_BE_AT_WORK | {State.EXPIRED},
    State.REFUSED: _MAY_BE_AT_WORK | {State.EXPIRED},
    # Not from "accepted": once accepted it will be done, and the result comes.
    State.EXPIRED: frozenset({State.QUEUED, State.SENT}),
    # Not from "sent": the machine may have it.
    State.CANCELED: frozenset({State.QUEUED}),
    State.UNKNOWN: frozenset({State.ACCEPTED, State.RUNNING}),
}
"""By state: the states it may follow."""

Outcome = BenchmarkOutcome | GrantOutcome | RevokeOutcome | WipeEvidence | WorkFailure


def state_after(outcome: Outcome) -> State:
    """Return the state that a verified outcome gives its command."""
    match outcome:
        case WorkFailure():
            return State.FAILED
        case GrantOutcome():
            return State.SUCCEEDED
        case RevokeOutcome(status=status):
            return State.SUCCEEDED if status == "success" else State.FAILED
        case BenchmarkOutcome(components=components):
            measured = [bool(one.figures) and one.code is None for one in components]
            return State.SUCCEEDED if all(measured) else State.PARTIAL if any(measured) else State.FAILED
        case WipeEvidence(methods=methods):
            statuses = {one.status for one in methods}
            if statuses == {WipeStatus.SUCCESS}:
                return State.SUCCEEDED
            return State.FAILED if WipeStatus.FAILED in statuses else State.PARTIAL
