"""Signed answers of the agent itself: benchmark figures, and work that could not be finished."""

from collections.abc import Callable, Mapping
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.codes import Trouble
from shared.documents import BenchmarkOutcome, ChallengeAnswer, Component, Order, WorkFailure, sha256_of, sign
from shared.envelope import Envelope
from shared.messages import Result


class Signatory:
    """
    Signs outcomes with the agent's key.

    Args:
        key: The agent's private key.
        boot_id: This boot's.
        agent_version: This program's.
        now: The clock.
    """

    def __init__(self, key: Ed25519PrivateKey, boot_id: str, agent_version: str, now: Callable[[], datetime]) -> None:
        self._key = key
        self._boot_id = boot_id
        self._agent_version = agent_version
        self._now = now

    def benchmark(
        self,
        order: Order,
        envelope: Envelope,
        started_at: datetime,
        components: tuple[Component, ...],
        figures: Mapping[str, float | None],
        answer: ChallengeAnswer | None = None,
    ) -> Result:
        """Return the signed figures of a benchmark order; `figures` by the Benchmark record's attribute names."""
        outcome = BenchmarkOutcome(
            hardware_id=order.aud,
            command_id=order.command_id,
            order_sha256=sha256_of(envelope),
            started_at=started_at,
            collected_at=self._now(),
            components=components,
            challenge=answer,
            agent_version=self._agent_version,
            boot_id=self._boot_id,
            **figures,
        )
        return Result(command_id=order.command_id, envelope=sign(outcome, self._key))

    def failure(self, order: Order, envelope: Envelope, trouble: Trouble) -> Result:
        """Return the signed end of work that could not be finished."""
        failure = WorkFailure(
            hardware_id=order.aud,
            command_id=order.command_id,
            order_sha256=sha256_of(envelope),
            code=trouble.code,
            detail=trouble.detail[:300],
            failed_at=self._now(),
        )
        return Result(command_id=order.command_id, envelope=sign(failure, self._key))
