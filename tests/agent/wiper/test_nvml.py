"""NVML and libcuda in children of the wiper: they answer, hang, crash or are missing, and it goes on."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.wiper.gpu import nvml
from tests.agent.wiper.fakes import gpu, state

LOOK = """
import sys
from agent.wiper.gpu import nvml
try:
    print(nvml.look(float(sys.argv[1])))
except OSError as error:
    print(error.strerror)
sys.exit(any(name in sys.modules for name in ('pynvml', 'agent.gpu.settings')))
"""
RESTORE = """
from agent.wiper.gpu import nvml
from agent.wiper.gpu.gpus import Restore
wanted = (Restore('persistence', (0,)), Restore('power_limit_mw', (600000,)), Restore('clocks', (2000, 1100)))
print(nvml.restore({'GPU-1': wanted}))
"""


@pytest.fixture
def ask(libraries: Path, tmp_path: Path) -> Callable[..., str]:
    """Run a program with the stand-ins, on GPUs that stand in a file."""

    def run(program: str, text: str, *argv: str) -> str:
        (tmp_path / "gpus").write_text(text)
        given = {"FAKE_GPUS": str(tmp_path / "gpus"), "LD_LIBRARY_PATH": str(libraries)}
        words = [sys.executable, *(("-c", program) if "\n" in program else ("-m", program)), *argv]
        done = subprocess.run(words, env=os.environ | given, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode in {0, 1}
        assert "\n" not in program or done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def test_gpus_are_seen_with_their_processes(ask):
    """What one does not have is None, and one that is lost does not hide the others."""
    text = state(gpu(1), gpu(2, graphics=-1, memory=-1, mig=-1, mig_pending=-1), "lost GPU-3", "process 0 7 100")
    found = ask(LOOK, text, "30")
    assert found.count("Seen(") == 3
    assert "users=(GpuUser(pid=7, memory_mib=100),)" in found
    assert "memory_mib=500, processes_mib=100" in found
    assert "graphics_clock_mhz=None, memory_clock_mhz=None, ecc=1, ecc_pending=1, mig=None, mig_pending=None" in found
    assert "error='GPU is lost'" in found


def test_memory_that_a_process_does_not_tell_of_is_unknown(ask):
    """Not 0: the sum would be too small."""
    assert "processes_mib=None" in ask(LOOK, state(gpu(1), "process 0 7 -1"), "30")


def test_what_the_library_prints_does_not_get_into_a_device(ask, tmp_path):
    """The child begins without any descriptor: the first that are opened would be its standard ones."""
    assert "Seen(" in ask(LOOK, state(gpu(1)), "30")
    assert (tmp_path / "gpus.device").read_text() == ""


def test_a_hang_ends_at_the_deadline(ask):
    """And the child with it."""
    began_s = time.monotonic()
    assert ask(LOOK, state(gpu(1), mode="hang"), "1") == "NVML: no answer within 1 s"
    assert time.monotonic() - began_s < 10


@pytest.mark.parametrize(
    ("mode", "words"), [("segfault", "the process that asked crashed"), ("not_loaded", "Driver Not Loaded")]
)
def test_a_library_that_does_not_work_is_an_error_with_its_reason(ask, mode, words):
    """The process that asked through a child is not hurt, and has not loaded anything itself."""
    assert ask(LOOK, state(mode=mode), "30") == f"NVML: {words}"


def test_a_missing_library_is_an_error_with_its_reason(libraries):
    """The card is there, its driver is not installed."""
    if any(Path(folder, "libnvidia-ml.so.1").exists() for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib64")):
        pytest.skip("this machine has the NVIDIA driver")
    with pytest.raises(OSError, match="NVML Shared Library Not Found"):
        nvml.look()


def test_settings_are_put_back(ask, tmp_path):
    """Clocks are reset, and set where the recorded ones are not the default."""
    assert ask(RESTORE, state(gpu(1, power=1, graphics=5, memory=5))) == "()"
    expected = gpu(1, persistence=0, power=600_000, graphics=1100)
    assert (tmp_path / "gpus").read_text() == state(expected)


def test_what_cannot_be_put_back_is_told(ask, tmp_path):
    """Each with the library's word; nothing is changed."""
    text = state(gpu(1), mode="no_permission")
    assert ask(RESTORE, text).count("Insufficient Permissions") == 3
    assert (tmp_path / "gpus").read_text() == text


def test_memory_is_filled_in_pieces(ask, tmp_path):
    """The library gives at most half of what is free at once; in the end too little is left for a piece."""
    answer = json.loads(ask("agent.gpu.fill", state(gpu(1), gpu(2, total=1000)), "GPU-2"))
    assert answer["of_mib"] == 1000
    assert 500 - 4 <= answer["filled_mib"] <= 500
    assert int((tmp_path / "gpus.filled").read_text()) == answer["filled_mib"]


@pytest.mark.parametrize(
    ("uuid", "mode", "words"),
    [
        ("GPU-2", "answer", "cuInit failed with 100"),
        ("GPU-1", "cuda_refuses", "cuDevicePrimaryCtxRetain failed with 46"),
    ],
)
def test_memory_that_cannot_be_filled_is_told(ask, uuid, mode, words):
    """A card that is gone; one whose compute mode forbids it."""
    assert json.loads(ask("agent.gpu.fill", state(gpu(1), mode=mode), uuid)) == {"error": words}


@pytest.mark.parametrize(
    ("vendor", "kind", "here"),
    [("0x10de", "0x030200", True), ("0x10de", "0x040300", False), ("0x1a03", "0x030000", False)],
)
def test_a_card_without_a_driver_is_seen_on_the_bus(tmp_path, vendor, kind, here):
    """An NVIDIA display controller; not its sound device, nor the board's own graphics."""
    (tmp_path / "0000:01:00.0").mkdir()
    (tmp_path / "0000:01:00.0" / "vendor").write_text(f"{vendor}\n")
    (tmp_path / "0000:01:00.0" / "class").write_text(f"{kind}\n")
    assert nvml.present(tmp_path / "none", tmp_path) is here


def test_a_device_file_is_a_gpu(tmp_path):
    """The control device alone is not."""
    (tmp_path / "nvidiactl").touch()
    assert not nvml.present(tmp_path, tmp_path / "none")
    (tmp_path / "nvidia0").touch()
    assert nvml.present(tmp_path, tmp_path / "none")
