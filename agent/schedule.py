"""Periodic work of the agent, on APScheduler: what is due when."""

from collections.abc import Awaitable, Callable

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

JITTER_SHARE = 0.2
"""Heartbeats vary by this share each way, so that a fleet that started together does not report together."""
INVENTORY_EVERY_S = 3_600

_REPORT = "report"


class Schedule:
    """
    The agent's periodic work.

    Args:
        report: Takes one health report.
        inventory: Looks at the machine's facts.
    """

    def __init__(self, report: Callable[[], Awaitable[None]], inventory: Callable[[], Awaitable[None]]) -> None:
        self._report = report
        self._inventory = inventory
        self._scheduler = AsyncIOScheduler(
            timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )
        self._heartbeat_s = 0.0

    def start(self, heartbeat_s: float) -> None:
        """Begin; the first report is the caller's, at once."""
        self._heartbeat_s = heartbeat_s
        self._scheduler.add_job(self._report, heartbeat(heartbeat_s), id=_REPORT)
        self._scheduler.add_job(self._inventory, IntervalTrigger(seconds=INVENTORY_EVERY_S, jitter=300, timezone="UTC"))
        self._scheduler.start()

    def pace(self, heartbeat_s: float) -> None:
        """Report at another pace, as the collector asks."""
        if heartbeat_s != self._heartbeat_s:
            self._heartbeat_s = heartbeat_s
            self._scheduler.reschedule_job(_REPORT, trigger=heartbeat(heartbeat_s))

    def stop(self) -> None:
        """Start nothing more."""
        self._scheduler.shutdown(wait=False)


def heartbeat(every_s: float) -> IntervalTrigger:
    """Return when reports are due: `every_s` seconds apart, give or take a fifth."""
    # APScheduler's jitter is drawn from [-jitter, +jitter] for each run.
    return IntervalTrigger(seconds=every_s, jitter=every_s * JITTER_SHARE, timezone="UTC")
