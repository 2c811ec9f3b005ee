"""Whatever is read of a machine, its report can be sent: one that cannot would hold up all that come after it."""

from datetime import UTC, datetime

import pytest

from agent.database import Database
from agent.fitting import MOST_BYTES
from agent.outbox import Outbox
from shared.codec import decode, encode
from shared.messages import MAX_MESSAGE_BYTES, MOST_LOST, Failed, LossReason, Measured

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
CPU = Measured(values={"use_percent": 3.5}, took_ms=1.0)
LARGE = Measured(values={f"reading_{n}": {"x" * 280 + str(m): 1 for m in range(64)} for n in range(6)}, took_ms=2.0)


@pytest.fixture
def outbox(tmp_path):
    """An outbox in a directory of its own."""
    opened = Database(tmp_path / "agent.db")
    yield Outbox(opened)
    opened.close()


def test_a_report_too_large_for_a_frame_is_sent_without_its_largest_part(outbox):
    """The part is told as failed, with its size; the rest is as it was read."""
    outbox.add("boot", NOW, {"cpu": CPU, "disks": LARGE})
    (report,) = outbox.after(0, 10)
    sent = decode(encode(report))
    assert sent.indicators["cpu"] == CPU
    assert isinstance(sent.indicators["disks"], Failed)
    assert f"of the {MOST_BYTES:,} there are" in sent.indicators["disks"].error
    assert sent.indicators["disks"].took_ms == LARGE.took_ms


def test_there_is_room_for_as_many_losses_as_can_be_told(outbox):
    """The largest report that is kept as it is, after the most and longest ranges of lost numbers."""
    for n in range(MOST_LOST):
        reason = (LossReason.DISK_FAILED, LossReason.OUTBOX_FULL)[n % 2]
        first = 2**62 + n * 2**40
        outbox._losses.add(first, first + 2**40 - 1, reason)
    outbox._last_seq = outbox._losses.last
    text = {f"text_{n:02}": "t" * 1900 for n in range(29)}
    outbox.add("b" * 80, NOW, {"cpu": Measured(values=text, took_ms=1.0)})
    (report,) = outbox.after(0, 10)
    assert len(report.lost) == MOST_LOST
    assert report.indicators["cpu"].values == text
    assert len(encode(report)) <= MAX_MESSAGE_BYTES


@pytest.mark.parametrize(
    "value",
    ["t" * 2001, {"i" * 301: 1}, {"a\ud800b": 1}, "\udcff", {"n\x00" * 200: "x"}, object()],
    ids=["long text", "long name", "surrogate in a name", "surrogate", "long with NUL", "no value"],
)
def test_what_the_wire_has_no_form_for_is_told_as_failed(outbox, value):
    """It costs the indicator, and not the agent's way to the collector."""
    outbox.add("boot", NOW, {"cpu": CPU, "disks": Measured(values={"used": value}, took_ms=1.0)})
    (report,) = outbox.after(0, 10)
    sent = decode(encode(report))
    assert sent.indicators["cpu"] == CPU
    assert isinstance(sent.indicators["disks"], Failed)
    assert "cannot be sent" in sent.indicators["disks"].error
