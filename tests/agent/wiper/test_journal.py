"""The journal: whole after a crash, noticed when changed, refused when it cannot be written."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.wiper.history import read
from agent.wiper.journal import Answered, AttemptStarted, Journal, OrderTaken
from shared.codes import Code, Trouble
from tests.agent.wiper.harness import ENVELOPE

AT = datetime(2026, 1, 1, tzinfo=UTC)
TAKEN = OrderTaken(command_id="c1", sha256="d", envelope=ENVELOPE, seq=7, kind="wipe", generation="g")

WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from agent.wiper.journal import Answered, Journal
journal = Journal(Path(sys.argv[1]))
while True:
    number = len(journal.entries)
    journal.append(datetime.now(UTC), *(Answered(command_id=f"c{number}", sha256="d", message=b"x" * 3000),) * 2)
    print(number + 2, flush=True)
"""


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    """With the same digest, after it was opened again."""
    journal = Journal(tmp_path / "j")
    journal.append(AT, TAKEN)
    journal.append(AT + timedelta(hours=1), AttemptStarted(command_id="c1", boot_id="b"))
    head = journal.head
    journal.close()
    again = Journal(tmp_path / "j")
    assert again.head == head
    past = read(again.entries)
    assert past.highest_seq == 7
    assert past.time_floor == AT
    assert past.wipes_taken_at == (AT,)
    assert not past.commands["c1"].touched
    again.close()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entry SET fact = CAST(replace(fact, 'wipe', 'kept') AS BLOB) WHERE number = 1",
        "UPDATE entry SET at = '2020-01-01T00:00:00+00:00' WHERE number = 1",
        "DELETE FROM entry WHERE number = 1",
        "UPDATE entry SET number = 3 WHERE number = 2",
    ],
)
def test_a_changed_journal_is_noticed(tmp_path: Path, change: str) -> None:
    """Edited, thinned out or reordered: nothing is done on it."""
    journal = Journal(tmp_path / "j")
    journal.append(AT, TAKEN, Answered(command_id="c1", sha256="d", message=b"m"))
    journal.close()
    with sqlite3.connect(tmp_path / "j") as db:
        db.execute(change)
    db.close()
    with pytest.raises(Trouble) as caught:
        Journal(tmp_path / "j")
    assert caught.value.code is Code.STATE_CORRUPT


def test_a_file_that_is_no_journal_is_noticed(tmp_path: Path) -> None:
    """It is not replaced by an empty one."""
    (tmp_path / "j").write_bytes(b"garbage" * 1000)
    with pytest.raises(Trouble) as caught:
        Journal(tmp_path / "j")
    assert caught.value.code is Code.STATE_CORRUPT


def test_a_journal_without_a_place_is_refused(tmp_path: Path) -> None:
    """Its directory is missing."""
    with pytest.raises(Trouble) as caught:
        Journal(tmp_path / "none" / "j")
    assert caught.value.code is Code.JOURNAL_UNWRITABLE


def test_a_killed_writer_loses_nothing_it_reported(tmp_path: Path) -> None:
    """Every append is whole: what was announced is there, pairs are never torn, the digests fit."""
    chance = random.Random(1)
    for _ in range(4):
        argv = [sys.executable, "-c", WRITER, str(tmp_path / "j")]
        writer = subprocess.Popen(argv, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(Path.cwd())})
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(chance.uniform(0, 0.15))
        writer.send_signal(signal.SIGKILL)
        announced = writer.stdout.read().split()
        writer.wait()
        writer.stdout.close()
        journal = Journal(tmp_path / "j")
        assert len(journal.entries) >= int(announced[-1] if announced else 2)
        assert len(journal.entries) % 2 == 0
        journal.close()
