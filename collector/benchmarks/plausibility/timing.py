"""When it was measured, by two clocks; and the challenge, which ties it to this order."""

from collections.abc import Iterator
from datetime import timedelta

from collector.benchmarks.plausibility.seen import Seen, flag
from shared.flags import Flag, FlagCode

CLOCK_WITHIN = timedelta(minutes=5)
"""How far a machine's clock may be off where its skew is not known."""
SKEW_WITHIN = timedelta(seconds=30)
"""How far it may have drifted since its skew was taken."""
ROUNDING_S = 1.0
ANSWER_WITHIN = timedelta(hours=1)
"""From sending an order to its outcome, by the collector's clock: four benchmarks take some minutes."""


def order(seen: Seen) -> Iterator[Flag]:
    """See that it ended after it started, and that both lie between the order and its result."""
    outcome, context = seen.outcome, seen.context
    if outcome.collected_at < outcome.started_at:
        early_s = (outcome.started_at - outcome.collected_at).total_seconds()
        words = f"it ended {early_s:,.1f} s before it started"
        yield flag(FlagCode.ENDED_BEFORE_START, words)
    within = CLOCK_WITHIN if context.skew_s is None else SKEW_WITHIN
    # In seconds: a skew of some thousand years, which a machine may claim, leads to no date.
    skew_s = context.skew_s or 0.0
    late_s = (outcome.collected_at - context.received_at).total_seconds() - skew_s
    if late_s > within.total_seconds():
        words = f"it says it ended {late_s:,.0f} s after its result was here"
        yield flag(FlagCode.ENDED_AFTER_RECEIPT, words)
    early_s = (context.issued_at - outcome.started_at).total_seconds() + skew_s
    if early_s > within.total_seconds():
        words = f"it started {early_s:,.0f} s before it was ordered"
        yield flag(FlagCode.STARTED_BEFORE_ORDER, words)


def duration(seen: Seen) -> Iterator[Flag]:
    """See that there was time for what it says it did."""
    there_s = _passed_s(seen)
    took_s = sum(one.took_s for one in seen.outcome.components)
    if there_s is not None and took_s > there_s + ROUNDING_S:
        words = f"it says it ran for {took_s:,.1f} s; {there_s:,.1f} s after the order was sent the answer was here"
        yield flag(FlagCode.NO_TIME_FOR_IT, words)


def challenge(seen: Seen) -> Iterator[Flag]:
    """See that the order's challenge was answered, rightly and in time."""
    asked, answer, trial = seen.context.work.challenge, seen.outcome.challenge, seen.context.trial
    if asked is None:
        return
    if answer is None:
        yield flag(FlagCode.CHALLENGE_MISSING, "no answer to the challenge", shadow=trial)
        return
    if answer.nonce != asked.nonce:
        words = f"the answer is to {answer.nonce.hex()[:16]}…, asked was {asked.nonce.hex()[:16]}…"
        yield flag(FlagCode.CHALLENGE_REPLAYED, words, shadow=trial)
        return
    if seen.context.proven is False:
        words = (
            f"{answer.product_sha256[:16]}… is not the product's digest; said to be computed on {answer.computed_on}"
        )
        yield flag(FlagCode.CHALLENGE_WRONG, words, shadow=trial)
    there_s = _passed_s(seen)
    if there_s is not None and (answer.took_s > there_s + ROUNDING_S or there_s > ANSWER_WITHIN.total_seconds()):
        words = f"the answer took {answer.took_s:,.1f} s and came {there_s:,.1f} s after the order was sent"
        yield flag(FlagCode.CHALLENGE_LATE, words, shadow=trial)
    if answer.computed_on != "cpu" and answer.computed_on not in {one.uuid for one in seen.gpus}:
        yield flag(FlagCode.CHALLENGE_ELSEWHERE, f"computed on {answer.computed_on}", shadow=trial)


def _passed_s(seen: Seen) -> float | None:
    sent_at = seen.context.sent_at
    return (seen.context.received_at - sent_at).total_seconds() if sent_at is not None else None
