"""A recorded machine, and indicators made for a test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.host.recorded import RecordedHost
from agent.indicators import Indicator

RECORDINGS = Path(__file__).parents[2] / "host" / "recordings"


@pytest.fixture
def recorded() -> Callable[[str], RecordedHost]:
    return lambda name: RecordedHost(RECORDINGS / name)


@pytest.fixture
def indicator() -> Callable[..., Indicator]:
    def make(
        name: str, read: Callable[[Any, Any], Any], *, interval_s: float = 0.0, deadline_s: float = 5.0
    ) -> Indicator:
        return Indicator(name=name, interval_s=interval_s, deadline_s=deadline_s, read=read, describes={})

    return make
