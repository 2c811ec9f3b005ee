"""A report is whole and on time, whatever one indicator does."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from agent.health import Sampler
from agent.indicators import NotHere, Reading
from shared.messages import Absent, Failed, Measured


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Hung reads wait for it; it is opened at the end, so that no thread outlives its test."""
    event = threading.Event()
    yield event
    event.set()


def sampler(recorded: Callable, *indicators: object) -> Sampler:
    return Sampler(recorded("plain-vm"), indicators, lambda: {"agent": {"outbox_depth": 3}})


async def test_a_report_holds_measured_absent_and_failed(recorded: Callable, indicator: Callable) -> None:
    """Three different things, each with its words and its duration."""

    def broken(host: object, kept: object) -> Reading:
        raise ZeroDivisionError("division by zero")

    report = await sampler(
        recorded,
        indicator("one", lambda *_: Reading({"a": 1})),
        indicator("two", lambda *_: NotHere("no such thing")),
        indicator("three", broken),
    ).sample()
    assert isinstance(report["one"], Measured)
    assert report["one"].values == {"a": 1}
    assert isinstance(report["two"], Absent)
    assert report["two"].reason == "no such thing"
    assert isinstance(report["three"], Failed)
    assert report["three"].error == "ZeroDivisionError: division by zero"
    assert all(outcome.took_ms >= 0 for outcome in report.values())


async def test_one_that_hangs_delays_nobody_beyond_its_deadline(
    recorded: Callable, indicator: Callable, gate: threading.Event
) -> None:
    """The others are measured, the hung one says since when."""
    began_s = time.monotonic()
    report = await sampler(
        recorded,
        indicator("hung", lambda *_: gate.wait(), deadline_s=0.5),
        *(indicator(f"fine{n}", lambda *_: Reading({"a": 1})) for n in range(20)),
    ).sample()
    assert time.monotonic() - began_s < 1.5
    assert isinstance(report["hung"], Failed)
    assert report["hung"].error.startswith("no answer within 0.5 s, asked at 20")
    assert all(isinstance(report[f"fine{n}"], Measured) for n in range(20))


async def test_several_that_hang_do_not_add_up(recorded: Callable, indicator: Callable, gate: threading.Event) -> None:
    """Each gets out of the others' way."""
    began_s = time.monotonic()
    hung = [indicator(f"hung{n}", lambda *_: gate.wait(), deadline_s=0.8) for n in range(4)]
    report = await sampler(recorded, *hung, indicator("last", lambda *_: Reading({"a": 1}))).sample()
    assert time.monotonic() - began_s < 2.4
    assert isinstance(report["last"], Measured)


async def test_one_that_hangs_is_not_started_again_until_it_comes_back(
    recorded: Callable, indicator: Callable, gate: threading.Event
) -> None:
    """Or every report would leave a thread behind."""
    starts: list[float] = []

    def read(host: object, kept: object) -> Reading:
        starts.append(time.monotonic())
        if len(starts) == 1:
            gate.wait()
        return Reading({"a": len(starts)})

    reports = sampler(recorded, indicator("slow", read, deadline_s=0.2))
    for _ in range(3):
        assert isinstance((await reports.sample())["slow"], Failed)
    assert len(starts) == 1
    gate.set()
    await asyncio.sleep(0.1)
    outcome = (await reports.sample())["slow"]
    assert len(starts) == 2
    assert isinstance(outcome, Measured)
    assert outcome.values == {"a": 2}


async def test_a_hang_that_goes_on_does_not_delay_the_next_report(
    recorded: Callable, indicator: Callable, gate: threading.Event
) -> None:
    """Its deadline is over already."""
    reports = sampler(recorded, indicator("hung", lambda *_: gate.wait(), deadline_s=1.0))
    await reports.sample()
    began_s = time.monotonic()
    await reports.sample()
    assert time.monotonic() - began_s < 0.5


async def test_what_is_not_due_is_reported_as_it_was(recorded: Callable, indicator: Callable) -> None:
    """Each report is whole, and a slow subject is read at its own pace."""
    counts = {"often": 0, "rare": 0}

    def counting(name: str) -> Callable:
        def read(host: object, kept: object) -> Reading:
            counts[name] += 1
            return Reading({"count": counts[name]})

        return read

    reports = sampler(
        recorded, indicator("often", counting("often")), indicator("rare", counting("rare"), interval_s=300.0)
    )
    await reports.sample()
    report = await reports.sample()
    assert (report["often"].values, report["rare"].values) == ({"count": 2}, {"count": 1})
    report = await reports.sample(everything=True)
    assert report["rare"].values == {"count": 2}


async def test_what_a_read_keeps_is_handed_to_the_next_even_after_a_failure(
    recorded: Callable, indicator: Callable
) -> None:
    """Counters stay true over a read that failed."""
    seen: list[object] = []

    def read(host: object, kept: object) -> Reading:
        seen.append(kept)
        if len(seen) == 2:
            raise OSError(5, "Input/output error", "/dev/x")
        return Reading({"a": 1}, len(seen))

    reports = sampler(recorded, indicator("one", read))
    for _ in range(3):
        report = await reports.sample()
    assert seen == [None, 1, 1]
    assert isinstance(report["one"], Measured)


async def test_the_daemon_s_own_counts_stand_with_the_agent(recorded: Callable, indicator: Callable) -> None:
    """They are asked for at every report, not only when the agent's process was read."""
    reports = sampler(recorded, indicator("agent", lambda *_: Reading({"cpu_s": 1.5}), interval_s=300.0))
    await reports.sample()
    assert (await reports.sample())["agent"].values == {"cpu_s": 1.5, "outbox_depth": 3}


async def test_two_reports_at_once_read_each_indicator_once(recorded: Callable, indicator: Callable) -> None:
    """The second waits for the first one's reads."""
    starts: list[int] = []

    def read(host: object, kept: object) -> Reading:
        starts.append(1)
        time.sleep(0.2)
        return Reading({"a": 1})

    reports = sampler(recorded, indicator("one", read, interval_s=300.0))
    both = await asyncio.gather(reports.sample(), reports.sample())
    assert len(starts) == 1
    assert all(isinstance(report["one"], Measured) for report in both)


async def test_a_canceled_report_leaves_the_sampler_usable(recorded: Callable, indicator: Callable) -> None:
    """The daemon may be told to stop, or to report at once."""
    reports = sampler(recorded, indicator("one", lambda *_: time.sleep(0.2) or Reading({"a": 1})))
    task = asyncio.create_task(reports.sample())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert isinstance((await reports.sample())["one"], Measured)


async def test_error_words_fit_a_message(recorded: Callable, indicator: Callable) -> None:
    """At most 300 characters and no NUL, whatever the exception says."""

    def read(host: object, kept: object) -> Reading:
        raise ValueError("\0" + "x" * 1000)

    error = (await sampler(recorded, indicator("one", read)).sample())["one"].error
    assert len(error) == 300
    assert "\0" not in error


def test_a_hung_read_does_not_keep_the_process_alive() -> None:
    """The service stops at once, without being killed."""
    program = """
import asyncio, pathlib, threading
from agent.health import Sampler
from agent.indicators import Indicator
hung = Indicator(name="hung", interval_s=1, deadline_s=0.2, read=lambda h, k: threading.Event().wait(), describes={})
print(asyncio.run(Sampler(None, (hung,), dict).sample())["hung"].error)
"""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=5, check=False
    )
    assert ended.stdout.startswith("no answer within 0.2 s")
    assert (ended.returncode, ended.stderr) == (0, "")


async def test_a_report_costs_little_processor_time() -> None:
    """The whole agent has 50 ms a minute, four reports: a report of this machine takes a small part of its 12 ms."""
    program = """
import asyncio, time
import agent.indicators
from agent.gpu.child import GpuChild
from agent.health import Sampler
from agent.host.linux import LinuxHost
from agent.indicators import Indicator
from agent.plugins import load
async def main():
    reports = Sampler(LinuxHost(GpuChild()), load(agent.indicators, "INDICATOR", Indicator), dict)
    await reports.sample()
    began = time.process_time()
    for _ in range(20):
        await reports.sample(everything=True)
    print((time.process_time() - began) / 20)
asyncio.run(main())
"""
    ended = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    assert float(ended.stdout) < 0.012
