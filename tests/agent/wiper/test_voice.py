"""Talking to an agent that may be gone or hang."""

import os
import time

from agent.wiper.__main__ import Voice


def test_a_reader_that_hangs_holds_the_work_up_once() -> None:
    """The pipe is full: one wait, then silence."""
    reading, writing = os.pipe()
    voice = Voice(writing, patience_s=0.2)
    started = time.monotonic()
    for _ in range(2000):
        voice.say(b"x" * 100)
    assert 0.2 <= time.monotonic() - started < 2
    os.close(reading)
    os.close(writing)


def test_a_reader_that_is_gone_is_no_error() -> None:
    """The journal has the answer."""
    reading, writing = os.pipe()
    os.close(reading)
    Voice(writing).say(b"x")
    os.close(writing)
