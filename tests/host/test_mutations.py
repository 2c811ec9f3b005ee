"""Each step counts: without any one of them the inspection from outside, or the wiper's own last look, finds something."""

import os
from pathlib import Path

import pytest

from agent.wiper.plan import plan
from shared.records import WipeMethod, WipeStatus
from tests.host.scene import Scene

pytestmark = [pytest.mark.root, pytest.mark.slow]

SMALL = ("100", "100")
TAKE_NOTHING = frozenset({"baseline", "sshd", "trim"})
"""They look, or tell devices what is free: each is tested where what it does can be seen."""
ON_MACHINES = frozenset({"gpus", "containers"})
"""Missed only where there is a GPU or an engine: tests/agent/wiper/test_gpu_wipes.py, tests/host/test_containers.py."""
STEPS = tuple(dict.fromkeys(one.step for one in plan(WipeMethod) if one.step not in TAKE_NOTHING | ON_MACHINES))
FEWER = {"login": WipeMethod.HOME_DIRECTORY_PURGE}
"""Where the account itself goes, its lock is not missed afterwards."""


def seen(tmp_path: Path, method: WipeMethod, without: str | None) -> tuple[set[str], WipeStatus]:
    """Return the kinds of residue found from outside after a wipe, and what the evidence says of it."""
    scene = Scene(tmp_path)
    try:
        planted = scene.plant("root", size=SMALL) if without is None else scene.plant(size=SMALL)
        stubborn = [mark for one in planted if one["stubborn"] for mark in one["marks"]]
        evidence = scene.wipe(method, without=without)
        residues = scene.look(method)["residues"]
    finally:
        scene.close()
    kinds = {one[0] for one in residues if not any(mark in f"{one[1]} {one[2]}" for mark in stubborn)}
    places = {place.name for place in evidence.places if place.state == "residue" and place.name != "held"}
    return kinds | places, evidence.methods[0].status


@pytest.fixture(autouse=True)
def _needs(missing) -> None:
    if os.geteuid() != 0:
        missing("root, to see this machine through a throw-away view")


@pytest.mark.parametrize("step", STEPS)
def test_without_a_step_something_is_left_and_told(tmp_path: Path, step: str) -> None:
    """And a wiper that lost one does not say success."""
    left, status = seen(tmp_path, FEWER.get(step, WipeMethod.USER_DELETION), step)
    print(step, sorted(left), status)
    assert left
    assert status is not WipeStatus.SUCCESS
