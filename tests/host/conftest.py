"""A booted Debian machine for the tests that need systemd, sshd and a root of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.wiper import fakes
from tests.host import machines
from tests.host.machines import Machine, MachineError


@pytest.fixture(scope="module")
def machine(missing) -> Iterator[Machine]:
    """A machine that runs; the tests of one file share it."""
    try:
        with machines.booted("tests") as machine:
            yield machine
    except MachineError as error:
        missing(str(error))


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory, missing) -> Path:
    """A directory with stand-ins for NVIDIA's libraries."""
    return fakes.build(tmp_path_factory.mktemp("nvidia"), missing)
