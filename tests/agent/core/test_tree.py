"""Files in the place of which somebody put something else hold nobody up."""

import errno
import os

import pytest

from agent.host.tree import MOST_BYTES, Tree


def test_a_pipe_in_the_place_of_a_file_is_empty(tmp_path):
    """Opening it as a file would wait for a writer that never comes."""
    os.mkfifo(tmp_path / "state")
    assert Tree().text(f"{tmp_path}/state") == ""


def test_a_file_beyond_all_measure_is_an_error(tmp_path):
    """It is not read into the memory of a machine that has to go on."""
    with (tmp_path / "state").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
        Tree().text(f"{tmp_path}/state")
    assert len(Tree().tail(f"{tmp_path}/state", 100)) == 100


def test_a_large_file_is_read_whole(tmp_path):
    """Up to the limit."""
    (tmp_path / "state").write_bytes(b"x" * MOST_BYTES)
    assert len(Tree().text(f"{tmp_path}/state")) == MOST_BYTES
