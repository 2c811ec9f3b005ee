"""The NVML process: it may hang, crash or find nothing, and the agent goes on. Here NVML is a small C library."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from agent.gpu.child import ANSWERS_OF_A_LIFE, MOST_UNENDED, RENEWED_AFTER_S, GpuChild
from agent.gpu.sparing import FIRST_S
from agent.host import Gpus, GpuUnreadable
from tests.agent.indicators.fuse import Silent
from tests.agent.indicators.nvml import LIBRARY, Control

HOUR_S = 3600.0
ECC, TEMPERATURE, HANDLE = "nvmlDeviceGetTotalEccErrors", "nvmlDeviceGetTemperature", "nvmlDeviceGetHandleByIndex_v2"
ONE, OTHER = (f"GPU-0000000{n}-aaaa-bbbb-cccc-dddddddddddd" for n in (1, 2))


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def child(library: Path, control: Control, clock: Clock) -> Iterator[Callable[..., GpuChild]]:
    made: list[GpuChild] = []

    def make(*lines: str, hangs_after_s: float = 2.0, folder: Path = library, **more: str) -> GpuChild:
        control.say(*lines)
        variables = {"LD_LIBRARY_PATH": str(folder), "FAKE_NVML_CONTROL": str(control.file), **more}
        environment = {**os.environ, **variables}
        made.append(GpuChild(environment=environment, hangs_after_s=hangs_after_s, now_s=clock, draw=lambda: 1.0))
        return made[-1]

    yield make
    for one in made:
        one.close()


def why(child: GpuChild, wait_s: float = 20.0) -> str:
    with pytest.raises(GpuUnreadable) as caught:
        child.ask(wait_s)
    return str(caught.value)


def errors(found: Gpus) -> list[str]:
    return [gpu.error for gpu in found.gpus]


def test_one_process_answers_again_and_again(child: Callable[..., GpuChild]) -> None:
    """Starting Python for each report would cost more than the agent."""
    asked = child()
    asked.ask()
    first = asked._process
    assert asked.ask().probe == "ok"
    assert asked._process is first


def test_a_process_is_replaced_after_its_life(child: Callable[..., GpuChild]) -> None:
    """What leaks in it leaks for hours, not for months."""
    asked = child()
    asked.ask()
    first = asked._process
    asked._answers = ANSWERS_OF_A_LIFE
    assert asked.ask().restarts == 0
    assert asked._process is not first


@pytest.mark.parametrize("call", [TEMPERATURE, HANDLE])
def test_a_lost_gpu_does_not_hide_the_others(child: Callable[..., GpuChild], call: str) -> None:
    """Its answer stands where its readings would."""
    found = child(f"error {call} 2 15").ask()
    assert errors(found) == ["", "GPU is lost"]
    assert "temperature_celsius" in found.gpus[0].readings
    assert found.gpus[1].readings == {}


def test_a_gpu_that_is_lost_keeps_the_name_it_had(child: Callable[..., GpuChild], control: Control) -> None:
    """NVML then gives not even a handle for it."""
    asked = child()
    asked.ask()
    control.say(f"error {HANDLE} 2 15")
    lost = asked.ask().gpus[1]
    assert (lost.uuid, lost.model, lost.pci_address, lost.error) == (OTHER, "Fake H100", "0000:0c:00.0", "GPU is lost")


def test_a_lost_gpu_is_looked_for_by_a_fresh_process(
    child: Callable[..., GpuChild], control: Control, clock: Clock
) -> None:
    """The old one would call it lost for ever, even after a reset."""
    asked = child(f"error {TEMPERATURE} 2 15")
    asked.ask()
    first = asked._process
    control.say()
    clock.now_s += RENEWED_AFTER_S
    assert errors(asked.ask()) == ["", ""]
    assert asked._process is not first


def test_a_call_that_hangs_is_named_and_the_rest_is_read(child: Callable[..., GpuChild]) -> None:
    """Function, GPU and time; the GPU's other readings and the other GPU are there."""
    found = child(f"hang {ECC} 1").ask()
    assert re.fullmatch(rf"{ECC} of GPU-00000001 hung since \d\d:\d\d:\d\d UTC", found.gpus[0].error)
    assert found.gpus[0].readings["temperature_celsius"] == 41
    assert "ecc_corrected_errors" not in found.gpus[0].readings
    assert (found.gpus[1].error, found.gpus[1].readings["temperature_celsius"]) == ("", 42)
    assert (found.probe, found.restarts, found.complete) == ("ok", 1, True)


def test_no_question_waits_longer_than_it_says(child: Callable[..., GpuChild]) -> None:
    """Whatever NVML does: a report is not late for its sake."""
    asked, took_s = child("hang * 0", hangs_after_s=1.5), []
    for _ in range(16):
        began_s = time.monotonic()
        with suppress(GpuUnreadable):
            asked.ask(0.2)
        took_s.append(time.monotonic() - began_s)
    # Whoever waited for a hang to be one would wait 1.5 s.
    assert max(took_s) < 0.2 + 1.0


def test_a_gpu_on_which_a_second_call_hangs_is_left_alone(child: Callable[..., GpuChild]) -> None:
    """Each hang costs a process; the other GPU is read on."""
    found = child(f"hang {ECC} 1", f"hang {TEMPERATURE} 1").ask()
    assert found.gpus[0].readings == {}
    assert "hung since" in found.gpus[0].error
    assert (found.gpus[1].error, found.gpus[1].readings["temperature_celsius"]) == ("", 42)


def test_a_call_that_hung_is_tried_again_and_then_forgotten(
    child: Callable[..., GpuChild], control: Control, clock: Clock
) -> None:
    """After some minutes; nobody has to restart anything."""
    asked = child(f"hang {ECC} 1")
    asked.ask()
    control.say()
    clock.now_s += FIRST_S - 1
    assert "hung since" in asked.ask().gpus[0].error
    clock.now_s += 2
    found = asked.ask()
    assert (found.probe, found.gpus[0].error, found.gpus[0].readings["ecc_corrected_errors"]) == ("ok", "", 7)


def test_a_hang_that_is_no_gpu_s_is_told_and_tried_again(
    child: Callable[..., GpuChild], control: Control, clock: Clock
) -> None:
    """The library itself does not begin."""
    asked = child("hang nvmlInit_v2 0")
    assert re.fullmatch(r"nvmlInit_v2 hung since \d\d:\d\d:\d\d UTC", why(asked))
    control.say()
    clock.now_s += 1.5
    assert len(asked.ask().gpus) == 2


def test_a_call_that_takes_long_is_told_before_it_counts_as_hung(child: Callable[..., GpuChild]) -> None:
    """Attaching a GPU takes seconds where nobody keeps the driver loaded."""
    asked = child(f"hang {TEMPERATURE} 1", hangs_after_s=60)
    assert re.fullmatch(rf"{TEMPERATURE} of GPU-00000001 has not answered since \d\d:\d\d:\d\d UTC", why(asked, 3.0))
    assert asked._restarts == 0


def test_a_probe_that_does_not_even_begin_is_told() -> None:
    """A process that is stopped, or cannot load its own files."""
    asked = GpuChild(command=(sys.executable, "-c", "import time; time.sleep(60)"), hangs_after_s=0.5)
    assert re.fullmatch(r"the GPU probe hung since \d\d:\d\d:\d\d UTC", why(asked))
    asked.close()


def test_a_report_is_not_held_up_by_a_longer_question(child: Callable[..., GpuChild]) -> None:
    """The inventory waits half a minute for NVML, a report does not."""
    asked = child("hang nvmlInit_v2 0", hangs_after_s=60)
    longer = Thread(target=lambda: why(asked, 3.0))
    longer.start()
    began_s = time.monotonic()
    assert why(asked, 1.5).startswith("nvmlInit_v2 has not answered since")
    took_s = time.monotonic() - began_s
    longer.join()
    assert took_s < 1.5 + 0.5


def test_what_comes_late_is_in_the_next_answer(child: Callable[..., GpuChild]) -> None:
    """A machine whose NVML takes half a second for everything has its readings, a report later."""
    asked = child(f"slow {ECC} 1 0.2", hangs_after_s=60)
    assert why(asked, 0.1) == "the GPU probe has not answered yet"
    time.sleep(2)
    found = asked.ask(0.1)
    assert (found.probe, found.complete, found.gpus[0].readings["ecc_corrected_errors"]) == ("ok", True, 7)


def test_old_readings_are_not_shown_as_new(child: Callable[..., GpuChild], control: Control) -> None:
    """Those of the question before stand in for one that is late; after that there are none."""
    asked = child(hangs_after_s=60)
    asked.ask()
    control.say("hang * 0")
    late, later = asked.ask(0.1), asked.ask(0.1)
    assert late.complete
    assert late.gpus[0].readings["temperature_celsius"] == 41
    assert not later.complete
    assert [(gpu.model, gpu.readings) for gpu in later.gpus] == [("Fake H100", {})] * 2


@pytest.mark.parametrize(("action", "name"), [("abort", "SIGABRT"), ("segfault", "SIGSEGV")])
def test_a_crash_is_told_by_its_signal_and_place(child: Callable[..., GpuChild], action: str, name: str) -> None:
    """The agent itself goes on."""
    crashed = why(child(f"{action} {TEMPERATURE} 1"))
    assert crashed == f"NVML crashed in {TEMPERATURE} of GPU-00000001: signal {name}, restart in 1 s"


def test_after_a_crash_the_rest_is_read(child: Callable[..., GpuChild], clock: Clock) -> None:
    """A pause, then a process that leaves out the call that crashed."""
    asked = child(f"segfault {TEMPERATURE} 1")
    why(asked)
    assert "restart in 1 s" in why(asked)
    clock.now_s += 1
    found = asked.ask()
    assert errors(found) == [f"NVML crashed in {TEMPERATURE} of GPU-00000001: signal SIGSEGV", ""]
    assert found.gpus[0].readings["power_w"] == 70.5


def test_the_pause_grows_with_each_crash_in_a_row(child: Callable[..., GpuChild], clock: Clock) -> None:
    """A broken driver is asked rarely, but for ever."""
    asked, pauses = child("abort nvmlInit_v2 0"), []
    for _ in range(11):
        pauses.append(int(re.search(r"restart in (\d+) s", why(asked))[1]))
        clock.now_s += HOUR_S
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_gpus_that_were_known_keep_their_names_while_nothing_answers(
    child: Callable[..., GpuChild], control: Control
) -> None:
    """A machine does not lose its GPUs from the inventory because NVML crashed."""
    asked = child()
    asked.ask()
    control.say("abort nvmlDeviceGetCount_v2 0")
    found = asked.ask()
    assert [(gpu.uuid, gpu.model, gpu.readings) for gpu in found.gpus] == [(n, "Fake H100", {}) for n in (ONE, OTHER)]
    assert found.probe == "NVML crashed in nvmlDeviceGetCount_v2: signal SIGABRT, restart in 1 s"
    assert not found.complete


def test_a_process_that_somebody_killed_is_started_anew(child: Callable[..., GpuChild]) -> None:
    """The kernel's out-of-memory killer, for one."""
    asked = child()
    asked.ask()
    os.kill(asked._process.pid, signal.SIGKILL)
    asked._process._process.wait()
    assert len(asked.ask().gpus) == 2


def test_a_driver_updated_under_the_agent_is_told_and_found_mended(
    child: Callable[..., GpuChild], control: Control, clock: Clock
) -> None:
    """Library and driver differ until the driver is loaded anew; then a fresh process has the new library."""
    asked = child("error nvmlInit_v2 0 18")
    assert why(asked).startswith("driver/library version mismatch: ")
    assert "reboot" in why(asked)
    control.say()
    clock.now_s += 1
    found = asked.ask()
    assert (found.probe, len(found.gpus), found.restarts) == ("ok", 2, 0)


def test_a_library_that_was_replaced_is_loaded_anew(
    child: Callable[..., GpuChild], library: Path, tmp_path: Path
) -> None:
    """An update is noticed by the next report, not when the process is old."""
    folder = Path(shutil.copytree(library, tmp_path / "installed"))
    asked = child(folder=folder)
    asked.ask()
    first = asked._process
    shutil.copy(folder / LIBRARY, folder / "new")
    (folder / "new").replace(folder / LIBRARY)
    asked.ask()  # it notices after its answer, and ends
    first._process.wait(10)
    assert asked.ask().restarts == 0
    assert asked._process is not first


def test_a_driver_that_is_not_loaded_comes_with_its_remedy(child: Callable[..., GpuChild]) -> None:
    """NVML itself says so."""
    asked = child("error nvmlInit_v2 0 9")
    with pytest.raises(GpuUnreadable, match="sudo modprobe nvidia") as caught:
        asked.ask()
    assert caught.value.refused
    assert caught.value.without_driver


def test_a_missing_library_comes_with_its_remedy(tmp_path: Path) -> None:
    """A GPU is there, its driver is not installed."""
    if any(Path(folder, LIBRARY).exists() for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib64")):
        pytest.skip("this machine has the NVIDIA driver")
    asked = GpuChild(environment={"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": str(tmp_path)})
    assert "install the NVIDIA driver" in why(asked)
    asked.close()


def test_a_probe_that_cannot_be_started_is_a_failure() -> None:
    """Not a traceback in the agent."""
    assert "cannot be started" in why(GpuChild(command=("/nonexistent/python",)))


def test_an_answer_that_is_none_is_a_failure() -> None:
    """Another program stands where the probe should."""
    asked = GpuChild(command=(sys.executable, "-c", "input(); print('hello'); input()"))
    assert why(asked) == "the GPU probe's answer cannot be read: hello"
    asked.close()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a file system")
def test_processes_that_cannot_be_killed_are_not_waited_for_and_do_not_pile_up(
    child: Callable[..., GpuChild], tmp_path: Path
) -> None:
    """They hang in the kernel: here in a file system that never answers, on a machine in the driver."""
    folder = tmp_path / "silent"
    folder.mkdir()
    silent = Silent(folder)
    asked = child(f"stuck {HANDLE} 0", FAKE_NVML_STUCK=str(folder / "file"))
    try:
        took_s, told = [], ""
        ends_s = time.monotonic() + 30
        while "reboot the machine" not in told and time.monotonic() < ends_s:
            began_s = time.monotonic()
            told = why(asked, 0.2)
            took_s.append(time.monotonic() - began_s)
        stuck = [one.pid for one in asked._unended]
        states = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in stuck]
        assert states == ["D"] * MOST_UNENDED
        assert "2 GPU probes hang in the kernel and cannot be ended: reboot the machine" in told
        assert "hung since" in told
        assert max(took_s) < 0.2 + 1.0
        assert why(asked, 0.2) == told
    finally:
        silent.release()
    for one in asked._unended:
        one.bury(10)


def test_the_probe_ends_when_the_agent_does(library: Path) -> None:
    """Its questions come through a pipe that closes with the agent, however that ends."""
    program = (
        "import os, signal; from agent.gpu.child import GpuChild; c = GpuChild(); c.ask();"
        "print(c._process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library)}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    probe = Path("/proc", ended.stdout.strip(), "stat")
    until_s = time.monotonic() + 5
    while probe.exists() and ") Z " not in probe.read_text() and time.monotonic() < until_s:
        time.sleep(0.05)
    assert not probe.exists() or ") Z " in probe.read_text()


def test_the_agent_itself_never_loads_nvml() -> None:
    """Only the probe's process does: a crash of the library must not be ours."""
    program = (
        "import agent.host.linux, agent.indicators.gpu, sys;"
        "sys.exit('pynvml' in sys.modules or 'libnvidia-ml' in open('/proc/self/maps').read())"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_probe_is_small(child: Callable[..., GpuChild]) -> None:
    """Its memory counts as the agent's: below 9 MB of it is its own (PSS)."""
    asked = child("count * 0 8")
    asked.ask()
    rollup = Path(f"/proc/{asked._process.pid}/smaps_rollup").read_text()
    pss_kb = int(re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)[1])
    print(f"the probe of 8 GPUs: {pss_kb / 1000:.1f} MB of its own")
    assert pss_kb < 9_000
