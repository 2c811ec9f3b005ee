"""When a machine is benchmarked without being asked: when it is new, then monthly; never all of one site at once."""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from msgspec import Struct

JITTER = 0.1
"""Share of the period by which machines enrolled together drift apart, each by its own amount."""
RETRY = timedelta(days=1)
"""How long a machine is left alone after an order, whatever became of it."""
SITE_SHARE = 10
"""One in so many of a customer's machines may be measured at once: they share power, cooling and a way out."""
WAIT = timedelta(minutes=10)
"""How long a machine waits whose site has its share; meanwhile it is not in the way of other sites' machines."""
MOST_A_ROUND = 50


class Candidate(Struct, frozen=True, kw_only=True):
    """A machine that is due, online, unbooked and idle. `measured_at`: when a result of it came in last."""

    hardware_id: str
    customer_id: str
    has_gpu: bool
    measured_at: datetime | None


class Site(Struct, frozen=True, kw_only=True):
    """A customer's machines, and on how many of them a benchmark is waiting or under way."""

    machines: int
    running: int


class Round(Struct, frozen=True, kw_only=True):
    """What a round decided: who is measured now, and for whom it is not time yet, with the time when it is."""

    measured: tuple[Candidate, ...]
    put_off: Mapping[str, datetime]


def next_due(hardware_id: str, measured_at: datetime, every: timedelta) -> datetime:
    """Return when a machine is due again: a period later and up to a tenth of it more, always the same for it."""
    chance = int.from_bytes(hashlib.sha256(hardware_id.encode()).digest()[:4]) / 2**32
    return measured_at + every * (1 + JITTER * chance)


def plan(candidates: Iterable[Candidate], sites: Mapping[str, Site], now: datetime, every: timedelta) -> Round:
    """
    Decide a round.

    Args:
        candidates: The longest due first.
        sites: By customer.
        now: The collector's clock.
        every: The period.
    """
    room = {customer: max(1, one.machines // SITE_SHARE) - one.running for customer, one in sites.items()}
    measured: list[Candidate] = []
    put_off: dict[str, datetime] = {}
    for one in candidates:
        due = next_due(one.hardware_id, one.measured_at, every) if one.measured_at else now
        if due > now:
            put_off[one.hardware_id] = due
        elif room.get(one.customer_id, 0) <= 0:
            put_off[one.hardware_id] = now + WAIT
        elif len(measured) < MOST_A_ROUND:
            room[one.customer_id] -= 1
            measured.append(one)
    return Round(measured=tuple(measured), put_off=put_off)
