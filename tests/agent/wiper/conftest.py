"""Wipers of a simulated machine, and of this one seen through a throw-away view."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.wiper import fakes
from tests.agent.wiper.harness import Machine, Platform, SimulatedWiper, Wiper, state_for


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The simulated machine's directory."""
    return tmp_path / "machine"


@pytest.fixture
def wiper(tmp_path: Path, tree: Path, platform: Platform) -> SimulatedWiper:
    """A wiper of a simulated machine."""
    return SimulatedWiper(state_for(tmp_path / "state", platform), tree)


@pytest.fixture(scope="module")
def machine_platform() -> Platform:
    return Platform()


@pytest.fixture(scope="module")
def machine_state(tmp_path_factory: pytest.TempPathFactory, machine_platform: Platform) -> Path:
    return state_for(tmp_path_factory.mktemp("wiper") / "state", machine_platform)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, machine_state: Path, missing) -> Iterator[Machine]:
    """A view that the tests of one file share: what one leaves, an account say, is in no other file's way."""
    if os.geteuid() != 0:
        missing("root, to see this machine through a throw-away view")
    trial = ["unshare", "--mount", "--pid", "--ipc", "--fork", "true"]
    if subprocess.run(trial, capture_output=True, check=False).returncode:
        missing("mount, process and IPC namespaces")
    machine = Machine(tmp_path_factory.mktemp("view"), machine_state)
    yield machine
    machine.close()


@pytest.fixture
def root_wiper(machine: Machine, machine_state: Path) -> Wiper:
    """A wiper of the whole machine, in the view."""
    return Wiper(machine_state, (), machine.prefix)


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory, missing) -> Path:
    """A directory with stand-ins for NVIDIA's libraries."""
    return fakes.build(tmp_path_factory.mktemp("nvidia"), missing)
