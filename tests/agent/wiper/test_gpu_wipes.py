"""GPUs in wipes of this machine seen through a throw-away view: real processes, stand-ins for NVIDIA's libraries."""

import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.documents import PlaceReport, Target, WipeEvidence
from shared.records import WipeStatus
from tests.agent.wiper.fakes import LIBRARIES, gpu, state
from tests.agent.wiper.harness import Machine, Platform, Wiper
from tests.host.scene import Mutant

pytestmark = pytest.mark.root

NOT_FILLED = "GPU memory was not overwritten"

HOLD = """
import os, sys, time
uid, gid, device = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
readable, writable = os.pipe()
pid = os.fork()
if pid == 0:
    os.setsid(); os.setgroups([]); os.setresgid(gid, gid, gid); os.setresuid(uid, uid, uid)
    fd = os.open(device, os.O_RDWR)
    for number in range(3):
        os.dup2(os.open('/dev/null', os.O_RDWR), number)
    os.write(writable, b'!'); os.close(writable)
    time.sleep(600)
os.read(readable, 1)
print(pid)
"""
"""As a daemon of a user's that has a device open."""

STEP = """
import json, sys
import msgspec
from agent.wiper.tenant.accounts import Tenant
from agent.wiper.gpu.gpus import GpuRecord
from agent.wiper.system.ground import real_machine
from agent.wiper.steps import Subject
from agent.wiper.steps.gpus import Gpus
from agent.wiper.steps.processes import Processes
given = json.loads(sys.argv[1])
tenant = msgspec.convert(given, Tenant)
subject = Subject(real_machine(), tenant)
step = Gpus(subject, Processes(subject))
told = [[one.what, one.where.replace(' ', '_'), one.goes] for one in step.list()]
before = step.verify()
found = step.find()
erased = step.erase(lambda done, of: None)
after = step.verify()
print(msgspec.json.encode([told, before, found, erased, after]).decode())
"""


class Cards:
    """The machine's GPUs: device files, libraries and what they are like."""

    def __init__(self, machine: Machine, libraries: Path) -> None:
        self.machine = machine
        for name in LIBRARIES:
            raw = (libraries / name).read_bytes().hex()
            machine.python(f"import pathlib; pathlib.Path('/usr/lib/{name}').write_bytes(bytes.fromhex({raw!r}))")
        machine.run("sh", "-c", "for name in nvidia0 nvidiactl nvidia-uvm; do mknod -m 666 /dev/$name c 1 3; done")
        self.are(gpu(1))

    def are(self, *lines: str, mode: str = "answer") -> None:
        """Change what the libraries say."""
        text = state(*lines, mode=mode)
        self.machine.python(f"import pathlib; pathlib.Path('/run/fake-gpus').write_text({text!r})")

    def text(self) -> str:
        return self.machine.run("cat", "/run/fake-gpus")

    def remove(self) -> None:
        paths = [f"/usr/lib/{name}" for name in LIBRARIES]
        self.machine.run("sh", "-c", f"rm -f {' '.join(paths)} /dev/nvidia* /run/fake-gpus*")


@pytest.fixture
def cards(machine: Machine, libraries: Path) -> Iterator[Cards]:
    made = Cards(machine, libraries)
    yield made
    made.remove()


@pytest.fixture
def tenant(cards: Cards, root_wiper: Wiper, machine_platform: Platform, request) -> Target:
    """A tenant, named after the test, who comes to one GPU."""
    return root_wiper.grant(machine_platform.grant(f"g{zlib.crc32(request.node.name.encode())}"))


@pytest.fixture
def wipe(root_wiper: Wiper, machine_platform: Platform) -> Callable[[Target], WipeEvidence]:
    return lambda target: root_wiper.wipe(machine_platform.wipe(target))


def place(evidence: WipeEvidence) -> PlaceReport:
    return next(one for one in evidence.places if one.name == "gpus")


def status(evidence: WipeEvidence) -> WipeStatus:
    return evidence.methods[0].status


def doubts(evidence: WipeEvidence) -> list[str]:
    """What of the GPUs stands against a success; other places may be another test's of this kernel (keyrings)."""
    return [one for one in evidence.methods[0].reasons if one.startswith("gpus")]


def lives(machine: Machine, pid: str) -> bool:
    return (
        machine.run("sh", "-c", f"kill -0 {pid} 2>/dev/null && ! grep -q '^State:.[ZX]' /proc/{pid}/status; echo $?")
        == "0\n"
    )


def test_gpus_that_are_as_they_were_are_clean(cards, tenant, wipe):
    """They are nothing against a success; that memory was not overwritten is said."""
    evidence = wipe(tenant)
    assert (place(evidence).state, doubts(evidence)) == ("clean", []), evidence
    assert any(one.startswith(NOT_FILLED) for one in evidence.limits)


def test_his_process_on_a_gpu_goes_and_another_users_stays(machine, cards, tenant, wipe):
    """Both hold the device and are listed; the other's is told."""
    mine = machine.python(HOLD, str(tenant.uid), str(tenant.uid), "/dev/nvidia0").strip()
    others = machine.python(HOLD, "3456", "3456", "/dev/nvidia0").strip()
    cards.are(gpu(1, used=900), f"process 0 {mine} 100", f"process 0 {others} 400")
    evidence = wipe(tenant)
    assert not lives(machine, mine)
    assert lives(machine, others)
    assert place(evidence).state == "clean", place(evidence)
    assert "1 processes of others on GPUs were left alone" in place(evidence).notes
    machine.run("kill", "-9", others)


def test_changed_settings_are_put_back(cards, tenant, wipe):
    """Those that a tenant who became root could have changed; counted as removed."""
    cards.are(gpu(1, persistence=0, compute=3, power=300_000, graphics=1500))
    evidence = wipe(tenant)
    assert cards.text() == state(gpu(1))
    assert (place(evidence).state, place(evidence).found, place(evidence).removed) == ("clean", 4, 4)


def test_a_wiper_without_the_step_says_what_is_left(cards, tenant, root_wiper, machine_platform):
    """The look afterwards does not believe that it was taken."""
    cards.are(gpu(1, power=300_000))
    evidence = Mutant(root_wiper, "gpus").wipe(machine_platform.wipe(tenant))
    assert (place(evidence).state, place(evidence).reason) == ("residue", "another power limit than at the grant")


def test_settings_that_cannot_be_put_back_are_a_residue(cards, tenant, wipe):
    """The driver refuses; why stands in the notes."""
    cards.are(gpu(1, power=300_000), mode="no_permission")
    evidence = wipe(tenant)
    assert (place(evidence).state, place(evidence).reason) == ("residue", "another power limit than at the grant")
    assert place(evidence).notes == ("not put back: power_limit_mw: Insufficient Permissions",)
    assert status(evidence) is WipeStatus.PARTIAL


def test_a_pending_mode_is_told_and_left(cards, tenant, wipe):
    """Nothing is restarted."""
    cards.are(gpu(1, ecc_pending=0, mig_pending=1))
    evidence = wipe(tenant)
    assert (place(evidence).state, place(evidence).left, place(evidence).removed) == ("residue", 2, 0)
    assert place(evidence).reason == (
        "another pending ECC mode than at the grant; another pending MIG mode than at the grant"
    )
    assert cards.text() == state(gpu(1, ecc_pending=0, mig_pending=1))


def test_memory_that_nobody_answers_for_is_a_residue(cards, tenant, wipe):
    """More than at the grant, and no process is listed that lives."""
    cards.are(gpu(1, used=3000), "process 0 999999 2500")
    evidence = wipe(tenant)
    assert (place(evidence).state, place(evidence).reason) == ("residue", "2500 MiB of GPU memory in use by nobody")
    assert status(evidence) is WipeStatus.PARTIAL


def test_another_card_in_the_place_of_the_old_one_is_a_doubt(cards, tenant, wipe):
    """The old one may come back with what it held."""
    cards.are(gpu(2))
    evidence = wipe(tenant)
    assert place(evidence).state == "not_examined"
    assert place(evidence).reason == "1 GPU of the grant is missing; 1 GPU was not there at the grant"


def test_gpus_that_are_all_gone_are_a_doubt(cards, tenant, wipe):
    """Fallen off the bus, with their device files."""
    cards.remove()
    assert place(wipe(tenant)).reason == "no GPU is here, and there were some at the grant"


@pytest.mark.parametrize(
    ("mode", "words"), [("segfault", "the process that asked crashed"), ("not_loaded", "Driver Not Loaded")]
)
def test_a_library_that_crashes_or_refuses_costs_the_look_and_nothing_else(cards, tenant, wipe, mode, words):
    """The wipe comes to its end, with signed evidence."""
    cards.are(gpu(1), mode=mode)
    evidence = wipe(tenant)
    assert (place(evidence).state, place(evidence).reason) == ("not_examined", f"NVML: {words}")
    assert status(evidence) is WipeStatus.PARTIAL
    assert next(one for one in evidence.places if one.name == "home").state == "clean"


def test_a_grant_without_a_library_succeeds_and_leaves_a_doubt(machine, cards, root_wiper, machine_platform, wipe):
    """The device is there, its driver is not installed; later it is, and nobody knows what was before."""
    machine.run("mv", "/usr/lib/libnvidia-ml.so.1", "/run/away")
    target = root_wiper.grant(machine_platform.grant("unread"))
    machine.run("mv", "/run/away", "/usr/lib/libnvidia-ml.so.1")
    evidence = wipe(target)
    assert place(evidence).reason == "no record of the GPUs from the grant"
    assert place(evidence).state == "not_examined"


def test_a_system_mps_daemon_is_told_and_left_alone(machine, cards, tenant, wipe):
    """It is the provider's, and may have worked for the tenant."""
    program = "import os, time; open('/proc/self/comm', 'w').write('nvidia-cuda-mps'); time.sleep(600)"
    machine.run(
        "sh", "-c", 'setsid "$@" </dev/null >/dev/null 2>&1 & echo $! > /run/mps', "sh", *machine.python_argv(program)
    )
    pid = machine.run("cat", "/run/mps").strip()
    machine.run("sh", "-c", f"until grep -q nvidia /proc/{pid}/comm; do sleep 0.05; done")
    evidence = wipe(tenant)
    assert place(evidence).notes == ("an MPS daemon that is not his runs and may have served him; it was left alone",)
    assert place(evidence).state == "clean"
    assert lives(machine, pid)
    machine.run("kill", "-9", pid)


@pytest.fixture
def filling(machine_state: Path, machine: Machine, machine_platform: Platform) -> Callable[[Target], WipeEvidence]:
    """Wipes of a provider who wants GPU memory filled."""
    policy = machine_state / "filling.toml"
    policy.write_text("fill_gpu_memory = true\n")
    policy.chmod(0o600)
    wiper = Wiper(machine_state, ("--policy", str(policy)), machine.prefix)
    return lambda target: wiper.wipe(machine_platform.wipe(target))


def test_free_memory_is_filled_where_the_provider_wants_it(cards, tenant, filling):
    """How much of how much stands in the notes; what was not overwritten is no longer said."""
    evidence = filling(tenant)
    assert place(evidence).notes == ("filled 79497 of 80000 MiB of memory on 1 of 1 GPUs",)
    assert not any(one.startswith(NOT_FILLED) for one in evidence.limits)
    assert doubts(evidence) == []


def test_a_gpu_that_somebody_uses_is_not_filled(machine, cards, tenant, filling):
    """He would be left without memory; that it was not overwritten is said again."""
    others = machine.python(HOLD, "3456", "3456", "/dev/nvidia0").strip()
    cards.are(gpu(1, used=900), f"process 0 {others} 400")
    evidence = filling(tenant)
    assert "the memory of a GPU was not filled: other processes use it" in place(evidence).notes
    assert any(one.startswith(NOT_FILLED) for one in evidence.limits)
    machine.run("kill", "-9", others)


def test_memory_that_cannot_be_filled_is_told(cards, tenant, filling):
    """And costs the wipe nothing: it is more than was promised."""
    cards.are(gpu(1), mode="cuda_refuses")
    evidence = filling(tenant)
    assert "the memory of a GPU was not filled: cuDevicePrimaryCtxRetain failed with 46" in place(evidence).notes
    assert any(one.startswith(NOT_FILLED) for one in evidence.limits)
    assert doubts(evidence) == []


@pytest.mark.parametrize("owner", ["his", "root in his group"])
def test_the_step_by_itself_ends_what_holds_a_device(machine, cards, owner):
    """Even what NVML does not list: an open device is enough. Another user's stays."""
    uid, gid = 3789, 3789
    mine = machine.python(HOLD, str(uid if owner == "his" else 0), str(gid), "/dev/nvidia-uvm").strip()
    idle = machine.python(HOLD, "3456", "3456", "/dev/nvidia-uvm").strip()
    machine.run(
        "sh", "-c", "getent group gpuman >/dev/null || { groupadd -g 3789 gpuman; useradd -u 3789 -g 3789 -M gpuman; }"
    )
    record = {"uuid": "GPU-1", "persistence": 0, "memory_mib": 500, "processes_mib": 0}
    full = {"compute_mode": 0, "power_limit_mw": 700_000, "graphics_clock_mhz": 1000, "memory_clock_mhz": 2000}
    modes = {"ecc": 1, "ecc_pending": 0, "mig": 0, "mig_pending": 0}
    given = {"name": "gpuman", "uid": uid, "gid": gid, "home": "/home/gpuman", "generation": "0", "booking_id": None}
    given |= {"command_id": "c", "granted_at": "2026-01-01T00:00:00Z", "gpus": [record | full | modes]}
    told, before, found, erased, after = json.loads(machine.python(STEP, json.dumps(given)))
    assert told == [
        ["process on a GPU", mine, True],
        ["changed GPU setting", "persistence_mode_of_GPU-1", True],
        ["changed GPU setting", "pending_ECC_mode_of_GPU-1", False],
    ]
    assert (before["state"], before["left"]) == ("residue", 3)
    assert before["reason"].startswith("1 of his processes on GPUs; ")
    assert (found["items"], erased["removed"]) == (3, 2)
    assert (after["state"], after["reason"]) == ("residue", "another pending ECC mode than at the grant")
    assert not lives(machine, mine)
    assert lives(machine, idle)
    machine.run("kill", "-9", idle)
