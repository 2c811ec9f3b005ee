"""Reading the kernel log: records, the journal behind it, and the real /dev/kmsg where this machine has one."""

import itertools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.host import BEFORE_ALL, KernelLogUnreadable, KernelMessage, KernelPosition, kernel
from agent.host.kernel import KernelLog, parse_entry, parse_record

SOURCE = Path(__file__).parents[3]


class Device:
    """A kernel log as a descriptor: a socket of whole records, which gives one a read and no more than there are."""

    def __init__(self) -> None:
        self._writer, self._reader = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    @property
    def descriptor(self) -> int:
        return os.dup(self._reader.fileno())

    def say(self, *sequences: int, facility: int = 0) -> None:
        for sequence in sequences:
            self._writer.send(f"{facility * 8 + 4},{sequence},{sequence * 1000},-;line {sequence}\n".encode())

    def close(self) -> None:
        self._writer.close()
        self._reader.close()


@pytest.fixture
def device() -> Iterator[Device]:
    made = Device()
    yield made
    made.close()


@pytest.fixture
def log(device: Device) -> Iterator[Callable[..., KernelLog]]:
    opened: list[KernelLog] = []

    def make(*entries: tuple[int, str]) -> KernelLog:
        opened.append(KernelLog(device.descriptor, lambda: (entry(at_us, text) for at_us, text in entries)))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def entry(at_us: int, text: str, facility: str = "0") -> bytes:
    fields = {
        "MESSAGE": text,
        "SYSLOG_FACILITY": facility,
        "_SOURCE_MONOTONIC_TIMESTAMP": str(at_us),
        "__CURSOR": "s=1",
    }
    return json.dumps(fields).encode()


def numbers(messages: Iterator[KernelMessage]) -> list[int]:
    return [message.sequence for message in messages]


def test_a_record_is_taken_apart() -> None:
    """Level and facility share the first number; what is behind the line is not the message."""
    record = "12,339,5140900,-,caller=T1;a; b\n SUBSYSTEM=acpi\n DEVICE=+acpi:PNP0A03:00\n"
    assert parse_record(record) == KernelMessage(sequence=339, at_us=5140900, facility=1, text="a; b")


@pytest.mark.parametrize(
    "record",
    ["", ";", "1,2;a", "a,2,3,-;b", "-1,2,3,-;b", "1,2,3,-", " SUBSYSTEM=acpi", "٣,1,1,-;b", f"4,1,{10**15},-;b"],
)
def test_what_is_no_record_is_none(record: str) -> None:
    """Nothing is read into it."""
    assert parse_record(record) is None


@given(st.text())
def test_any_text_is_taken_as_a_record_or_not(text: str) -> None:
    """Never an error."""
    parse_record(text)
    parse_entry(text.encode("utf-8", "replace"), 0)


@given(st.binary())
def test_any_bytes_are_taken_as_an_entry_or_not(line: bytes) -> None:
    """Never an error."""
    parse_entry(line, 0)


def test_an_entry_of_the_journal_is_taken_apart() -> None:
    """Its facility tells the kernel's own from what programs wrote into the kernel's log; bytes are not a text."""
    assert parse_entry(entry(7, "a"), 3) == KernelMessage(sequence=3, at_us=7, facility=0, text="a")
    forged = parse_entry(entry(7, "a", facility="1"), 3)
    assert forged is not None
    assert forged.facility == 1
    odd = parse_entry(b'{"MESSAGE": [72, 0], "_SOURCE_MONOTONIC_TIMESTAMP": "7", "SYSLOG_FACILITY": "0"}', 3)
    assert odd is not None
    assert odd.text == ""
    assert parse_entry(b'{"MESSAGE": "a"}', 3) is None


def test_a_read_goes_on_where_the_last_one_ended(device: Device, log: Callable[..., KernelLog]) -> None:
    """And an idle one gives nothing."""
    one = log()
    device.say(0, 1)
    assert numbers(one.messages()) == [0, 1]
    assert numbers(one.messages(KernelPosition(1, 1000))) == []
    device.say(2)
    assert numbers(one.messages(KernelPosition(1, 1000))) == [2]


def test_a_restarted_agent_skips_what_it_knows(device: Device, log: Callable[..., KernelLog]) -> None:
    """The log begins at its oldest record again."""
    device.say(0, 1, 2, 3)
    assert numbers(log().messages(KernelPosition(2, 2000))) == [3]


def test_what_was_overwritten_before_the_start_comes_from_the_journal(
    device: Device, log: Callable[..., KernelLog]
) -> None:
    """In front of the oldest record, numbered on; what both have is taken once."""
    device.say(3, 4)
    found = list(log((0, "zero"), (1000, "one"), (2000, "two"), (3000, "line 3"), (4000, "line 4")).messages())
    assert [(one.sequence, one.text) for one in found] == [
        (0, "zero"),
        (1, "one"),
        (2, "two"),
        (3, "line 3"),
        (4, "line 4"),
    ]


def test_a_journal_with_holes_leaves_a_gap_in_the_numbers(device: Device, log: Callable[..., KernelLog]) -> None:
    """So that what is missing there is counted as lost; what a restarted agent knows is not taken again."""
    device.say(9)
    assert numbers(log((1000, "one"), (5000, "five"), (6000, "six")).messages(KernelPosition(4, 4000))) == [5, 6, 9]


def test_a_journal_that_knows_more_than_the_kernel_said_is_cut(device: Device, log: Callable[..., KernelLog]) -> None:
    """Numbers never run into those of the records."""
    device.say(1)
    assert numbers(log((0, "a"), (1, "b"), (2, "c")).messages()) == [0, 1]


def test_what_journal_and_kernel_both_have_is_taken_once(device: Device, log: Callable[..., KernelLog]) -> None:
    """Also where the journal's own holes would leave room for it."""
    device.say(9, 10)
    found = list(log((1000, "one"), (9000, "line 9"), (10_000, "line 10")).messages())
    assert [one.text for one in found] == ["one", "line 9", "line 10"]


def test_the_journal_is_asked_once_and_only_where_something_is_missing(device: Device) -> None:
    """It starts a program."""
    asked = 0

    def journal() -> Iterator[bytes]:
        nonlocal asked
        asked += 1
        yield entry(0, "zero")
        raise OSError("not for this user")

    device.say(0, 1)
    first = KernelLog(device.descriptor, journal)
    assert numbers(first.messages()) == [0, 1]
    assert asked == 0
    device.say(5)
    assert numbers(first.messages(KernelPosition(1, 1000))) == [5]
    assert asked == 0
    first.close()
    device.say(7)
    second = KernelLog(device.descriptor, journal)
    assert numbers(second.messages(KernelPosition(1, 0))) == [7]
    assert asked == 1
    second.close()


class Ring:
    """A kernel that has overwritten messages: the read after that fails once, the next one gives the oldest there is."""

    def __init__(self, *answers: int | None) -> None:
        self._answers = iter(answers)

    def read(self, descriptor: int, size: int) -> bytes:
        answer = next(self._answers, -1)
        if answer == -1:
            raise BlockingIOError
        if answer is None:
            raise BrokenPipeError
        return f"4,{answer},{answer * 1000},-;line {answer}\n".encode()


def test_overwritten_messages_are_a_gap_and_no_error(device: Device) -> None:
    """The kernel says so once, with EPIPE, and goes on with its oldest message."""
    log = KernelLog(device.descriptor, lambda: iter(()), Ring(0, 1, None, 50, None, None, 90).read)
    assert numbers(log.messages()) == [0, 1, 50, 90]
    log.close()


def test_a_flood_is_read_in_parts(device: Device) -> None:
    """One read takes a bounded number and a bounded time, here the latter; the next goes on without a gap."""
    count = itertools.count()

    def endless(descriptor: int, size: int) -> bytes:
        number = next(count)
        time.sleep(0.0005)
        return f"4,{number},{number},-;a flood\n".encode()

    log = KernelLog(device.descriptor, lambda: iter(()), endless)
    began_s = time.monotonic()
    first = numbers(log.messages())
    assert time.monotonic() - began_s < kernel.LONGEST_S + 1
    assert 0 < len(first) < kernel.MOST_MESSAGES
    assert numbers(log.messages(KernelPosition(first[-1], first[-1])))[0] == first[-1] + 1
    log.close()


def test_a_kernel_that_is_always_ahead_does_not_hold_the_agent(device: Device) -> None:
    """Every read fails because the message was overwritten again: it ends, and the next read tries again."""

    def always(descriptor: int, size: int) -> bytes:
        raise BrokenPipeError

    log = KernelLog(device.descriptor, lambda: iter(()), always)
    assert numbers(log.messages()) == []
    log.close()


def test_something_else_by_its_name_is_no_kernel_log(tmp_path: Path) -> None:
    """A container's manager puts a pipe there, which would never answer."""
    os.mkfifo(tmp_path / "kmsg")
    descriptor = os.open(tmp_path / "kmsg", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert kernel.handed_over(descriptor) is None
    finally:
        os.close(descriptor)


def test_a_closed_standard_input_is_no_kernel_log() -> None:
    """As some supervisors start their services."""
    assert kernel.handed_over(1_000_000) is None


@pytest.fixture
def real(missing: Callable[[str], None]) -> Iterator[KernelLog]:
    try:
        log = KernelLog(journal=lambda: iter(()))
        next(log.messages(), None)
    except KernelLogUnreadable as unreadable:
        missing(f"a kernel log that may be read: {unreadable}")
    log.close()
    yield log
    log.close()


def test_the_real_log_is_read_to_its_end_and_again_from_the_start(real: KernelLog) -> None:
    """In ascending numbers, the kernel's own among them; opened anew it begins with the same message."""
    first = list(real.messages())
    assert numbers(iter(first)) == sorted({one.sequence for one in first})
    assert any(one.facility == 0 for one in first)
    assert numbers(real.messages(KernelPosition(first[-1].sequence, first[-1].at_us))) == []
    real.close()
    assert next(iter(real.messages(BEFORE_ALL))) == first[0]


def test_what_root_writes_into_the_real_log_has_another_facility(real: KernelLog) -> None:
    """Even if it says that it is the kernel."""
    list(real.messages())
    mark = f"NVRM: Xid (PCI:0000:3b:00): 79, written by a test {os.getpid()}"
    try:
        Path("/dev/kmsg").write_text(f"<0>{mark}\n")
    except PermissionError:
        pytest.skip("this user may not write into the kernel log")
    written = [one for one in real.messages() if one.text == mark]
    assert [one.facility for one in written] == [1]


def test_an_idle_read_takes_less_than_a_tenth_of_a_millisecond(real: KernelLog) -> None:
    """It is done every 15 s on every machine. The best of some: what else the machine does is not its cost."""
    last = list(real.messages())[-1]
    position = KernelPosition(last.sequence, last.at_us)
    best_s = 1.0
    for _ in range(50):
        began_s = time.perf_counter()
        list(real.messages(position))
        best_s = min(best_s, time.perf_counter() - began_s)
    assert best_s < 0.0001


HANDED = """
import os, subprocess, sys
from agent.host import kernel
own = kernel.handed_over()
log = kernel.KernelLog(own, lambda: iter(()))
seen = len(list(log.messages()))
inherited = subprocess.run([sys.executable, "-c", "import os; print(os.readlink('/proc/self/fd/0'), len(os.listdir('/proc/self/fd')))"],
    stdout=subprocess.PIPE, text=True, check=True).stdout.split()
print(seen > 0, os.get_inheritable(own), os.readlink('/proc/self/fd/0'), *inherited)
"""


def test_a_log_that_was_handed_over_is_kept_from_what_the_agent_starts(real: KernelLog) -> None:
    """Read by a process that gets it as standard input and may not open it; its children find nothing there."""
    with Path("/dev/kmsg").open("rb") as given:
        user = {"user": 65534, "group": 65534, "extra_groups": ()} if os.geteuid() == 0 and _readable_by_all() else {}
        done = subprocess.run(
            [sys.executable, "-B", "-c", HANDED],
            stdin=given,
            capture_output=True,
            text=True,
            cwd=SOURCE,
            env={"PYTHONPATH": str(SOURCE)},
            check=False,
            **user,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "False", "/dev/null", "/dev/null", "4"]


def _readable_by_all() -> bool:
    """Whether somebody else may run this interpreter: not one in root's home."""
    return not str(Path(sys.executable).resolve()).startswith("/root")
