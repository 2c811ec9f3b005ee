"""Running checks: all at once, each with its deadline, and whatever becomes of one is a line."""

import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from threading import Thread

from msgspec import Struct

from agent.checks import Check, Finding, Group, Scene, State

HUNG = "check_hung"
CRASHED = "check_crashed"
REPORT = "please report it, with: rackproof-agent support-bundle"
REASONS = {
    HUNG: "What was asked does not answer; a driver, a disk or a network that hangs is trouble of its own.",
    CRASHED: "The check itself is at fault, or the machine answers what it has not been seen to answer.",
}
"""Codes of checks that came to no finding of their own."""

_MOST_WORDS = 300


class Line(Struct, frozen=True, kw_only=True):
    """
    One line of `doctor`.

    Attributes:
        check: The check's name; stable.
        code: What is wrong; stable, empty where nothing is.
        reason: Why that matters.
        took_ms: How long it took to look.
    """

    check: str
    group: Group
    title: str
    state: State
    code: str
    value: str
    limit: str
    reason: str
    remedy: str
    took_ms: float


def run_checks(checks: Sequence[Check], scene: Scene) -> tuple[Line, ...]:
    """
    Look at everything at once; return a line for each check, by group.

    The threads are daemons: one that hangs in the kernel is left behind.

    Args:
        checks: What to look at.
        scene: Where.
    """
    order = list(Group)
    checks = sorted(checks, key=lambda check: (order.index(check.group), check.rank))
    began_s = time.monotonic()
    answers: list[SimpleQueue[Line]] = []
    for check in checks:
        answer: SimpleQueue[Line] = SimpleQueue()
        Thread(target=lambda one=check, to=answer: to.put(_looked(one, scene)), name=check.name, daemon=True).start()
        answers.append(answer)
    lines = [_awaited(check, answer, began_s) for check, answer in zip(checks, answers, strict=True)]
    return tuple(lines)


def _looked(check: Check, scene: Scene) -> Line:
    began_s = time.perf_counter()
    try:
        found = check.look(scene)
        reason = check.codes[found.code] if found.code else ""
    except Exception as error:  # noqa: BLE001 - whatever breaks in one check is that check's line
        words = f"{type(error).__name__}: {error}"[:_MOST_WORDS]
        found, reason = Finding(state=State.PROBLEM, code=CRASHED, value=words, remedy=REPORT), REASONS[CRASHED]
    return _line(check, found, reason, time.perf_counter() - began_s)


def _awaited(check: Check, answer: "SimpleQueue[Line]", began_s: float) -> Line:
    left_s = max(0.0, began_s + check.deadline_s - time.monotonic())
    try:
        return answer.get(timeout=left_s)
    except Empty:
        value = f"no answer within {check.deadline_s:g} s"
        found = Finding(state=State.PROBLEM, code=HUNG, value=value, remedy=REPORT)
        return _line(check, found, REASONS[HUNG], time.monotonic() - began_s)


def _line(check: Check, found: Finding, reason: str, took_s: float) -> Line:
    return Line(
        check=check.name,
        group=check.group,
        title=check.title,
        state=found.state,
        code=found.code,
        value=found.value,
        limit=found.limit,
        reason=reason,
        remedy=found.remedy,
        took_ms=round(took_s * 1000, 1),
    )
