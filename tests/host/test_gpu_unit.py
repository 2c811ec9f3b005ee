"""GPUs in a wipe by the shipped units on a booted machine, with stand-ins for NVIDIA's libraries and devices."""

import pytest

from shared.documents import GrantOutcome, WipeEvidence, WipeWork
from shared.records import WipeMethod
from tests.agent.wiper.fakes import LIBRARIES, gpu, state
from tests.host.units import Unit

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture(scope="module")
def unit(machine, libraries) -> Unit:
    """The shipped units on a machine with a GPU, whose provider wants its memory filled."""
    for name in LIBRARIES:
        raw = (libraries / name).read_bytes().hex()
        machine.python(f"import pathlib; pathlib.Path('/usr/lib/{name}').write_bytes(bytes.fromhex({raw!r}))")
    # A node that the unit may open: where it may not open one, NVML would say that it has no permission.
    machine.run("mknod", "-m", "666", "/dev/nvidia0", "c", "1", "3")
    set_gpus(machine, gpu(1))
    made = Unit(machine)
    machine.run("sh", "-c", "sed -i 's/^fill_gpu_memory = false/fill_gpu_memory = true/' /etc/rackproof/policy.toml")
    return made


def set_gpus(machine, line: str) -> None:
    text = state(line)
    machine.python(f"import pathlib; pathlib.Path('/run/fake-gpus').write_text({text!r})")


def test_a_gpu_is_put_back_and_filled_from_within_the_unit(machine, unit):
    """NVML in a child of the wiper's, under all that its unit forbids; the filling by a process apart, which is not."""
    target = unit.ask(unit.platform.grant("cuda"), GrantOutcome).target
    set_gpus(machine, gpu(1, persistence=0, power=300_000))
    work = WipeWork(target=target, methods=(WipeMethod.HOME_DIRECTORY_PURGE,))
    evidence = unit.ask(unit.platform.command(unit.platform.order(work)), WipeEvidence)
    place = next(one for one in evidence.places if one.name == "gpus")
    assert (place.state, place.removed) == ("clean", 2), place
    assert place.notes == ("filled 79497 of 80000 MiB of memory on 1 of 1 GPUs",)
    assert not [one for one in evidence.methods[0].reasons if one.startswith("gpus")]
    assert machine.run("cat", "/run/fake-gpus") == state(gpu(1))
