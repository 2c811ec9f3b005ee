"""The fixtures of recorded machines."""

from tests.agent.indicators.conftest import bench

__all__ = ["bench"]
