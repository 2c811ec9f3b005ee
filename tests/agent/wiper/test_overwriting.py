"""What is written over before it is unlinked, and what never is."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.wiper.blocks.overwriting import CHUNK_BYTES, Overwriter


@pytest.fixture
def overwrite(tmp_path: Path) -> Iterator[Callable[..., Overwriter]]:
    """Overwrites names in a directory whose files belong to whoever runs this."""
    directory = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)

    def all_of(*names: str, owner: int = os.geteuid()) -> Overwriter:
        overwriter = Overwriter(lambda uid: uid == owner, lambda: None)
        for name in names:
            overwriter.overwrite(directory, name)
        overwriter.settle(directory)
        return overwriter

    yield all_of
    os.close(directory)


def test_all_of_a_file_is_written_over(tmp_path: Path, overwrite) -> None:
    """Its length stays; more than one chunk, and an odd end."""
    size = CHUNK_BYTES + 777
    (tmp_path / "large").write_bytes(b"x" * size)
    overwriter = overwrite("large")
    assert (tmp_path / "large").read_bytes() == bytes(size)
    assert (overwriter.bytes, overwriter.failed) == (size, 0)


def test_holes_cost_nothing(tmp_path: Path, overwrite) -> None:
    """Of a terabyte only the two parts that were written."""
    with (tmp_path / "sparse").open("wb") as file:
        file.write(b"x" * 4096)
        file.seek(2**30)
        file.write(b"x" * 4096)
        file.truncate(2**40)
    overwriter = overwrite("sparse")
    assert 8192 <= overwriter.bytes < 2**20
    with (tmp_path / "sparse").open("rb") as file:
        assert file.read(4096) == bytes(4096)
        file.seek(2**30)
        assert file.read(4096) == bytes(4096)


def test_a_file_with_another_name_is_never_written(tmp_path: Path, overwrite) -> None:
    """It may be somebody else's."""
    (tmp_path / "one").write_text("precious")
    os.link(tmp_path / "one", tmp_path / "two")
    assert overwrite("one").bytes == 0
    assert (tmp_path / "two").read_text() == "precious"


def test_what_a_link_leads_to_is_never_written(tmp_path: Path, overwrite) -> None:
    """Nor is it counted as a failure: a link has no content to write over."""
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "link").symlink_to("precious")
    overwriter = overwrite("link")
    assert (overwriter.bytes, overwriter.failed) == (0, 0)
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_file_of_another_owner_is_never_written(tmp_path: Path, overwrite) -> None:
    """Whoever put it there."""
    (tmp_path / "foreign").write_text("precious")
    assert overwrite("foreign", owner=os.geteuid() + 1).bytes == 0
    assert (tmp_path / "foreign").read_text() == "precious"


def test_what_is_no_file_is_never_opened(tmp_path: Path, overwrite) -> None:
    """A fifo, which would hang, a directory, and a name that is gone."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    done: list[Overwriter] = []
    thread = threading.Thread(target=lambda: done.append(overwrite("fifo", "folder", "gone")), daemon=True)
    thread.start()
    thread.join(5)
    assert [(one.bytes, one.failed) for one in done] == [(0, 1)]


def test_a_large_file_is_brought_to_the_disk_in_parts(tmp_path: Path) -> None:
    """On a machine with much memory one flush at the end takes longer than a step may be silent."""
    (tmp_path / "large").write_bytes(b"x" * 9 * CHUNK_BYTES)
    owner, directory = os.geteuid(), os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    overwriter = Overwriter(lambda uid: uid == owner, lambda: None, flush_bytes=4 * CHUNK_BYTES)
    overwriter.overwrite(directory, "large")
    assert overwriter.bytes == 8 * CHUNK_BYTES
    overwriter.settle(directory)
    assert overwriter.bytes == 9 * CHUNK_BYTES
    os.close(directory)
