"""Health over time from outside: what an agent kept while it was cut off comes late and leaves no gap; a loss is told."""

import itertools
import os
import subprocess
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from collector.history.gaps import patience
from tests.system.harness import Agent, Collector, program, wait_for

CUT_OFF_S = 50.0
"""Longer than a machine may be silent before its reports count as missing."""


@pytest.fixture
def quick_collector(tmp_path):
    """A collector that asks for a report every half second."""
    made = Collector(tmp_path)
    made.config.write_text(made.config.read_text().replace("heartbeat_s = 1.0", "heartbeat_s = 0.5"))
    made.up()
    yield made
    made.kill()


def delivered(agent: Agent) -> bool:
    """Whether the collector has all that the outbox held."""
    with agent.state() as state:
        return state.execute("SELECT count(*) FROM sample").fetchone()[0] <= 1


@pytest.mark.slow
def test_an_agent_that_was_cut_off_leaves_no_gap(quick_collector):
    """The collector is away, the agent is killed meanwhile: afterwards every report stands at its own time."""
    collector = quick_collector
    agent = Agent(collector.data.parent, collector).up()
    try:
        time.sleep(3)
        collector.kill()
        time.sleep(CUT_OFF_S / 2)
        agent.kill()
        agent.start()
        time.sleep(CUT_OFF_S / 2)
        with agent.state() as state:
            waiting = state.execute("SELECT count(*) FROM sample").fetchone()[0]
        assert waiting > CUT_OFF_S / 4
        collector.start()
        collector.await_ready()
        wait_for(lambda: delivered(agent), 60, "the outbox to be delivered")
        health = f"/v1/machines/{agent.hardware_id}/health"
        body = collector.ask("GET", f"{health}/history?resolution=raw&series=agent.*")
        assert body["gaps"] == []
        assert [one for one in collector.items(f"{health}/gaps?filled=true") if one["cause"] != "silent"] == []
        times = [datetime.fromisoformat(one) for one in body["times"]]
        apart_s = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(times)]
        assert len(times) > waiting
        assert max(apart_s) < patience(timedelta(seconds=0.5)).total_seconds()
        numbers = collector.report_numbers()
        assert numbers == set(range(1, max(numbers) + 1))
    finally:
        agent.kill()


class SmallDisk:
    """A small file system for an agent's state, in a view of the machine that only this test's processes have."""

    def __init__(self, folder: Path) -> None:
        script = 'mount -t tmpfs -o size=48m small "$1" && echo there && exec sleep 600'
        argv = ["unshare", "--mount", "sh", "-c", script, "sh", str(folder)]
        self._holder = subprocess.Popen(argv, stdout=subprocess.PIPE)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"there\n"
        self.inside = Path(f"/proc/{self._holder.pid}/root{folder}")
        self.enter = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt"]

    def fill(self) -> None:
        """Take all the room there is."""
        with (self.inside / f"tenant{time.monotonic_ns()}").open("wb", buffering=0) as file:
            for size in (65_536, 4_096):
                try:
                    while file.write(b"x" * size) == size:
                        pass
                except OSError:
                    continue

    def empty(self) -> None:
        """Give it back."""
        for file in self.inside.glob("tenant*"):
            file.unlink()

    def end(self) -> None:
        self._holder.kill()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()


class CrampedAgent(Agent):
    """An agent whose state is on a small disk."""

    def __init__(self, folder: Path, collector: Collector) -> None:
        super().__init__(folder, collector)
        state = self.folder / "state"
        state.mkdir()
        self.disk = SmallDisk(state)
        self._argv = [*self.disk.enter, *program("agent", "run", "--config", str(self.config))]

    def cli(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        command = [*self.disk.enter, *program("agent", *arguments, "--config", str(self.config))]
        return subprocess.run(command, input=given, capture_output=True, text=True, check=False)

    def not_kept(self) -> list[int]:
        """The numbers of the reports that it could not keep, as it says itself."""
        return [one["seq"] for one in self.events() if one["event"] == "report.not_kept"]


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system of its own")
def test_an_agent_whose_disk_filled_tells_exactly_what_is_missing(own_collector):
    """Cut off, with a full disk: afterwards the gaps are the numbers that it could not keep, with the cause."""
    collector = own_collector
    agent = CrampedAgent(collector.data.parent, collector)
    try:
        agent.up()
        collector.kill()
        ends = time.monotonic() + 60
        while len(agent.not_kept()) < 5:
            assert time.monotonic() < ends, agent.log.read_text()[-2000:]
            agent.disk.fill()
            time.sleep(0.5)
        agent.disk.empty()
        time.sleep(4)
        collector.start()
        collector.await_ready()
        path = f"/v1/machines/{agent.hardware_id}/health/gaps"

        def told() -> bool:
            return bool([one for one in collector.items(path) if one["cause"] != "silent"])

        wait_for(told, 60, "the gap to be told")
        time.sleep(2)
        found = [one for one in collector.items(path) if one["cause"] != "silent"]
        assert {one["cause"] for one in found} == {"disk_full"}
        missing = {seq for one in found for seq in range(one["first_seq"], one["last_seq"] + 1)}
        assert missing == set(agent.not_kept())
        numbers = collector.report_numbers()
        assert numbers | missing == set(range(1, max(numbers) + 1))
        assert not numbers & missing
    finally:
        agent.kill()
        agent.disk.end()
