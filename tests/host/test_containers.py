"""
Wipes on a booted machine with Docker and Podman, through the shipped units, looked at from outside.

What is the tenant's goes, however an engine would bring it back; what is a neighbour's or the provider's keeps running.
"""

import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from agent.wiper.engines.asking import ASK_S
from shared.documents import GrantOutcome, PlaceReport, Target, WipeEvidence, WipeWork
from shared.records import WipeMethod, WipeStatus
from tests.host import machines
from tests.host.engines import AS_USER, FURNISH, PACKAGES, Engine, label, named
from tests.host.machines import MachineError
from tests.host.test_wiper_unit import KEY
from tests.host.units import Unit

pytestmark = [pytest.mark.root, pytest.mark.slow]

ENGINES = ("docker", "podman")
CAPABILITIES = "/run/podman-capabilities"


@pytest.fixture(scope="module")
def unit(missing) -> Iterator[Unit]:
    try:
        with machines.booted("engines", PACKAGES, whole=False) as machine:
            machine.run("sh", "-c", FURNISH)
            yield Unit(machine)
    except MachineError as error:
        missing(str(error))


class Planted(NamedTuple):
    """Ids and names, by kind, in one engine."""

    container: tuple[str, ...]
    volume: tuple[str, ...]
    image: tuple[str, ...]


def older(engine: Engine) -> Planted:
    """A neighbour's, and the provider's: made before the tenant came, and running."""
    images = [engine.image("bob:1"), engine.image("provider:1")]
    engine.volume("bobs", label("b-bob"))
    engine.volume("providers")
    containers = [
        engine.run("bob:1", label("b-bob"), "--volume=bobs:/seen", "--restart=always"),
        engine.run("provider:1", "--volume=providers:/seen", "--user=0", "--restart=always"),
    ]
    return Planted(tuple(containers), ("bobs", "providers"), tuple(images))


def younger(engine: Engine, target: Target) -> Planted:
    """The neighbour's, made while the tenant is here; some of it has the look of the tenant's."""
    images = [engine.image("bob:2", "rackproof.booking=b-bob"), engine.image("bob:3")]
    engine.volume("bobs-new", label("b-bob"))
    containers = [engine.run("bob:3", label("b-bob"), named(target.username), "--volume=bobs-new:/seen")]
    return Planted(tuple(containers), ("bobs-new",), tuple(images))


def of_tenant(engine: Engine, target: Target) -> Planted:
    """All that tells that something is his: a label, a mount, a user; and what only that uses."""
    name = target.username
    home = f"--volume=/home/{name}:/seen"
    images = [engine.image("his:1", "rackproof.booking=b-1"), engine.image("his:2")]
    engine.tell("tag", "his:2", "his:also")
    engine.volume("labelled", label("b-1"))
    engine.volume("used")
    # An engine gives what a volume stands for to the user of its first container, so it is not the home itself.
    engine.machine.run("mkdir", "-p", f"/home/{name}/out")
    engine.volume("out-of-home", "--opt=type=none", "--opt=o=bind", f"--opt=device=/home/{name}/out")
    containers = [
        engine.run("his:1", label("b-1"), home, "--volume=/anonymous", "--restart=always"),
        engine.run("his:2", home, "--volume=used:/used", "--restart=always"),
        engine.run("his:2", "--volume=out-of-home:/seen"),
        engine.run("provider:1", named(name), "--volume=/seen"),
        engine.run("provider:1", f"--user={target.uid}", "--volume=/seen"),
    ]
    engine.tell("stop", "--time=0", containers[-1])
    anonymous = [one for container in containers for one in engine.volumes_of(container)]
    return Planted(tuple(containers), ("labelled", *dict.fromkeys(anonymous)), tuple(images))


class Wiped(NamedTuple):
    """One tenant's wipe: what was planted, what each engine had before and after, and what is said of it."""

    kept: dict[str, Planted]
    his: dict[str, Planted]
    after: dict[str, dict[str, list[str]]]
    place: PlaceReport
    evidence: WipeEvidence
    processes: list[str]
    capabilities: set[str]


def grant(unit: Unit, name: str, booking: str = "b-1") -> Target:
    return unit.ask(unit.platform.grant(name, KEY, booking_id=booking), GrantOutcome).target


def wipe(unit: Unit, target: Target) -> tuple[WipeEvidence, PlaceReport]:
    work = WipeWork(target=target, methods=(WipeMethod.USER_DELETION,))
    evidence = unit.ask(unit.platform.command(unit.platform.order(work)), WipeEvidence)
    return evidence, next(place for place in evidence.places if place.name == "containers")


ROOTLESS = r"""
loginctl enable-linger $0
for n in $(seq 100); do [ -S /run/user/$1/bus ] && break; sleep 0.1; done
cp /srv/tiny.tar /home/$0/
"""
BEAT = "while true; do touch /seen/beat; sleep 0.2; done"
LIVE = r"""
import json, os, sys
ranges = [(int(a), int(b)) for a, b in json.loads(sys.argv[1])]
found = []
for pid in filter(str.isdigit, os.listdir('/proc')):
    try:
        status = dict(line.split(':\t', 1) for line in open(f'/proc/{pid}/status') if ':\t' in line)
    except (FileNotFoundError, ProcessLookupError):
        continue
    uids = {int(one) for one in status['Uid'].split()}
    if status['State'][0] not in 'ZX' and any(first <= uid < first + count for uid in uids for first, count in ranges):
        found.append(open(f'/proc/{pid}/cmdline').read().replace('\0', ' ')[:80])
print(json.dumps(found))
"""


def rootless(unit: Unit, target: Target) -> list[str]:
    """Have the tenant run a container in an engine of his own, and return his processes."""
    machine, name = unit.machine, target.username
    machine.run("sh", "-c", ROOTLESS, name, str(target.uid))
    his = ("python3", "-c", AS_USER, name, "podman", "--storage-driver=vfs")
    machine.run(*his, "import", "tiny.tar", "tiny")
    run = (
        "run",
        "--detach",
        "--network=none",
        "--cgroups=disabled",
        "--restart=always",
        f"--volume=/home/{name}:/seen",
    )
    machine.run(*his, *run, "--user=7", "tiny", "/bin/sh", "-c", "sleep 1000")
    machine.run(*his, *run, "tiny", "/bin/sh", "-c", BEAT)
    return live(unit, target)


def ranges(unit: Unit, target: Target) -> list[list[int]]:
    rows = [row.split(":") for row in unit.machine.run("cat", "/etc/subuid").splitlines()]
    return [[target.uid, 1], *([int(row[1]), int(row[2])] for row in rows if row[0] == target.username)]


def live(unit: Unit, target: Target, of: list[list[int]] | None = None) -> list[str]:
    return json.loads(unit.machine.run("python3", "-c", LIVE, json.dumps(of or ranges(unit, target))))


@pytest.fixture(scope="module")
def engines(unit) -> dict[str, Engine]:
    return {name: Engine(unit.machine, name) for name in ENGINES}


@pytest.fixture(scope="module")
def standing(engines) -> dict[str, Planted]:
    return {name: older(engine) for name, engine in engines.items()}


@pytest.fixture(scope="module")
def wiped(unit, engines, standing) -> Wiped:
    """A tenant who could not use the machine's engines; the provider ran containers for him."""
    target = grant(unit, "mallory")
    his = {name: of_tenant(engine, target) for name, engine in engines.items()}
    new = {name: younger(engine, target) for name, engine in engines.items()}
    kept = {name: Planted(*(a + b for a, b in zip(standing[name], new[name], strict=True))) for name in engines}
    # What nobody's sign is on: it came while he was here, and he could not have made it.
    for engine in engines.values():
        engine.volume("provider-new")
    whose, before = ranges(unit, target), rootless(unit, target)
    unit.machine.run("rm", CAPABILITIES)
    evidence, place = wipe(unit, target)
    capabilities = set(unit.machine.run("cat", CAPABILITIES).splitlines())
    after = {name: engine.all() for name, engine in engines.items()}
    processes = [json.dumps(before), json.dumps(live(unit, target, whose))]
    return Wiped(kept, his, after, place, evidence, processes, capabilities)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", Planted._fields)
def test_what_is_the_tenants_is_gone_from_the_engine(wiped, engine, kind):
    """By its own word, asked from outside: nothing restarted it either."""
    planted = getattr(wiped.his[engine], kind)
    assert planted
    assert not set(planted) & set(wiped.after[engine][kind])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", Planted._fields)
def test_what_is_others_is_still_there(wiped, engine, kind):
    """The neighbour's and the provider's, also what is mounted from, named after or younger than the tenant."""
    assert set(getattr(wiped.kept[engine], kind)) <= set(wiped.after[engine][kind])
    assert "provider-new" in wiped.after[engine]["volume"]


@pytest.mark.parametrize("engine", ENGINES)
def test_others_containers_kept_running(wiped, engines, engine):
    """They were neither ended nor started again."""
    for container in wiped.kept[engine].container:
        state = engines[engine].inspect("container", container)
        assert state["State"]["Running"], container
        assert state["RestartCount"] == 0


def test_nothing_of_the_tenants_own_engine_runs(wiped):
    """His container, its monitor, and the process that holds his namespaces; some under subordinate ids."""
    before, after = map(json.loads, wiped.processes)
    assert any("conmon" in one for one in before)
    assert any("sleep 1000" in one for one in before)
    assert after == []


def test_the_engines_tool_runs_apart_from_the_wiper(unit, wiped):
    """With all that the machine's root may do: the wiper's own few would not do for every container."""
    assert wiped.capabilities == {unit.machine.run("grep", "CapBnd", "/proc/1/status").strip()}
    assert int(wiped.capabilities.pop().split()[1], 16) != int(unit.seen()["capabilities"], 16)


def test_nothing_of_the_home_comes_back(unit, wiped):
    """A container that still wrote into it would make it again."""
    time.sleep(1)
    assert "mallory" not in unit.machine.run("ls", "-A", "/home")
    assert unit.machine.run("sh", "-c", "ls -A /home | grep rackproof; true") == ""


def test_the_evidence_says_success(wiped):
    """An engine that was asked, and has nothing of his any more, is a clean place."""
    assert (wiped.place.state, wiped.place.left, wiped.place.notes) == ("clean", 0, ())
    assert wiped.place.removed == sum(len(kind) for planted in wiped.his.values() for kind in planted)
    assert wiped.evidence.methods[0].status is WipeStatus.SUCCESS, wiped.evidence.methods


class Doubtful(NamedTuple):
    """A wipe of a tenant who could use both engines, among things that nobody's sign is on."""

    nobodys: dict[str, Planted]
    before: dict[str, dict[str, list[str]]]
    after: dict[str, dict[str, list[str]]]
    place: PlaceReport
    evidence: WipeEvidence


@pytest.fixture(scope="module")
def doubtful(unit, engines, wiped) -> Doubtful:
    target = grant(unit, "trudy", "b-2")
    unit.machine.run("usermod", "--append", "--groups=docker", target.username)
    nobodys = {}
    for name, engine in engines.items():
        image, volume = engine.image("nobodys:1"), engine.volume("nobodys")
        container = engine.run("nobodys:1", "--volume=nobodys:/seen")
        nobodys[name] = Planted((container,), (volume,), (image,))
        # Hers, and the neighbour uses it.
        engine.volume("hers", label("b-2"))
        engine.run("bob:1", label("b-bob"), "--volume=hers:/seen", f"--volume=/home/{target.username}:/hers")
    before = {name: engine.all() for name, engine in engines.items()}
    evidence, place = wipe(unit, target)
    after = {name: engine.all() for name, engine in engines.items()}
    return Doubtful(nobodys, before, after, place, evidence)


def test_what_nobodys_sign_is_on_stays_and_is_told(doubtful):
    """She could have made it, and so could the provider: a doubt for good, and nothing is taken from anybody."""
    assert doubtful.after == doubtful.before
    assert (doubtful.place.state, doubtful.place.left) == ("residue", 8)
    for name in ENGINES:
        assert f"{name}: 3 unattributed, made since the grant" in (doubtful.place.reason or "")
        assert f"{name} has unattributed things made since the grant" in doubtful.evidence.findings
    assert doubtful.evidence.methods[0].status is WipeStatus.PARTIAL


def test_what_is_hers_and_a_neighbour_uses_stays_and_is_told(doubtful):
    """Taking it away would hurt him."""
    assert "docker: 1 the tenant's, in use by what is not" in (doubtful.place.reason or "")


def test_who_may_speak_to_an_engine_could_become_root(doubtful):
    """By the group of its socket."""
    assert "the tenant could use docker: he could become root" in doubtful.evidence.findings
    assert doubtful.evidence.reimage_recommended


STEP = r"""
import json, sys
from datetime import datetime
import msgspec
from agent.wiper.tenant.accounts import Tenant
from agent.wiper.system.ground import real_machine
from agent.wiper.steps import Subject
from agent.wiper.steps.containers import Containers
record, meant, *acts = json.loads(sys.argv[1])
subject = Subject(real_machine(), msgspec.convert(record, Tenant, strict=False), meant=frozenset(meant))
step = Containers(subject)
said = {}
for act in acts:
    if act == 'list':
        said[act] = [msgspec.to_builtins(one) for one in step.list()]
    else:
        said[act] = msgspec.to_builtins(step.erase(lambda done, of: None) if act == 'erase' else getattr(step, act)())
print(json.dumps(said))
"""


def step(unit: Unit, since: str, *acts: str, meant: list[str] | None = None) -> dict[str, Any]:
    """Take the step by itself, for a tenant who has no account."""
    record = {"name": "peggy", "uid": 5000, "home": "/home/peggy", "generation": "g", "booking_id": "b-3"}
    record |= {"command_id": "c", "granted_at": since}
    return json.loads(unit.machine.python(STEP, json.dumps([record, meant or [], *acts])))


def now(unit: Unit) -> str:
    return unit.machine.run("date", "--utc", "+%FT%T.%6NZ").strip()


def test_a_wipe_that_was_cut_off_in_the_middle_still_knows_the_rest(unit, engines, doubtful):
    """A container is gone, and with it what told that its volume and its image were the tenant's."""
    since = now(unit)
    for engine in engines.values():
        engine.image("peggy:1")
        engine.volume("peggys")
        container = engine.run("peggy:1", label("b-3"), "--volume=peggys:/seen")
        found = step(unit, since, "find")["find"]
        engine.tell("kill", container)
        engine.tell("rm", "--force", container)
        assert step(unit, since, "verify")["verify"]["state"] == "clean"
        said = step(unit, since, "verify", "erase", meant=found["meant"])
        assert (said["verify"]["state"], said["verify"]["left"], said["erase"]["removed"]) == ("residue", 2, 2)
        assert "peggys" not in engine.all()["volume"]


def test_a_group_of_containers_goes_as_a_whole(unit, engines, doubtful):
    """Podman removes the one that holds it together only with the others."""
    since, podman = now(unit), engines["podman"]
    infra = ("--infra", "--infra-image=bob:1", "--infra-command=/bin/sleep 1000", "--share=none")
    pod = podman.tell("pod", "create", *infra, "peggys")
    podman.run("bob:1", f"--pod={pod}", label("b-3"), "--volume=/seen")
    listed = step(unit, since, "list", "erase", "verify")
    assert [one["what"] for one in listed["list"] if one["goes"]] == ["container", "container", "container volume"]
    assert listed["erase"]["notes"] == []
    assert listed["verify"]["state"] == "clean"
    assert pod not in podman.tell("pod", "ls", "--quiet", "--no-trunc")


def test_what_containerd_holds_for_others_is_not_examined(unit, doubtful):
    """It can be spoken to without Docker."""
    unit.machine.run("ctr", "namespaces", "create", "default")
    said = step(unit, now(unit), "verify")["verify"]
    unit.machine.run("ctr", "namespaces", "remove", "default")
    assert said["state"] == "not_examined"
    assert said["reason"] == "cannot look into containerd: 1 namespaces of it are not Docker's"


def test_an_engine_without_its_tool_is_not_examined(unit, doubtful):
    """Its storage is still full."""
    tools = "/usr/bin/podman", "/usr/sbin/podman"
    for tool in tools:
        unit.machine.run("mv", tool, f"{tool}-away")
    said = step(unit, now(unit), "verify")["verify"]
    for tool in tools:
        unit.machine.run("mv", f"{tool}-away", tool)
    assert said["state"] == "not_examined"
    assert said["reason"] == "cannot look into podman: podman is not installed"


def test_an_engine_that_does_not_answer_is_not_examined(unit, doubtful):
    """It is stopped in the middle of everything: the look ends by itself."""
    unit.machine.run("systemctl", "kill", "--signal=STOP", "docker.service")
    started = time.monotonic()
    said = step(unit, now(unit), "verify")["verify"]
    unit.machine.run("systemctl", "kill", "--signal=CONT", "docker.service")
    assert said["state"] == "not_examined"
    assert said["reason"] == "cannot look into docker: docker does not answer"
    assert time.monotonic() - started < ASK_S + 15
