"""Which directories a wipe would take away, known from a walk alone; and the walk that it is known from."""

import os
from pathlib import Path

import pytest

from agent.wiper.files.listing import Listing
from agent.wiper.system.walk import MAX_OPEN, Tour

KEPT = 3
"""Bytes in a file that is to stay."""


def listed(top: Path) -> dict[str, str | None]:
    """Return each name that a listing tells, with why it stays; files of `KEPT` bytes do."""
    listing = Listing(lambda facts: facts.st_size != KEPT, lambda _: True, lambda *_: 0)
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    found = {}
    try:
        tour = Tour(fd)
        for sight in tour:
            item = listing.item(sight, tour.depth)
            if item is not None:
                found[f"{tour.path}{sight.name}"] = item[1]
    finally:
        os.close(fd)
    return found


def test_a_directory_stays_where_something_in_it_stays(tmp_path: Path) -> None:
    """At any depth; its neighbours go."""
    for path in ("a/b/c", "a/d", "e/f"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "a/b/c/kept").write_bytes(b"x" * KEPT)
    (tmp_path / "a/d/gone").write_bytes(b"")
    found = listed(tmp_path)
    assert {name for name, why in found.items() if why} == {"a", "a/b", "a/b/c", "a/b/c/kept"}
    assert {name for name, why in found.items() if why is None} == {"a/d", "a/d/gone", "e", "e/f"}


def test_a_directory_that_cannot_be_entered_keeps_those_above_it(tmp_path: Path) -> None:
    """It is never told to go: nobody knows what is in it."""
    (tmp_path / "a/shut").mkdir(parents=True)
    shut = (tmp_path / "a/shut").stat()
    listing = Listing(lambda _: True, lambda _: True, lambda *_: 0)
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    tour = Tour(fd, skip={(shut.st_dev, shut.st_ino)})
    found = [(sight.name, listing.item(sight, tour.depth)) for sight in tour]
    os.close(fd)
    assert found == [("a", None), ("shut", None), ("a", ("directory", "something that stays is in it"))]


@pytest.mark.parametrize("levels", [1, MAX_OPEN - 1, MAX_OPEN + 1, 3 * MAX_OPEN])
def test_paths_are_whole_at_any_depth(tmp_path: Path, levels: int) -> None:
    """Also of directories that were closed meanwhile and opened again."""
    deepest = tmp_path.joinpath(*["d"] * levels)
    deepest.mkdir(parents=True)
    (deepest / "file").touch()
    expected = {"/".join(["d"] * level) for level in range(1, levels + 1)} | {f"{'d/' * levels}file"}
    assert set(listed(tmp_path)) == expected


def test_a_walk_that_is_given_up_keeps_nothing_open(tmp_path: Path) -> None:
    """Whoever has seen enough leaves no descriptor behind."""
    (tmp_path / "a/b").mkdir(parents=True)
    before = len(list(Path("/proc/self/fd").iterdir()))
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    sights = iter(Tour(fd))
    next(sights)
    next(sights)
    sights.close()  # type: ignore[attr-defined]
    os.close(fd)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
