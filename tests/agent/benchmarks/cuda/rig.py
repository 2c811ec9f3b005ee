"""A machine with GPUs that are small C libraries: built once, ill as a test wants them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from agent.engines.gpu.crew import Run, measure
from agent.engines.gpu.records import Course, Plan
from tests.agent.wiper.fakes import gpu, state

HERE = Path(__file__).parent
NVML = HERE.parents[1] / "wiper" / "fake_nvml.c"
SMALL = Plan(
    size=64,
    small_size=32,
    product=Course(0.1, 0.6, 0.1),
    copy=Course(0.02, 0.06, 0.02),
    copy_bytes=2**20,
    pinned_bytes=2**18,
    idle_s=0.4,
    patience_s=5.0,
)


def build(folder: Path, missing) -> Path:
    """Compile the libraries: NVML and libcuda into "system", cuBLAS where its wheel would put it."""
    compiler = shutil.which("cc")
    if compiler is None:
        missing("a C compiler (cc)")
    system, wheel = folder / "system", folder / "wheel" / "nvidia" / "cublas" / "lib"
    nvml = folder / "nvml"
    for one in (system, wheel, nvml):
        one.mkdir(parents=True)
    shared = [compiler, "-O2", "-shared", "-fPIC", "-o"]
    subprocess.run([*shared, system / "libnvidia-ml.so.1", NVML], check=True)
    shutil.copy(system / "libnvidia-ml.so.1", nvml)
    subprocess.run([*shared, system / "libcuda.so.1", HERE / "fake_cuda.c"], check=True)
    cublas = [HERE / "fake_cublas.c", f"-L{system}", "-l:libcuda.so.1"]
    subprocess.run([*shared, wheel / "libcublas.so.12", *cublas], check=True)
    return folder


class Rig:
    """GPUs for one test: their state in a file, their devices on a PCI bus, their libraries found by name."""

    def __init__(self, folder: Path, libraries: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file, self.bus = folder / "gpus", folder / "bus"
        self.bus.mkdir()
        self.libraries, self._environment = libraries, monkeypatch
        monkeypatch.setenv("FAKE_GPUS", str(self.file))
        # What a provider may have set to look better, or by accident.
        for name in ("NVIDIA_TF32_OVERRIDE", "CUBLAS_EMULATE_SINGLE_PRECISION", "CUDA_LAUNCH_BLOCKING"):
            monkeypatch.setenv(name, "1")
        self.find()

    def find(self, system: str = "system", wheel: str = "wheel") -> None:
        """Say where the libraries are."""
        self._environment.setenv("LD_LIBRARY_PATH", str(self.libraries / system))
        self._environment.setenv("PYTHONPATH", str(self.libraries / wheel))

    def are(self, *lines: str, count: int = 1, mode: str = "answer", **changes: int) -> None:
        """Have so many GPUs, with more lines about them."""
        gpus = [gpu(number + 1, **changes) for number in range(count)]
        sensors = [f"sensors {number} 1755 690000 61 0 0" for number in range(count)]
        self.file.write_text(state(*gpus, *sensors, *lines, mode=mode))
        for number in range(count):
            self.device(f"0000:{0x17 + 0x10 * number:02x}:00.0")

    def device(self, address: str, vendor: str = "0x10de", kind: str = "0x030200", driver: str = "nvidia") -> None:
        """Put a device on the bus."""
        place = self.bus / address
        place.mkdir(exist_ok=True)
        (place / "vendor").write_text(f"{vendor}\n")
        (place / "class").write_text(f"{kind}\n")
        if not (place / "driver").is_symlink():
            (place / "driver").symlink_to(f"/nowhere/drivers/{driver}")

    async def measure(self, plan: Plan = SMALL, nonce: bytes | None = None) -> Run:
        return await measure(plan, nonce, lambda *_: None, self.bus)

    def pids(self) -> list[int]:
        """Processes that ever had a context."""
        return [int(one.suffix[1:]) for one in self.file.parent.glob("gpus.context.*")]
