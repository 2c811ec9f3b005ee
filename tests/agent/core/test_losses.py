"""What the agent could not keep: each report has its number, and the collector is told which, and why."""

from datetime import UTC, datetime

import pytest

from agent.database import Database
from agent.losses import ROOM_BYTES, Losses
from agent.outbox import Outbox
from shared.codec import decode, encode
from shared.codes import Code, Trouble
from shared.messages import MOST_LOST, Lost, Measured

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
INDICATORS = {"cpu": Measured(values={"use_percent": 3.5}, took_ms=1.0)}
FULL = Trouble(Code.STATE_UNWRITABLE, "agent.db: database or disk is full")
FAILED = Trouble(Code.STATE_UNWRITABLE, "agent.db: disk I/O error")


@pytest.fixture
def database(tmp_path):
    """The agent's file in a directory of its own."""
    opened = Database(tmp_path / "agent.db")
    yield opened
    opened.close()


def lost(*ranges) -> tuple[Lost, ...]:
    return tuple(Lost(first=first, last=last, reason=reason) for first, last, reason in ranges)


def test_a_report_that_cannot_be_kept_has_a_number_that_is_told_with_the_next_one(database):
    """Over a restart too, until the collector has it."""
    outbox = Outbox(database)
    assert outbox.add("b", NOW, INDICATORS) == 1
    assert [outbox.lose(FULL), outbox.lose(FULL), outbox.lose(FAILED)] == [2, 3, 4]
    outbox = Outbox(database)
    assert outbox.add("b", NOW, INDICATORS) == 5
    first, second = outbox.after(0, 10)
    assert (first.seq, first.lost) == (1, ())
    assert (second.seq, second.lost) == (5, lost((2, 3, "disk_full"), (4, 4, "disk_failed")))
    assert decode(encode(second)) == second
    outbox.forget(1)
    assert outbox.after(0, 10)[0].lost == second.lost
    outbox.forget(5)
    assert outbox.add("b", NOW, INDICATORS) == 6
    assert Outbox(database).after(0, 10)[0].lost == ()


def test_a_number_is_never_given_twice_after_losses_and_restarts(database):
    """The last one may have been lost."""
    numbers = []
    for _ in range(3):
        outbox = Outbox(database)
        numbers += [outbox.add("b", NOW, INDICATORS), outbox.lose(FULL), outbox.lose(FULL)]
        outbox.forget(numbers[-3])
    assert numbers == list(range(1, 10))


def test_reports_dropped_for_want_of_room_are_told_with_the_oldest_that_is_left(database):
    """One range, however long it grows."""
    outbox = Outbox(database, capacity=3)
    for _ in range(9):
        outbox.add("b", NOW, INDICATORS)
    oldest, *others = outbox.after(0, 10)
    assert (oldest.seq, oldest.lost) == (7, lost((1, 6, "outbox_full")))
    assert [one.lost for one in others] == [(), ()]
    assert outbox.dropped() == 6


def test_the_age_of_a_report_is_told_by_a_clock_that_only_counts(database):
    """Of this boot; another boot's clock began anew."""
    clock = [1_000.0]
    outbox = Outbox(database, boot_id="b", clock=lambda: clock[0])
    outbox.add("older", NOW, INDICATORS)
    outbox.add("b", NOW, INDICATORS)
    clock[0] += 3_600.5
    assert [one.age_s for one in outbox.after(0, 10)] == [None, 3_600.5]


def test_the_room_for_losses_is_taken_beforehand(tmp_path):
    """What is written later needs none, so that a full disk cannot keep it from being written."""
    path = tmp_path / "losses"
    losses = Losses(path)
    assert path.stat().st_size == ROOM_BYTES
    for number in range(1, 500):
        losses.add(number * 10**15, number * 10**15, "disk_failed")
    assert path.stat().st_size == ROOM_BYTES
    assert len(Losses(path).before(499 * 10**15 + 1)) == 1


def test_past_the_most_the_oldest_losses_go(tmp_path):
    """A report never carries more than a message may."""
    losses = Losses(tmp_path / "losses")
    for number in range(1, MOST_LOST + 10):
        losses.add(number, number, "disk_full" if number % 2 else "disk_failed")
    told = losses.before(MOST_LOST + 10)
    assert (len(told), told[0].first, told[-1].last) == (MOST_LOST, 10, MOST_LOST + 9)


@pytest.mark.parametrize("content", [b"not json", b"[[1]]", b"\x00" * 4096, b""])
def test_a_file_that_cannot_be_read_costs_only_the_reasons(tmp_path, content):
    """The agent starts, and goes on with new ones."""
    path = tmp_path / "losses"
    path.write_bytes(content)
    losses = Losses(path)
    losses.add(3, 3, "disk_full")
    assert Losses(path).before(4) == lost((3, 3, "disk_full"))


def test_ranges_that_touch_become_one_and_those_within_are_taken_in(tmp_path):
    """The reports around an older loss were dropped later."""
    losses = Losses(tmp_path / "losses")
    losses.add(5, 6, "disk_full")
    losses.add(1, 9, "outbox_full")
    losses.add(10, 10, "outbox_full")
    assert losses.before(11) == lost((1, 10, "outbox_full"))
    assert losses.before(12) == ()
