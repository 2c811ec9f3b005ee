"""A booted Debian machine for the tests that need systemd, sshd and a root of their own."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

EXEC = "RACKPROOF_MACHINE_EXEC"
"""
A command that runs what follows it in a throw-away Debian machine booted by systemd, as root, such as
"systemd-run --machine=trial --pipe --wait --quiet". This checkout and its interpreter must be there by their own paths.
"""


class Machine:
    """The machine behind that command."""

    def __init__(self, prefix: list[str]) -> None:
        self._prefix = prefix

    def run(self, *argv: str) -> str:
        """Run a program in it and return what it printed; it must succeed."""
        done = subprocess.run([*self._prefix, *argv], capture_output=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr.decode()[-3000:] + done.stdout.decode()[-1000:]
        return done.stdout.decode()

    def python(self, code: str, *argv: str) -> str:
        """Run Python in it that finds this checkout."""
        return self.run("env", f"PYTHONPATH={Path(__file__).parents[2]}", sys.executable, "-B", "-c", code, *argv)


@pytest.fixture(scope="session")
def machine() -> Machine:
    """The booted machine; a test run cannot start one by itself, so without one this is a skip in CI too."""
    prefix = os.environ.get(EXEC)
    if not prefix:
        pytest.skip(f"no booted machine: {EXEC} does not name a command that runs things in one")
    return Machine(shlex.split(prefix))
