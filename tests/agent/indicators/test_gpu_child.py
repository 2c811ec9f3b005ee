"""The NVML process: it may hang, crash or find nothing, and the agent goes on. Here NVML is a small C library."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.gpu.child import ANSWERS_OF_A_LIFE, GpuChild, pause_s
from agent.host import GpuUnreadable

SOURCE = Path(__file__).with_name("fake_nvml.c")
HOUR_S = 3600.0


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler (cc) to build the stand-in for NVML")
    folder = tmp_path_factory.mktemp("nvml")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "libnvidia-ml.so.1", SOURCE], check=True)
    return folder


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def child(library: Path, clock: Clock) -> Iterator[Callable[..., GpuChild]]:
    made: list[GpuChild] = []

    def make(mode: str, deadline_s: float = 20.0) -> GpuChild:
        environment = {**os.environ, "LD_LIBRARY_PATH": str(library), "FAKE_NVML": mode}
        made.append(GpuChild(environment=environment, deadline_s=deadline_s, now_s=clock))
        return made[-1]

    yield make
    for one in made:
        one.close()


def why(child: GpuChild) -> str:
    with pytest.raises(GpuUnreadable) as caught:
        child.ask()
    return str(caught.value)


def test_gpus_are_read_and_what_they_do_not_support_is_left_out(child: Callable[..., GpuChild]) -> None:
    """Two GPUs without ECC, and a library that prints into its standard output."""
    found = child("answer").ask()
    assert found.driver == "550.90.07"
    assert [gpu.uuid for gpu in found.gpus] == [f"GPU-0000000{n}-aaaa-bbbb-cccc-dddddddddddd" for n in (1, 2)]
    assert found.gpus[0].model == "Fake H100"
    readings = {"temperature_celsius": 41, "power_w": 70.5, "memory_used_bytes": 20, "memory_total_bytes": 80}
    assert found.gpus[0].readings == readings


def test_one_process_answers_again_and_again(child: Callable[..., GpuChild]) -> None:
    """Starting Python for each report would cost more than the agent."""
    asked = child("answer")
    asked.ask()
    first = asked._process
    asked.ask()
    assert asked._process is first


def test_a_process_is_replaced_after_its_life(child: Callable[..., GpuChild]) -> None:
    """What leaks in it leaks for hours, not for months."""
    asked = child("answer")
    asked.ask()
    first = asked._process
    asked._answered = ANSWERS_OF_A_LIFE
    asked.ask()
    assert asked._process is not first


@pytest.mark.parametrize("mode", ["lost", "lost_at_once"])
def test_a_lost_gpu_does_not_hide_the_others(child: Callable[..., GpuChild], mode: str) -> None:
    """Its answer stands where its readings would."""
    one, other = child(mode).ask().gpus
    assert (one.error, other.error) == ("", "GPU is lost")


def test_a_hang_ends_at_the_deadline_and_the_process_with_it(child: Callable[..., GpuChild]) -> None:
    """Nothing is left running."""
    asked = child("hang", deadline_s=2.0)
    began_s = time.monotonic()
    assert why(asked) == "the GPU probe gave no answer within 2 s"
    assert time.monotonic() - began_s < 4
    assert asked._process is None
    assert asked._unended is None


@pytest.mark.parametrize(("mode", "name"), [("crash", "SIGABRT"), ("segfault", "SIGSEGV")])
def test_a_crash_is_told_by_its_signal(child: Callable[..., GpuChild], mode: str, name: str) -> None:
    """The agent itself goes on."""
    assert why(child(mode)) == f"the GPU probe was ended by {name}"


def test_after_a_failure_the_gpus_are_left_alone_for_a_while(child: Callable[..., GpuChild], clock: Clock) -> None:
    """No process is started before the pause is over; then one is."""
    asked = child("crash")
    why(asked)
    clock.now_s += 3
    assert why(asked) == "the GPU probe was ended by SIGABRT; next try in 2 s"
    clock.now_s += 3
    assert why(asked) == "the GPU probe was ended by SIGABRT"
    clock.now_s += 6
    assert "next try in 4 s" in why(asked)


def test_gpus_that_come_back_are_read_again(child: Callable[..., GpuChild], clock: Clock) -> None:
    """And a later failure starts with the shortest pause."""
    asked = child("crash")
    why(asked)
    asked._environment = {**asked._environment, "FAKE_NVML": "answer"}
    clock.now_s += HOUR_S
    assert len(asked.ask().gpus) == 2
    assert asked._failures == 0


def test_a_process_that_somebody_killed_is_started_anew(child: Callable[..., GpuChild]) -> None:
    """The kernel's out-of-memory killer, for one."""
    asked = child("answer")
    asked.ask()
    os.kill(asked._process.pid, signal.SIGKILL)
    asked._process.wait()
    assert len(asked.ask().gpus) == 2


@pytest.mark.parametrize(("mode", "words"), [("not_loaded", "modprobe nvidia"), ("mismatch", "reboot")])
def test_a_driver_that_does_not_work_comes_with_its_remedy(
    child: Callable[..., GpuChild], mode: str, words: str
) -> None:
    """And with a fresh process the next time, so that a mended driver is found."""
    asked = child(mode)
    assert words in why(asked)
    assert asked._process is None


def test_a_missing_library_comes_with_its_remedy(tmp_path: Path) -> None:
    """A GPU is there, its driver is not installed."""
    if any(Path(folder, "libnvidia-ml.so.1").exists() for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib64")):
        pytest.skip("this machine has the NVIDIA driver")
    asked = GpuChild(environment={"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": str(tmp_path)})
    assert "install the NVIDIA driver" in why(asked)


def test_a_probe_that_cannot_be_started_is_a_failure() -> None:
    """Not a traceback in the agent."""
    assert "cannot be started" in why(GpuChild(command=("/nonexistent/python",)))


def test_an_answer_that_is_none_is_a_failure() -> None:
    """Another program stands where the probe should."""
    asked = GpuChild(command=(sys.executable, "-c", "input(); print('hello'); input()"))
    assert "cannot be read" in why(asked)


def test_the_probe_ends_when_the_agent_does(library: Path) -> None:
    """Its questions come through a pipe that closes with the agent, however that ends."""
    program = (
        "import os, signal; from agent.gpu.child import GpuChild; c = GpuChild(); c.ask();"
        "print(c._process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library), "FAKE_NVML": "answer"}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    probe = Path("/proc", ended.stdout.strip(), "stat")
    until_s = time.monotonic() + 5
    while probe.exists() and ") Z " not in probe.read_text() and time.monotonic() < until_s:
        time.sleep(0.05)
    assert not probe.exists() or ") Z " in probe.read_text()


def test_the_pause_grows_to_ten_minutes() -> None:
    """A broken GPU is asked rarely, but for ever."""
    assert [pause_s(n) for n in (1, 2, 3, 8, 1000)] == [5, 10, 20, 600, 600]


def test_the_agent_itself_never_loads_nvml() -> None:
    """Only the probe's process does: a crash of the library must not be ours, nor its 11 MB."""
    program = "import sys, agent.host.linux, agent.indicators.gpu; sys.exit('pynvml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
