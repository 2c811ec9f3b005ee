"""What becomes of the kernel's messages over reads, gaps, restarts and boots."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.gpu.child import GpuChild
from agent.host import BEFORE_ALL, KernelMessage, KernelPosition
from agent.host.linux import LinuxHost
from agent.host.recorded import RecordedHost
from agent.indicators import NotHere, Reading
from agent.indicators.kernel_log import (
    KEPT_EVERY,
    MOST_ITEMS,
    MOST_RECENT,
    Tally,
    read,
    recalled,
    tallied,
    values_of,
    worth_keeping,
)
from shared.messages import Values

RECORDINGS = Path(__file__).parents[2] / "host" / "recordings"
LOST = "NVRM: Xid (PCI:0000:05:00): 79, GPU has fallen off the bus."
EMPTY = Tally(boot_id="b", boot_at_s=1_700_000_000)


def said(*texts: str, first: int = 0, facility: int = 0) -> list[KernelMessage]:
    return [
        KernelMessage(sequence=first + n, at_us=(first + n) * 1_000_000, facility=facility, text=text)
        for n, text in enumerate(texts)
    ]


class Keeping(RecordedHost):
    """A recorded machine that keeps things over a restart of the agent, and whose log grows."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.kept: dict[str, bytes] = {}
        self.log: list[KernelMessage] = []

    def kernel_messages(self, after: KernelPosition) -> Iterator[KernelMessage]:
        return (message for message in self.log if message.sequence > after.sequence)

    def keep(self, name: str, content: bytes) -> None:
        self.kept[name] = content

    def recall(self, name: str) -> bytes | None:
        return self.kept.get(name)


@pytest.fixture
def keeping() -> Keeping:
    return Keeping(RECORDINGS / "plain-vm")


def reading(host: RecordedHost, kept: object = None) -> Reading:
    found = read(host, kept)  # type: ignore[arg-type]
    assert isinstance(found, Reading)
    return found


def test_what_programs_write_into_the_log_is_not_the_kernel_s() -> None:
    """The same line, once by the kernel and once with a program's facility."""
    assert values_of(tallied(EMPTY, said(LOST)))["xid_reboot"] == {"0000:05:00.0": 1}
    assert "xid_reboot" not in values_of(tallied(EMPTY, said(LOST, facility=1)))


def test_a_gap_in_the_numbers_is_counted_as_lost() -> None:
    """Before the first message, and between two; what programs wrote closes it as well."""
    tally = tallied(EMPTY, said("a", first=5) + said("b", first=6, facility=3) + said("c", first=10))
    assert (tally.lost, tally.position) == (8, KernelPosition(10, 10_000_000))
    assert values_of(tally)["messages_lost"] == 8


def test_reading_in_parts_gives_the_same_as_at_once() -> None:
    """Wherever a read was cut off."""
    messages = said(LOST, "a", LOST, "Out of memory: Killed process 1 (x) total-vm:1kB", first=3)
    for cut in range(len(messages) + 1):
        assert tallied(tallied(EMPTY, messages[:cut]), messages[cut:]) == tallied(EMPTY, messages)


def test_devices_beyond_those_there_is_room_for_are_one() -> None:
    """A report stays small whatever breaks, and nothing goes uncounted."""
    lines = [f"I/O error, dev sd{chr(97 + n // 26)}{chr(97 + n % 26)}, sector 1 op 0x0" for n in range(100)]
    values = values_of(tallied(EMPTY, said(*lines)))
    errors = values["io_errors"]
    assert isinstance(errors, dict)
    assert len(errors) == MOST_ITEMS + 1
    assert sum(errors.values()) == 100  # type: ignore[arg-type]
    assert len(values["recent"]) == MOST_RECENT  # type: ignore[arg-type]


def test_a_flood_of_one_event_leaves_the_others_visible() -> None:
    """The same words again only move to their newest time."""
    values = values_of(tallied(EMPTY, said(LOST, *["I/O error, dev sda, sector 1 op 0x0"] * 50)))
    assert values["recent"] == {
        "2023-11-14T22:13:20.000000Z": "0000:05:00.0: Xid 79, GPU has fallen off the bus",
        "2023-11-14T22:14:10.000000Z": "sda: I/O error",
    }
    assert values["xid_last"] == {"0000:05:00.0": "79: GPU has fallen off the bus, at 2023-11-14 22:13:20 UTC"}


def test_an_event_that_comes_again_is_among_the_latest() -> None:
    """Though it was the first of many."""
    others = [f"I/O error, dev sd{chr(97 + n)}, sector 1 op 0x0" for n in range(MOST_RECENT)]
    recent = values_of(tallied(EMPTY, said(LOST, *others, LOST)))["recent"]
    assert isinstance(recent, dict)
    assert list(recent.values())[-1] == "0000:05:00.0: Xid 79, GPU has fallen off the bus"
    assert len(recent) == MOST_RECENT


def test_a_restart_gives_the_same_counts_though_the_log_was_overwritten(keeping: Keeping) -> None:
    """And goes on from there: what was counted before is not counted twice, what was read is not called lost."""
    keeping.log = said(LOST, "a", LOST)
    before = reading(keeping)
    keeping.log = said(LOST, first=3)
    after = reading(keeping)
    assert before.values["xid_reboot"] == {"0000:05:00.0": 2}
    assert after.values["xid_reboot"] == {"0000:05:00.0": 3}
    assert after.values["messages_lost"] == 0


def test_a_restart_gives_the_same_report_when_nothing_happened(keeping: Keeping) -> None:
    """Down to the times."""
    keeping.log = said(LOST, "a", LOST)
    assert reading(keeping).values == reading(keeping).values


def test_what_was_kept_of_another_boot_is_not_counted(keeping: Keeping) -> None:
    """Counts are since boot; nor is a file taken that is none."""
    keeping.log = said(LOST)
    kept = reading(keeping).kept.tally
    assert recalled(msgspec.json.encode(kept), kept.boot_id) == kept
    assert recalled(msgspec.json.encode(kept), "another") is None
    for spoilt in (b"", b"{", b"[]", b'{"boot_id": 5}', b"\xff\xfe"):
        assert recalled(spoilt, kept.boot_id) is None


def test_what_is_worth_keeping() -> None:
    """Every new event and every loss; else only now and then, so that an idle machine writes nothing."""
    stored = tallied(EMPTY, said(LOST))
    assert worth_keeping(EMPTY, None)
    assert worth_keeping(stored, EMPTY)
    assert not worth_keeping(tallied(stored, said("a", first=1)), stored)
    assert worth_keeping(tallied(stored, said("a", first=2)), stored)
    assert worth_keeping(tallied(stored, said(*["a"] * KEPT_EVERY, first=1)), stored)


def test_an_idle_read_keeps_nothing(keeping: Keeping) -> None:
    """One file at the start, none after it."""
    keeping.log = said("a")
    first = reading(keeping)
    keeping.kept.clear()
    reading(keeping, first.kept)
    assert keeping.kept == {}


def test_a_machine_without_a_log_says_so(bench: Callable) -> None:
    """Not a failure: most containers have none."""
    machine = bench("plain-vm")
    machine.remove("/dev/kmsg")
    assert read(machine.host, None) == NotHere("no kernel log was recorded")


def test_a_recording_is_read_from_the_beginning_and_then_on(bench: Callable) -> None:
    """Like the log itself; lines that are no records are none of its messages."""
    machine = bench("plain-vm")
    machine.write(
        "/dev/kmsg", f"4,0,100,-;{LOST}\n SUBSYSTEM=pci\nnonsense\n\n4,1,200,-,caller=T1;{LOST}\n12,2,300,-;{LOST}\n"
    )
    first = reading(machine.host)
    assert first.values["xid_reboot"] == {"0000:05:00.0": 2}
    assert first.kept.tally.position.sequence == 2
    assert reading(machine.host, first.kept).values == first.values
    assert BEFORE_ALL.sequence == -1


@given(
    st.lists(
        st.tuples(st.integers(0, 10**15), st.integers(0, 10**15 - 1), st.text(max_size=30) | st.just(LOST)), max_size=20
    )
)
def test_any_messages_make_readings_that_can_be_sent_and_kept(messages: list[tuple[int, int, str]]) -> None:
    """Whatever a kernel or a recording says, in whatever order."""
    made = [KernelMessage(sequence=n, at_us=at_us, facility=0, text=text) for n, at_us, text in messages]
    tally = tallied(EMPTY, made)
    assert recalled(msgspec.json.encode(tally), tally.boot_id) == tally
    assert msgspec.json.decode(msgspec.json.encode(values_of(tally)), type=Values) == values_of(tally)


def test_what_is_kept_outlives_the_process_and_a_full_disk_is_no_failure(tmp_path: Path) -> None:
    """Where it cannot be written, a restart reads what the log still has."""
    host = LinuxHost(GpuChild(), keep_in=tmp_path)
    assert host.recall("a.json") is None
    host.keep("a.json", b"one")
    host.keep("a.json", b"two")
    assert LinuxHost(GpuChild(), keep_in=tmp_path).recall("a.json") == b"two"
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
    gone = LinuxHost(GpuChild(), keep_in=tmp_path / "gone")
    gone.keep("a.json", b"x")
    assert gone.recall("a.json") is None
    nowhere = LinuxHost(GpuChild())
    nowhere.keep("a.json", b"x")
    assert nowhere.recall("a.json") is None
