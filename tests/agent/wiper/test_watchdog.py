"""Work that hangs is ended, work that gets on is not, and a wipe goes on without a step that hangs."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.wiper.evidence import Machine
from agent.wiper.journal import Journal, OrderTaken
from agent.wiper.plan import plan, promised
from agent.wiper.steps import Erased, Found, Item, Looked, Step, Subject, Tell
from agent.wiper.system.ground import simulated_machine
from agent.wiper.system.watchdog import Stalled, Watchdog
from agent.wiper.tenant.accounts import Tenant
from agent.wiper.wipe import Wipe
from shared.documents import Target, WipeEvidence, WipeWork
from shared.records import WipeMethod, WipeStatus
from tests.agent.wiper.harness import ENVELOPE, Platform


def test_work_that_hangs_is_ended() -> None:
    """After its time, in whatever call it is."""
    began = time.monotonic()
    with pytest.raises(Stalled), Watchdog().watching(0.1):
        time.sleep(30)
    assert time.monotonic() - began < 5


def test_work_that_gets_on_is_left_alone() -> None:
    """However long it takes in all; and nothing comes after it."""
    watchdog = Watchdog()
    with watchdog.watching(0.3):
        for _ in range(8):
            time.sleep(0.1)
            watchdog.feed()
    time.sleep(0.4)


def test_it_is_no_trouble_that_a_step_could_swallow() -> None:
    """A step goes on after an error with one item; not after this."""
    assert not issubclass(Stalled, Exception)


class Place(Step):
    """A place where nothing is, and one call that may hang."""

    def __init__(self, name: str, hangs_in: str = "") -> None:
        self.name = name
        self._hangs_in = hangs_in
        self.called: list[str] = []

    def _call(self, what: str) -> None:
        self.called.append(what)
        if what == self._hangs_in:
            raise Stalled  # as the timer does, in the middle of a call

    def find(self) -> Found:
        self._call("find")
        return Found(0)

    def erase(self, tell: Tell) -> Erased:
        self._call("erase")
        return Erased(0)

    def list(self) -> Iterator[Item]:
        return iter(())

    def verify(self) -> Looked:
        self._call("verify")
        return Looked("clean")


@pytest.mark.parametrize(
    ("hangs_in", "status", "state", "words"),
    [
        ("find", WipeStatus.SUCCESS, "clean", "left out: it could not be looked at: no progress for 120 s"),
        ("erase", WipeStatus.SUCCESS, "clean", "stopped: no progress for 120 s"),
        ("verify", WipeStatus.PARTIAL, "not_examined", None),
    ],
)
def test_a_wipe_goes_on_without_a_step_that_hangs(
    tmp_path: Path, platform: Platform, hangs_in: str, status: WipeStatus, state: str, words: str | None
) -> None:
    """The evidence says so; what hangs while it looks is never clean, and what looked blind erased nothing."""
    places = {name: Place(name, hangs_in if name == "dumps" else "") for name in _names()}
    evidence = _wiped(tmp_path, platform, places)
    dumps = next(one for one in evidence.places if one.name == "dumps")
    assert (evidence.methods[0].status, dumps.state) == (status, state)
    assert words is None or words in dumps.notes
    assert dumps.reason == (None if words else "the look could not run: no progress for 120 s")
    assert ("erase" in places["dumps"].called) == (hangs_in != "find")
    assert all(places[name].called[-1:] == ["verify"] for name in promised((WipeMethod.USER_DELETION,)))


def _names() -> tuple[str, ...]:
    methods = (WipeMethod.USER_DELETION,)
    return tuple(dict.fromkeys((*promised(methods), *(one.step for one in plan(methods)))))


def _wiped(tmp_path: Path, platform: Platform, places: dict[str, Place]) -> WipeEvidence:
    target = Target(username="t", uid=2000, generation="0" * 32)
    order = platform.order(WipeWork(target=target, methods=(WipeMethod.USER_DELETION,)))
    now = datetime.now(UTC)
    tenant = Tenant(
        name="t", uid=2000, home="/home/t", generation="0" * 32, booking_id=None, command_id="g", granted_at=now
    )
    journal = Journal(tmp_path / "journal.db")
    taken = OrderTaken(command_id=order.command_id, sha256="0" * 64, envelope=ENVELOPE, seq=1, kind="wipe")
    journal.append(now, taken)
    machine = Machine(simulated=False, agent_version="0", kernel="k", os="o", boot_id="b")
    wipe = Wipe(order, journal, machine, "0" * 64, lambda: datetime.now(UTC), lambda *_: None)
    ground = simulated_machine(tmp_path / "machine")
    try:
        return wipe.run(Subject(ground, tenant), lambda _subject: dict(places))
    finally:
        ground.close()
        journal.close()


class Broken(Place):
    """A place that breaks in a way nobody has foreseen."""

    def _call(self, what: str) -> None:
        raise KeyError(what)


def test_a_step_that_breaks_does_not_keep_a_wipe_from_its_end(tmp_path: Path, platform: Platform) -> None:
    """Else each process that goes on with it would break there again; it is never clean."""
    places = {name: (Broken if name == "dumps" else Place)(name, "") for name in _names()}
    evidence = _wiped(tmp_path, platform, places)
    dumps = next(one for one in evidence.places if one.name == "dumps")
    assert (evidence.methods[0].status, dumps.state) == (WipeStatus.PARTIAL, "not_examined")
