"""Questions to what may never answer, such as a disk that hangs: one that does not hides none of the others."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Generic, TypeVar

T = TypeVar("T")

PATIENCE_S = 1.5
"""For all the answers of one call together."""

HELD_UP_S = 0.1
"""A question that takes longer gets out of the others' way. Most take microseconds, so a thread serves them all."""


class Question(Generic[T]):
    """One question, asked once. `answer` or `error` is there when it is `answered`; `began_at` once it was asked."""

    def __init__(self, asks: Callable[[], T]) -> None:
        self._asks = asks
        self._answered = Event()
        self.began_at: datetime | None = None
        self.answer: T | None = None
        self.error: OSError | None = None

    @property
    def answered(self) -> bool:
        """Whether it has come back."""
        return self._answered.is_set()

    def put(self) -> None:
        """Ask it; blocks as long as the kernel does."""
        self.began_at = datetime.now(UTC)
        try:
            self.answer = self._asks()
        except OSError as error:
            self.error = error
        finally:
            self._answered.set()

    def wait(self, limit_s: float) -> None:
        """Wait for the answer, but no longer than this."""
        self._answered.wait(max(0.0, limit_s))

    @property
    def trouble(self) -> str | None:
        """What stood in the place of an answer, in words."""
        if self.error is not None:
            return str(self.error.strerror or self.error)
        if self.answered:
            return None
        if self.began_at is None:
            return "not asked: others did not answer"
        return f"no answer, asked at {self.began_at:%Y-%m-%d %H:%M:%S} UTC"


def ask(
    wanted: Mapping[str, Callable[[], T]], before: Mapping[str, Question[T]], patience_s: float = PATIENCE_S
) -> dict[str, Question[T]]:
    """
    Ask all of them, and wait at most `patience_s`.

    Args:
        wanted: What to ask, by name.
        before: What the last call returned: a question that hangs since then is not asked again, only looked at.
        patience_s: How long to wait in all.
    """
    asked = {name: _open(before.get(name)) or Question(asks) for name, asks in wanted.items()}
    line = deque(question for question in asked.values() if question.began_at is None)
    until_s = time.monotonic() + patience_s
    while line and time.monotonic() < until_s:
        worker = Thread(target=_work_off, args=(line,), name="questions", daemon=True)
        worker.start()
        worker.join(HELD_UP_S)
    line.clear()
    for name, question in asked.items():
        if name not in before or question is not before[name]:
            question.wait(until_s - time.monotonic())
    return asked


def _open(question: Question[T] | None) -> Question[T] | None:
    """Return a question that was put and has not come back."""
    return question if question is not None and question.began_at is not None and not question.answered else None


def _work_off(line: "deque[Question[T]]") -> None:
    while line:
        try:
            question = line.popleft()
        except IndexError:
            return  # another thread took the last
        question.put()
