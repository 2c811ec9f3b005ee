"""What the agent keeps on disk: nothing is lost in silence, and no number comes twice."""

import os
import shutil
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from agent.database import Database
from agent.journal import Journal, State
from agent.outbox import Outbox
from shared.codes import Code, Trouble
from shared.envelope import Envelope, Signed
from shared.messages import Lost, Measured, Refused

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
INDICATORS = {"cpu": Measured(values={"use_percent": 3.5}, took_ms=1.0)}
ENVELOPE = Envelope(payload=b"{}", payloadType="t", signatures=(Signed(keyid="k", sig=b"s" * 64),))


@pytest.fixture
def database(tmp_path):
    """The agent's file in a directory of its own."""
    opened = Database(tmp_path / "agent.db")
    yield opened
    opened.close()


def test_reports_come_out_in_order_and_go_only_when_acknowledged(database):
    """`after` does not remove; `forget` does, up to a number."""
    outbox = Outbox(database)
    numbers = [outbox.add("boot", NOW, INDICATORS) for _ in range(5)]
    assert [one.seq for one in outbox.after(0, 3)] == numbers[:3]
    outbox.forget(numbers[2])
    assert [one.seq for one in outbox.after(0, 10)] == numbers[3:]
    assert outbox.after(0, 10)[0].indicators == INDICATORS


def test_numbers_never_repeat_even_after_everything_is_forgotten(tmp_path):
    """A number used again would be taken for a repeat by the collector, and the report lost."""
    first = Database(tmp_path / "agent.db")
    outbox = Outbox(first)
    last = [outbox.add("boot", NOW, INDICATORS) for _ in range(3)][-1]
    outbox.forget(last)
    first.close()
    second = Database(tmp_path / "agent.db")
    again = Outbox(second)
    assert again.add("boot", NOW, INDICATORS) == last + 1
    assert again.outbox_id == outbox.outbox_id
    second.close()


def test_a_full_outbox_drops_the_oldest_and_counts_them(database):
    """The newest reports are worth the most; the gap is told."""
    outbox = Outbox(database, capacity=3)
    for _ in range(5):
        outbox.add("boot", NOW, INDICATORS)
    assert [one.seq for one in outbox.after(0, 10)] == [3, 4, 5]
    assert (outbox.depth(), outbox.dropped()) == (3, 2)


def test_a_report_that_cannot_be_kept_is_given_a_number_whatever_the_disk_says(tmp_path):
    """The place that is asked for its room may be gone too."""
    folder = tmp_path / "state"
    folder.mkdir()
    opened = Database(folder / "agent.db")
    outbox = Outbox(opened)
    shutil.rmtree(folder)
    assert outbox.lose(Trouble(Code.STATE_UNWRITABLE, "disk I/O error")) == 1
    assert outbox.add("b", NOW, INDICATORS) == 2
    (report,) = outbox.after(0, 10)
    assert report.lost == (Lost(first=1, last=1, reason="disk_failed"),)
    opened.close()


def test_the_join_counter_survives(tmp_path):
    """It is on disk before the welcome's effect."""
    first = Database(tmp_path / "agent.db")
    Outbox(first).joined(7)
    first.close()
    second = Database(tmp_path / "agent.db")
    assert Outbox(second).join_counter() == 7
    second.close()


def test_a_second_agent_on_the_same_state_is_refused(database):
    """Two agents would send the same numbers for different reports."""
    with pytest.raises(Trouble) as caught:
        Database(database.path)
    assert caught.value.code is Code.ALREADY_RUNNING


def test_the_lock_goes_with_the_process_however_it_ends(tmp_path):
    """Kill -9 leaves no stale lock."""
    program = f"import time,pathlib; from agent.database import Database; d=Database(pathlib.Path({str(tmp_path)!r})/'agent.db'); print('open',flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"open\n"
    child.kill()
    child.wait()
    child.stdout.close()
    Database(tmp_path / "agent.db").close()


def test_a_file_that_is_no_database_is_corrupt_and_stays(tmp_path):
    """It may hold reports or answers that someone can still save."""
    path = tmp_path / "agent.db"
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(Trouble) as caught:
        Database(path)
    assert caught.value.code is Code.STATE_CORRUPT
    assert path.read_bytes().startswith(b"this is not")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_directory_that_cannot_be_written_says_so(tmp_path):
    """The code is stable, the words name the directory."""
    tmp_path.chmod(0o500)
    with pytest.raises(Trouble) as caught:
        Database(tmp_path / "agent.db")
    assert caught.value.code is Code.STATE_UNWRITABLE


def test_an_accepted_command_is_unfinished_until_it_is_answered(database):
    """In the order of the orders, over restarts."""
    journal = Journal(database)
    journal.accept("cmd_2", "d2", 2, "wipe", ENVELOPE)
    journal.accept("cmd_1", "d1", 1, "benchmark", ENVELOPE)
    journal.begin("cmd_1")
    assert [(one.command_id, one.state, one.attempts) for one in journal.unfinished()] == [
        ("cmd_1", State.RUNNING, 1),
        ("cmd_2", State.ACCEPTED, 0),
    ]


def test_an_answer_is_given_once(database):
    """A second answer to the same command never replaces the first."""
    journal = Journal(database)
    journal.accept("cmd_1", "d", 1, "wipe", ENVELOPE)
    first = Refused(command_id="cmd_1", code="busy", detail="first")
    journal.answer(first)
    journal.answer(Refused(command_id="cmd_1", code="busy", detail="second"))
    found = journal.find("cmd_1")
    assert found is not None
    assert found.answer == first
    assert [one.command_id for one in journal.unsettled()] == ["cmd_1"]
    journal.settle("cmd_1")
    assert journal.unsettled() == []
    assert journal.find("cmd_1").state is State.SETTLED


def test_a_receipt_for_a_command_without_an_answer_changes_nothing(database):
    """A collector that confirms too early does not make the agent forget."""
    journal = Journal(database)
    journal.accept("cmd_1", "d", 1, "wipe", ENVELOPE)
    journal.settle("cmd_1")
    assert [one.command_id for one in journal.unfinished()] == ["cmd_1"]


def test_every_commit_is_flushed(database):
    """`synchronous` is FULL (2): a number that was sent must not come again after a power cut."""
    with database.transaction() as sql:
        assert sql.execute("PRAGMA synchronous").fetchone() == (2,)
    assert isinstance(sql, sqlite3.Connection)
