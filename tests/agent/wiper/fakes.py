"""Stand-ins for NVIDIA's libraries, compiled from fake_nvml.c and fake_cuda.c, and the file that they work on."""

import shutil
import subprocess
from pathlib import Path

LIBRARIES = {"libnvidia-ml.so.1": "fake_nvml.c", "libcuda.so.1": "fake_cuda.c"}


def gpu(number: int, **changes: int) -> str:
    """A GPU's line: as at a grant, but for these changes."""
    fields = {
        "persistence": 1,
        "compute": 0,
        "power": 700_000,
        "graphics": 1000,
        "memory": 2000,
        "ecc": 1,
        "ecc_pending": 1,
        "mig": 0,
        "mig_pending": 0,
        "used": 500,
        "total": 80_000,
    }
    assert set(changes) <= set(fields)
    return " ".join((f"gpu GPU-{number}", *map(str, (fields | changes).values())))


def state(*lines: str, mode: str = "answer") -> str:
    """The file's text."""
    return "\n".join((mode, *lines)) + "\n"


def build(folder: Path, missing) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        missing("a C compiler (cc)")
    for name, source in LIBRARIES.items():
        argv = [compiler, "-shared", "-fPIC", "-o", folder / name, Path(__file__).with_name(source)]
        subprocess.run(argv, check=True)
    return folder
