"""Files of known content, found by their content wherever somebody else put them."""

import os
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wiper.files.canaries import LONGEST, SHORTEST, content_of, is_canary, name_of, plant
from shared.documents import Target, WipeEvidence, WipeWork
from shared.records import WipeMethod, WipeStatus
from tests.agent.wiper.harness import Machine, Platform, Wiper

GENERATIONS = st.text("0123456789abcdef", min_size=32, max_size=32)
FOUND = "find /home /tmp /dev/shm -xdev -name '.rackproof-canary*' -user {} -printf '%p %u %m\\n' | sort"


@given(one=GENERATIONS, other=GENERATIONS)
def test_each_account_has_canaries_of_its_own(one: str, other: str) -> None:
    """Of its own length mostly, of its own content always; never empty."""
    assert SHORTEST <= len(content_of(one)) <= LONGEST
    assert content_of(one) == content_of(one)
    assert (content_of(one) == content_of(other)) == (one == other)


def test_the_tenant_is_told_what_it_is() -> None:
    """In the first lines."""
    assert b"you may delete it" in content_of("0" * 32)


def test_what_stands_there_already_stays(tmp_path) -> None:
    """A canary of a run that was cut off counts, anything else does not; neither is written over."""
    directory, content = os.open(tmp_path, os.O_RDONLY), content_of("a" * 32)
    try:
        assert plant(directory, "canary", content, None)
        assert plant(directory, "canary", content, None)
        (tmp_path / "other").write_text("mine")
        assert not plant(directory, "other", content, None)
        assert (tmp_path / "other").read_text() == "mine"
        (tmp_path / "link").symlink_to("canary")
        assert not plant(directory, "link", content, None)
    finally:
        os.close(directory)


@pytest.mark.parametrize("content", [b"", b"x" * SHORTEST, content_of("b" * 32)], ids=["empty", "other", "another's"])
def test_other_files_are_no_canaries(tmp_path, content: bytes) -> None:
    """Of the same length or not."""
    (tmp_path / "file").write_bytes(content)
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        assert not is_canary(directory, "file", (tmp_path / "file").lstat(), content_of("a" * 32))
    finally:
        os.close(directory)


@pytest.fixture
def wipe(root_wiper: Wiper, machine_platform: Platform) -> Callable[[Target], WipeEvidence]:
    def order(target: Target) -> WipeEvidence:
        work = WipeWork(target=target, methods=(WipeMethod.USER_DELETION,))
        return root_wiper.wipe(machine_platform.command(machine_platform.order(work)))

    return order


@pytest.mark.root
def test_a_tenant_gets_one_in_each_place(machine: Machine, root_wiper, machine_platform, wipe) -> None:
    """His own, which only he can read; and after the wipe none is left."""
    target = root_wiper.grant(machine_platform.grant("canary1"))
    name = name_of(target.generation)
    places = (f"/dev/shm/{name}", "/home/canary1/.rackproof-canary", f"/tmp/{name}")
    found = FOUND.format(target.uid)
    assert machine.run("sh", "-c", found).splitlines() == [f"{place} canary1 600" for place in places]
    evidence = wipe(target)
    assert (evidence.methods[0].status, machine.run("sh", "-c", found)) == (WipeStatus.SUCCESS, "")
    assert evidence.verification is not None
    assert (evidence.verification.canaries_planted, evidence.verification.canaries_found) == (3, 0)


@pytest.mark.root
def test_a_copy_of_somebody_elses_is_found_and_kept(machine: Machine, root_wiper, machine_platform, wipe) -> None:
    """A backup that root made of the home: no user id tells whose it was, so it is not touched, but told."""
    target = root_wiper.grant(machine_platform.grant("canary2"))
    machine.run("sh", "-c", "mkdir -p /var/backups/all && cp /home/canary2/.rackproof-canary /var/backups/all/1")
    evidence = wipe(target)
    assert evidence.methods[0].status is WipeStatus.PARTIAL
    assert evidence.methods[0].reasons == ("elsewhere: 1 copies of his canaries that others own",)
    assert evidence.verification is not None
    assert evidence.verification.canaries_found == 1
    assert machine.run("cat", "/var/backups/all/1").encode() == content_of(target.generation)
    machine.run("rm", "-r", "/var/backups/all")
