"""A library update that moves a kernel's work is a new method, and must not come unnoticed."""

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent.engines.cpu.crew import environment
from agent.engines.cpu.kernels import KERNELS

MILLIONS = {
    "x86_64": {"zstd": 126.9, "sha256": 29.3, "gemm": 28.8, "sort": 85.5},
}
"""
Instructions of one call, on the paths that `PATHS` chooses, with the wheels and OpenSSL 3.0.

Counted and not timed: the same on every machine and however busy it is. When this moves, so do the scores, and `cpu/1`
becomes `cpu/2`.
"""
MOST_APART = 0.10
PATHS = {
    # What Valgrind 3.19 knows of x86_64, and every server has: AVX2, but neither AVX-512 nor the SHA extensions.
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "OPENSSL_ia32cap": ":~0xfc230000",
    "PYTHONHASHSEED": "0",
}
CALLS = 1
MARK = "getpgid"
"""A function of the C library that nothing else calls: the counts are written out each time that it is entered."""
CHILD = f"""
import os, sys
from agent.engines.cpu.compiled import MAKE
for name in sys.argv[1:]:
    call = MAKE[name]()
    call()
    for calls in ({CALLS}, 2 * {CALLS}):
        os.getpgid(0)
        for _ in range(calls):
            call()
        os.getpgid(0)
"""


@pytest.fixture(scope="module")
def counted(missing, tmp_path_factory) -> dict[str, float]:
    """Millions of instructions of one call, by kernel."""
    if platform.machine() not in MILLIONS:
        pytest.skip(f"no counts are recorded for {platform.machine()}")
    if "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("a CPU without AVX2 runs other code")
    if not shutil.which("valgrind"):
        missing("no valgrind is installed (Debian: valgrind)")
    out = tmp_path_factory.mktemp("counts") / "out"
    names = [kernel.name for kernel in KERNELS]
    argv = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", f"--dump-before={MARK}"]
    done = subprocess.run(
        [*argv, sys.executable, "-c", CHILD, *names],
        env=environment(os.environ) | PATHS,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    # Four marks a kernel: what comes before a second and a fourth are so many calls, and twice as many.
    parts = [total(out.with_name(f"out.{number}")) for number in range(1, 4 * len(names) + 1)]
    return {name: (parts[4 * at + 3] - parts[4 * at + 1]) / CALLS / 1e6 for at, name in enumerate(names)}


def total(part: Path) -> int:
    """Return the instructions in one of Callgrind's files."""
    found = re.search(r"^totals: (\d+)", part.read_text(), re.MULTILINE)
    assert found
    return int(found.group(1))


@pytest.mark.parametrize("name", [kernel.name for kernel in KERNELS])
def test_a_kernel_takes_the_instructions_that_it_took(counted, name):
    """Within a tenth of what is on record."""
    assert counted[name] == pytest.approx(MILLIONS["x86_64"][name], rel=MOST_APART)
