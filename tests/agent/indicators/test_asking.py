"""Questions that hang hide none of the others, and are not asked again while they do."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from agent.host.asking import ask


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Hung questions wait for it; it is opened at the end, so that no thread outlives its test."""
    event = threading.Event()
    yield event
    event.set()


def broken() -> int:
    raise OSError(5, "Input/output error")


def test_answers_and_errors_stand_beside_each_other() -> None:
    """An error has the kernel's words."""
    asked = ask({"one": lambda: 1, "two": broken}, {})
    assert (asked["one"].answer, asked["one"].trouble) == (1, None)
    assert (asked["two"].answer, asked["two"].trouble) == (None, "Input/output error")


def test_one_that_hangs_hides_none_of_the_others(gate: threading.Event) -> None:
    """It says since when; those after it in the line are answered."""
    began_s = time.monotonic()
    asked = ask({"hung": gate.wait, **{f"fine{n}": lambda: True for n in range(20)}}, {}, patience_s=0.5)
    assert time.monotonic() - began_s < 5
    assert asked["hung"].trouble is not None
    assert asked["hung"].trouble.startswith("no answer, asked at 20")
    assert all(asked[f"fine{n}"].answer for n in range(20))


def test_one_that_hangs_is_not_asked_again_and_waited_for_once(gate: threading.Event) -> None:
    """Or each report would leave a thread behind, and be late."""
    times: list[float] = []

    def hang() -> bool:
        times.append(time.monotonic())
        return gate.wait()

    asked = ask({"hung": hang}, {}, patience_s=0.2)
    began_s = time.monotonic()
    asked = ask({"hung": hang}, asked, patience_s=5.0)
    assert time.monotonic() - began_s < 2.5
    assert len(times) == 1
    gate.set()
    asked["hung"].wait(5)
    asked = ask({"hung": hang}, asked)
    assert (len(times), asked["hung"].answer) == (2, True)


def test_many_that_hang_do_not_outlast_the_patience(gate: threading.Event) -> None:
    """Those that were not reached say so, and are asked the next time."""
    wanted: dict[str, Callable[[], bool]] = {f"hung{n}": gate.wait for n in range(8)} | {"last": lambda: True}
    began_s = time.monotonic()
    asked = ask(wanted, {}, patience_s=0.4)
    # One after another they would take 3.2 s.
    assert time.monotonic() - began_s < 2.5
    assert asked["last"].trouble == "not asked: others did not answer"
    again = ask({"last": wanted["last"]}, asked)
    assert again["last"].answer is True
    gate.set()
    asked["hung0"].wait(5)
    time.sleep(0.1)
    assert asked["last"].began_at is None, "a thread that came back asks nothing that nobody waits for"


def test_what_is_no_longer_wanted_is_forgotten(gate: threading.Event) -> None:
    """An unmounted file system."""
    asked = ask({"hung": gate.wait}, {}, patience_s=0.1)
    assert list(ask({"other": lambda: 1}, asked)) == ["other"]
