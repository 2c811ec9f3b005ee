"""
A real agent beside a real collector while NVML hangs, crashes and is updated: every heartbeat is in time.

NVML is the tests' own C library, the GPUs stand on a PCI bus made of files that covers the machine's, in a mount
namespace of the agent's own. No real GPU is involved.
"""

import os
import re
import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from tests.agent.indicators import nvml
from tests.agent.indicators.fuse import Silent
from tests.system.harness import Agent, Collector, family, memory_mb, program, wait_for

INTERVAL_S = 1.0
"""The heartbeat of the collector that tests start; the GPUs are read every ten seconds."""
LATEST_S = INTERVAL_S + 1.0
NOTICED_S, MENDED_S = 45.0, 100.0
DEADLINE_MS, MOST_MB = 2000, 45
ECC, TEMPERATURE, PROBE = "nvmlDeviceGetTotalEccErrors", "nvmlDeviceGetTemperature", "probe"
FAULTS = [
    ("one call hangs, one crashes", (f"hang {ECC} 1", f"segfault {TEMPERATURE} 2"), "GPU-00000001",
     rf"{ECC} of GPU-00000001 hung since [\d:]+ UTC"),
    ("all of NVML crashes", ("abort * 0",), PROBE,
     r"NVML crashed in nvml\w+: signal SIGABRT, restart in \d+ s"),
    ("the driver is updated", ("error nvmlInit_v2 0 18",), PROBE,
     r"driver/library version mismatch: .*reboot.*"),
    ("a GPU is lost", ("error * 2 15",), "GPU-00000002", "GPU is lost"),
    ("stuck in the kernel", ("stuck nvmlDeviceGetCount_v2 0",), PROBE,
     r"nvmlDeviceGetCount_v2 hung since [\d:]+ UTC"),
]  # fmt: skip
"""What happens, how the stand-in is told, and what is said then of which GPU or of the probe."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to cover the PCI bus"),
]


class GpuMachine:
    """An agent on a machine with two GPUs, and what goes wrong with them."""

    def __init__(self, folder: Path, collector: Collector, library: Path) -> None:
        self.folder, self.collector = folder, collector
        self.installed = Path(shutil.copytree(library, folder / "installed"))
        self.control = nvml.Control(folder / "control")
        self.took_ms: list[float] = []
        self.silent = folder / "silent"
        self.silent.mkdir()
        for address in ("0000:0b:00.0", "0000:0c:00.0"):
            device = folder / "bus" / "pci" / "devices" / address
            device.mkdir(parents=True)
            (device / "vendor").write_text("0x10de\n")
            (device / "class").write_text("0x030200\n")
        self.agent = Agent(folder, collector)
        self.agent._argv = self._covered(program("agent", "run", "--config", str(self.agent.config)))

    def _covered(self, argv: list[str]) -> list[str]:
        """Return a command that sees this machine's bus and library instead of the real ones."""
        variables = {
            "LD_LIBRARY_PATH": self.installed,
            "FAKE_NVML_CONTROL": self.control.file,
            "FAKE_NVML_STUCK": self.silent / "file",
        }
        script = f"mount --bind {self.folder}/bus /sys/bus && exec {shlex.join(argv)}"
        return ["env", *(f"{name}={value}" for name, value in variables.items()), "unshare", "-m", "sh", "-c", script]

    def replace_library(self) -> None:
        """Do what an update of the driver's packages does."""
        shutil.copy(self.installed / nvml.LIBRARY, self.installed / "new")
        (self.installed / "new").replace(self.installed / nvml.LIBRARY)

    def gpu(self) -> dict:
        """The indicator as the collector has it."""
        row = self.collector.ask("GET", f"/v1/machines/{self.agent.hardware_id}")
        found = row["health_indicators"]["gpu"]
        self.took_ms.append(found["took_ms"])
        return found

    def values(self) -> dict:
        return self.gpu().get("values", {})

    def said(self, item: str) -> str:
        """What is said of a GPU, or of the probe."""
        now = self.values()
        return now.get("probe", "") if item == PROBE else now.get("error", {}).get(item, "")

    def well(self) -> bool:
        now = self.values()
        return now.get("probe") == "ok" and now.get("seen_by_nvml") == 2 and "error" not in now

    def received(self) -> list[float]:
        """When the collector received each report, in seconds."""
        with self.collector.database() as database:
            rows = database.execute("select received_at from health_sample order by received_at").fetchall()
        return [seconds(row["received_at"]) for row in rows]


def seconds(moment: str | int) -> float:
    """A stored time in seconds."""
    return moment / 1e6 if isinstance(moment, int) else datetime.fromisoformat(moment).timestamp()


@pytest.fixture(scope="module")
def library(missing, tmp_path_factory) -> Path:
    folder = nvml.build(tmp_path_factory.mktemp("nvml"))
    if folder is None:
        missing("a C compiler (cc), to build the stand-in for NVML")
    return folder


@pytest.fixture
def machine(tmp_path: Path, own_collector: Collector, library: Path) -> Iterator[GpuMachine]:
    made = GpuMachine(tmp_path, own_collector, library)
    yield made
    made.agent.kill()


def happens(machine: GpuMachine, what: str, true: Callable[[], bool], limit_s: float) -> float:
    """Wait for something and return how long that took."""
    began_s = time.monotonic()
    try:
        wait_for(true, limit_s, what)
    except AssertionError as error:
        raise AssertionError(f"{error}; the indicator was {machine.gpu()}") from error
    return time.monotonic() - began_s


def test_whatever_nvml_does_heartbeats_are_in_time_and_the_indicator_tells_it(machine: GpuMachine) -> None:
    """Hung, stuck in the kernel, crashed, updated: told in words, never a late heartbeat, mended without a restart."""
    silent = Silent(machine.silent)
    try:
        machine.agent.up()
        happens(machine, "two GPUs that are well", machine.well, NOTICED_S)
        process = machine.agent.process
        megabytes = [memory_mb([pid], "Pss") for pid in family(process.pid)]
        print(f"agent and probe: {' + '.join(f'{one:.1f}' for one in megabytes)} MB of their own (PSS)")
        for name, lines, item, words in FAULTS:
            before = len(machine.received())
            machine.control.say(*lines)
            if "updated" in name:
                machine.replace_library()
            noticed_s = happens(machine, words, lambda: re.fullmatch(words, machine.said(item)) is not None, NOTICED_S)  # noqa: B023
            told, seen = machine.said(item), machine.values().get("seen_by_nvml")
            machine.control.say()
            mended_s = happens(machine, "two GPUs that are well", machine.well, MENDED_S)
            gaps = between(machine.received()[before - 1 :])
            print(
                f"{name}: told after {noticed_s:.0f} s as {told!r} (seen {seen}), well again {mended_s:.0f} s after its"
                f" end; {len(gaps)} heartbeats, the longest pause {max(gaps):.2f} s"
            )
            assert max(gaps) <= LATEST_S
        assert process.poll() is None
    finally:
        silent.release()
    gaps = between(machine.received())
    print(f"{len(gaps) + 1} heartbeats, {INTERVAL_S:g} s apart give or take a fifth: longest pause {max(gaps):.2f} s")
    print(f"the indicator took at most {max(machine.took_ms):.0f} ms")
    assert max(machine.took_ms) < DEADLINE_MS
    assert len(megabytes) == 2
    assert sum(megabytes) < MOST_MB


def test_a_gpu_that_hangs_hides_no_other(machine: GpuMachine) -> None:
    """Its error stands beside its other readings, and the other GPU is read all the while."""
    machine.control.say(f"hang {ECC} 1")
    machine.agent.up()
    happens(machine, "the hang told", lambda: "hung since" in machine.said("GPU-00000001"), NOTICED_S)
    now = machine.values()
    assert now["temperature_celsius"] == {"GPU-00000001": 41, "GPU-00000002": 42}
    assert now["seen_by_nvml"] == 2


def test_an_agent_that_starts_while_nvml_hangs_is_online_soon(machine: GpuMachine) -> None:
    """Its inventory waits for NVML's GPUs, but no longer than a hang takes to be one."""
    machine.control.say("hang * 0")
    machine.agent.enroll()
    began_s = time.monotonic()
    machine.agent.start()
    machine.agent.await_online()
    print(f"online {time.monotonic() - began_s:.1f} s after its start")
    assert time.monotonic() - began_s < 20
    happens(machine, "the hang told", lambda: "nvmlInit_v2 hung" in machine.said(PROBE), NOTICED_S)


def between(moments: list[float]) -> list[float]:
    return [after - before for before, after in pairwise(moments)]
