"""
What a wipe achieved, and whether access is cut: nothing else says so. Pure.

It looks at the journal of all attempts, not at the last one: a finding of the first attempt does not go away because
the second one, after its proof was destroyed, no longer sees it.
"""

import re
from collections.abc import Iterable, Mapping

from agent.wiper.plan import PROMISED, REVOKED
from shared.documents import MethodResult, PlaceReport
from shared.records import WipeMethod, WipeStatus

ACCESS_PLACES = frozenset({"login", "keys", "access", "schedules", "processes"})
"""Where anything but clean means that the tenant may still be in, or come in."""

OPTIONAL_PLACES = frozenset({"containers", "gpus", "sshd", "copies", "directory"})
"""Places a real machine may lack."""

SECOND_LOOKS = frozenset({"sshd"})
"""Where a residue means that access remains, but a look that could not be had only leaves a doubt."""

MAX_REASONS = 16

_ROOT = re.compile(r"\broot\b")


def had_root(findings: Iterable[str]) -> bool:
    """Return whether a finding says that the tenant had root: only a new installation makes such a machine clean."""
    return any(_ROOT.search(finding) for finding in findings)


def judge(
    method: WipeMethod,
    places: Mapping[str, PlaceReport],
    *,
    simulated: bool,
    findings: Iterable[str] = (),
    objection: str | None = None,
) -> MethodResult:
    """
    Decide one method's outcome.

    Args:
        method: What was executed.
        places: What the look after the last step found, by place.
        simulated: Whether it was a simulated machine, which lacks most places.
        findings: Facts of any attempt that leave doubt for ever (the tenant had root, say).
        objection: Why the wipe had to stop before its steps could run, if it had to.

    Returns:
        `failed` where access may remain or the look could not run, `partial` where residue or an unseen place is left
        or there is a finding, `success` only where every promised place was looked at and is clean.
    """
    failures, doubts = [objection] if objection else [], list(findings)
    for name in PROMISED[method]:
        place = places.get(name)
        if place is None:
            failures.append(f"{name}: not looked at")
            continue
        if _is_clean(place, simulated=simulated):
            continue
        reason = f"{name}: {place.reason or place.state}"[:300]
        access = name in ACCESS_PLACES or (name in SECOND_LOOKS and place.left > 0)
        (failures if access else doubts).append(reason)
    reasons = tuple((failures + doubts)[:MAX_REASONS])
    if failures:
        return MethodResult(method=method, status=WipeStatus.FAILED, reasons=reasons)
    if doubts:
        return MethodResult(method=method, status=WipeStatus.PARTIAL, reasons=reasons)
    return MethodResult(method=method, status=WipeStatus.SUCCESS)


def judge_revoke(
    places: Mapping[str, PlaceReport],
    *,
    simulated: bool,
    findings: Iterable[str] = (),
    objection: str | None = None,
) -> tuple[str, tuple[str, ...]]:
    """
    Decide whether access is cut, with the reasons why not.

    Args:
        places: What the look after the last step found, by place.
        simulated: As in `judge`.
        findings: Facts of any earlier attempt; of them only that the tenant had root counts.
        objection: Why it had to stop before its steps could run, if it had to.

    Returns:
        "success" only where every place was looked at and admits nobody; else "failed": there is nothing between.
    """
    reasons = [objection] if objection else []
    for name in REVOKED:
        place = places.get(name)
        if place is None:
            reasons.append(f"{name}: not looked at")
        elif not _is_clean(place, simulated=simulated):
            reasons.append(f"{name}: {place.reason or place.state}"[:300])
    reasons += [finding for finding in findings if had_root((finding,))]
    return ("failed" if reasons else "success"), tuple(reasons[:MAX_REASONS])


def _is_clean(place: PlaceReport, *, simulated: bool) -> bool:
    lacking = place.state == "not_applicable" and (simulated or place.name in OPTIONAL_PLACES)
    return lacking or (place.state == "clean" and place.left == 0)
