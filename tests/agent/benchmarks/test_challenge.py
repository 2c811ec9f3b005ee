"""Answering challenges: in a child process, rightly, and on what was said."""

import pytest

from agent.benchmarking import answer
from agent.engines.challenge import solve
from collector.benchmarks.challenges import right_answer
from shared.documents import Challenge


@pytest.mark.parametrize("where", ["disk", "gpu"])
@pytest.mark.parametrize("size", [64, 320, 1024])
async def test_the_child_s_answer_is_the_collector_s(size, where):
    """Two programs, one product; the nonce comes back with it. Where a GPU is asked and there is none, the CPU does it."""
    challenge = Challenge(nonce=bytes([size % 251]) * 32, size=size)
    found = await answer(challenge, ["cpu", where])
    assert found is not None
    assert (found.nonce, found.product_sha256, found.computed_on) == (challenge.nonce, right_answer(challenge), "cpu")


def test_another_processor_can_do_the_product():
    """What it was computed on is what that one says; a wrong product is a wrong answer."""
    challenge = Challenge(nonce=b"n" * 32, size=64)
    found = solve(challenge, lambda _a, _b, size: (bytes(4 * size * size), "GPU-1"))
    assert found.computed_on == "GPU-1"
    assert found.product_sha256 != right_answer(challenge)
