"""Judging machines as their reports come in: the decisions are in `verdict`, their memory and their ledger here."""

import asyncio
from collections.abc import Callable
from datetime import datetime

import structlog

from collector.feed import Feed
from collector.store.engine import Database
from collector.store.health import Report
from shared.messages import Indicators

log = structlog.get_logger()


class Assessing:
    """
    Every machine's verdict.

    Args:
        database: Where verdicts and events are kept.
        feed: Told of every change.
        now: The collector's clock.
    """

    def __init__(self, database: Database, feed: Feed, now: Callable[[], datetime]) -> None:
        self._database = database
        self._feed = feed
        self._now = now

    def take(self, report: Report, indicators: Indicators) -> None:
        """Take a report that is about to be committed."""

    async def run(self) -> None:
        """Write what changed, until cancelled."""
        await asyncio.Event().wait()
