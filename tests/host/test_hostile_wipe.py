"""The whole program against the hostile tenant, judged by the inspection from outside and by what others still have."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.records import WipeMethod, WipeStatus
from tests.host.machines import Machine as Booted
from tests.host.scene import Scene, fresh_uid
from tests.host.trial import Trial

pytestmark = [pytest.mark.root, pytest.mark.slow]


LEFT = {"held", "baseline"}
"""What a tenant with root leaves that only others could end, and what he changed that names nobody."""


@pytest.fixture
def scene(tmp_path: Path, missing) -> Iterator[Scene]:
    if os.geteuid() != 0:
        missing("root, to see this machine through a throw-away view")
    made = Scene(tmp_path)
    yield made
    made.close()


def residues(seen: dict[str, Any], planted: list[dict[str, Any]]) -> list[Any]:
    """Return what is left, without what nobody can remove without harming others."""
    stubborn = [mark for one in planted if one["stubborn"] for mark in one["marks"]]
    assert seen["unseen"] == []
    return [one for one in seen["residues"] if not any(mark in f"{one[1]} {one[2]}" for mark in stubborn)]


def test_of_everything_that_a_tenant_with_root_can_leave_nothing_is_left(scene: Scene) -> None:
    """Nothing of others is harmed, and the evidence tells that nothing on such a machine proves anything."""
    planted = scene.plant()
    assert sum(one["state"] == "set" for one in planted) >= 60, planted
    evidence = scene.wipe(WipeMethod.USER_DELETION)
    seen = scene.look(WipeMethod.USER_DELETION)
    assert seen["damages"] == []
    assert residues(seen, planted) == []
    (result,) = evidence.methods
    assert result.status is WipeStatus.PARTIAL, (result, evidence.places)
    assert any("had root" in reason for reason in result.reasons)
    places = {one.name: one for one in evidence.places}
    assert places["held"].state == "residue"
    assert {name for name, one in places.items() if one.state not in {"clean", "not_applicable"}} == LEFT


@pytest.mark.parametrize("method", list(WipeMethod))
def test_of_a_tenant_without_root_nothing_that_the_method_promises_is_left(scene: Scene, method: WipeMethod) -> None:
    """And the evidence says success."""
    planted = scene.plant("root")
    evidence = scene.wipe(method)
    seen = scene.look(method)
    assert seen["damages"] == []
    assert residues(seen, planted) == []
    assert [one.status for one in evidence.methods] == [WipeStatus.SUCCESS], evidence.methods


def test_nothing_is_left_on_a_booted_machine_either(machine: Booted) -> None:
    """The same through the shipped units, whose sandbox must not blind the wiper."""
    trial = Trial(machine, fresh_uid())
    evidence = trial.evidence(trial.ask())
    assert trial.damages() == frozenset()
    assert residues({"residues": trial.residues(), "unseen": []}, trial.planted) == []
    (result,) = evidence.methods
    assert result.status is WipeStatus.PARTIAL, (result, evidence.places)
    bad = {one.name for one in evidence.places if one.state not in {"clean", "not_applicable"}}
    assert bad == LEFT, evidence.places
