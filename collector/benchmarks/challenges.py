"""Challenges: made for an order, and their answers computed again here."""

import asyncio
import secrets
from enum import StrEnum

from shared.challenge import operands, product_sha256
from shared.documents import BenchmarkOutcome, BenchmarkWork, Challenge

SIZE = 1024
"""Order of the matrices: 2 GFLOP, 30 ms here. A larger one would prove no more, for time does not tell who computed."""


class Mode(StrEnum):
    """off: nobody is challenged. shadow: answers are checked and told, and count for nothing. on: they count."""

    OFF = "off"
    SHADOW = "shadow"
    ON = "on"


def new_challenge() -> Challenge:
    """Return a challenge that nobody has seen."""
    return Challenge(nonce=secrets.token_bytes(32), size=SIZE)


class Examiner:
    """Computes what challenges' answers should be: one at a time, beside the event loop."""

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()

    async def proven(self, work: BenchmarkWork, outcome: BenchmarkOutcome) -> bool | None:
        """Return whether an answer to this order's own challenge is right; None when there is none to check."""
        asked, answer = work.challenge, outcome.challenge
        if asked is None or answer is None or answer.nonce != asked.nonce:
            return None
        async with self._one_at_a_time:
            return answer.product_sha256 == await asyncio.to_thread(right_answer, asked)


def right_answer(challenge: Challenge) -> str:
    """Return the digest of a challenge's product."""
    import numpy as np  # noqa: PLC0415 - 30 MB that a collector without challenges never needs

    size = challenge.size
    a, b = (np.frombuffer(one, dtype=np.int8).reshape(size, size) for one in operands(challenge.nonce, size))
    # In single precision for its speed; with entries of -1, 0 and 1 every sum is a whole number below 2^24: exact.
    product = a.astype(np.float32) @ b.astype(np.float32)
    return product_sha256(product.astype("<i4").tobytes())
