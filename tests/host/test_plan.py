"""The dry run against the hostile tenant: it changes nothing, and what it says is what the wipe then does."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.records import WipeMethod
from tests.host.scene import Scene

pytestmark = [pytest.mark.root, pytest.mark.slow]

TIMES = """
import hashlib, json, os, stat
from agent.wiper.system.kernel import clone_of_mount
from agent.wiper.system.mountinfo import current, to_look_at
from agent.wiper.system.walk import Tour
found = hashlib.sha256()
for mount in to_look_at(current())[0]:
    try:
        top = clone_of_mount(mount.point)
        fd = os.open('.', os.O_RDONLY | os.O_DIRECTORY, dir_fd=top)
    except OSError:
        continue
    tour = Tour(fd)
    # What other machines of these tests leave in the real one below is no change here.
    seen = [one for one in tour if not tour.path.startswith('run/systemd/nspawn/') and one.name != 'propagate']
    for directory, name, facts, left in sorted(seen, key=lambda one: (one.facts.st_dev, one.facts.st_ino, one.name)):
        if not stat.S_ISCHR(facts.st_mode):  # a terminal's times are those of its use
            found.update(repr((name, facts.st_mode, facts.st_uid, facts.st_ctime_ns, facts.st_mtime_ns, facts.st_size)).encode())
print(found.hexdigest())
"""

STANDING = """
import json, os, sys
print(json.dumps([one for one in json.load(sys.stdin) if os.path.lexists(os.fsencode(one.encode('utf-8', 'surrogateescape')))]))
"""
FILES = {
    "file",
    "directory",
    "his key file",
    "unit or drop-in about him",
    "schedule of his",
    "core dump or crash report",
}
FILES |= {"path of the home", "namespace"}


@pytest.fixture
def scene(tmp_path: Path, missing) -> Iterator[Scene]:
    if os.geteuid() != 0:
        missing("root, to see this machine through a throw-away view")
    made = Scene(tmp_path)
    yield made
    made.close()


def path_of(shown: str) -> str:
    """Return the path that is shown with what is not printable escaped."""

    def plain(found: re.Match[str]) -> str:
        escape = found[0]
        if escape.startswith("\\x"):
            return os.fsdecode(bytes.fromhex(escape[2:]))
        return escape.encode().decode("unicode_escape")

    return re.sub(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|[nrt\\])", plain, shown)


def standing(scene: Scene, items: list[dict[str, Any]]) -> set[str]:
    """Return which of these are there, looked at from within the machine."""
    paths = sorted({path_of(one["where"]) for one in items if one["what"] in FILES})
    short = [one for one in paths if len(os.fsencode(one)) < 4000]
    return set(json.loads(scene.machine.python(STANDING, given=json.dumps(short))))


def state_of(scene: Scene) -> dict[str, tuple[int, int, bytes]]:
    files = (one for one in scene.state.iterdir() if one.is_file())
    return {one.name: (one.stat().st_mtime_ns, one.stat().st_ctime_ns, one.read_bytes()) for one in files}


@pytest.mark.parametrize("method", list(WipeMethod))
def test_what_the_plan_says_is_what_the_wipe_does(scene: Scene, method: WipeMethod) -> None:
    """What goes was there and is gone; what stays was there and is there."""
    scene.plant("root")
    items, summary = scene.plan(method)
    going = [one for one in items if one["goes"]]
    staying = [one for one in items if not one["goes"]]
    before = standing(scene, items)
    evidence = scene.wipe(method)
    after = standing(scene, items)
    paths = {path_of(one["where"]) for one in going if one["what"] in FILES}
    assert after & paths == set()
    assert len(before & paths) > (5000 if method is not WipeMethod.SSH_KEY_REMOVAL else 0), len(before)
    assert {path_of(one["where"]) for one in staying if one["what"] in FILES} <= after
    assert summary["would_be"] == "carried_out"
    assert summary["code"] is None
    assert set(summary["places"]) == {one.name for one in evidence.places}


def test_the_plan_changes_nothing(scene: Scene) -> None:
    """No file of the machine has another time or owner than before, no neighbour is harmed, no byte of the state moved."""
    scene.plant()
    # As where sshd is installed and does not run: asking it must not make what it misses.
    scene.machine.run("rm", "-rf", "/run/sshd")
    times, state = scene.machine.python(TIMES), state_of(scene)
    items, _ = scene.plan(WipeMethod.USER_DELETION)
    assert scene.machine.python(TIMES) == times
    assert state_of(scene) == state
    assert scene.look(WipeMethod.USER_DELETION)["damages"] == []
    assert len(items) > 5000


def test_of_a_tenant_with_root_the_plan_tells_what_others_hold(scene: Scene) -> None:
    """That stays; of the rest the wipe leaves nothing of what the plan said would go."""
    scene.plant()
    items, summary = scene.plan(WipeMethod.USER_DELETION)
    staying = {one["place"] for one in items if not one["goes"]}
    paths = {path_of(one["where"]) for one in items if one["what"] in FILES and one["goes"]}
    evidence = scene.wipe(WipeMethod.USER_DELETION)
    assert standing(scene, items) & paths == set()
    left = {one.name for one in evidence.places if one.state not in {"clean", "not_applicable"}}
    assert staying == left == {"held", "baseline"}, (staying, left)
    found = {one.name: one.found for one in evidence.places}
    for place in ("login", "keys", "schedules", "ipc", "namespaces", "dumps", "account"):
        assert summary["places"][place]["goes"] == found[place], place
    # Some of his processes start others all the time, so their number is another at each look.
    assert summary["places"]["processes"]["goes"] > 10 < found["processes"]
