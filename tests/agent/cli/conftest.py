"""Recorded machines, and copies of them that a test may change."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.host.recorded import RecordedHost

RECORDINGS = Path(__file__).parents[2] / "host" / "recordings"


@pytest.fixture
def recorded() -> Callable[[str], RecordedHost]:
    return lambda name: RecordedHost(RECORDINGS / name)


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(RECORDINGS / name, tmp_path / name))


@pytest.fixture
def rackproof_agent(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The console script as it is installed, with a state directory of its own."""
    script = Path(sys.executable).with_name("rackproof-agent")
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RACKPROOF_")}

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            (script, *arguments),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=tmp_path,
            env={**plain, "RACKPROOF_AGENT_STATE_DIR": str(tmp_path / "state"), **environment},
        )

    return run
