"""GPUs measured for real, by stand-ins for NVIDIA's libraries: figures, every way to fail, and nothing left behind."""

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from agent.benchmarking import run_benchmarks
from agent.benchmarks import Request, Unmeasured
from agent.benchmarks.gpu import judged
from agent.engines.gpu.product import gpu_product
from agent.engines.gpu.records import Measured
from agent.wiper.gpu import nvml
from shared.codes import Code, Trouble
from tests.agent.benchmarks.cuda.rig import SMALL, Rig, build
from tests.system.harness import wait_for

FLOP = 2 * 64**3
OURS = Path("/proc/self/comm").read_text().strip()
RATE = FLOP / 1e-3 / 1e12
"""TFLOP/s of a stand-in, which takes 1 ms for a product."""


@pytest.fixture(scope="session")
def cuda_libraries(tmp_path_factory, missing) -> Path:
    return build(tmp_path_factory.mktemp("cuda"), missing)


@pytest.fixture
def rig(tmp_path, cuda_libraries, monkeypatch) -> Rig:
    return Rig(tmp_path, cuda_libraries, monkeypatch)


async def refusal(rig: Rig, **given) -> Trouble:
    with pytest.raises(Trouble) as caught:
        judged(await rig.measure(**given))
    return caught.value


def alive(pid: int) -> bool:
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_all_gpus_are_measured_at_once_and_summed(rig):
    """Both figures are the sum over GPUs; what each gave, and under what clock, is in the details."""
    rig.are(count=2)
    went = await rig.measure()
    found = judged(went)
    one, other = (list(outcome.timings.values()) for outcome in went.outcomes)
    assert all(
        first.began_s < second.ended_s and second.began_s < first.ended_s
        for first, second in zip(one, other, strict=True)
    )
    for name in ("fp16", "fp32"):
        assert found.figures[f"gpu_throughput_{name}"] == pytest.approx(2 * RATE, rel=0.1)
        for gpu in found.details["gpus"]:
            assert gpu[name]["tflop_s"] == pytest.approx(RATE, rel=0.1)
            assert (gpu[name]["mhz"], gpu[name]["w"], gpu[name]["celsius"]) == (1755, 690, 61)
    assert [gpu["pci"] for gpu in found.details["gpus"]] == ["0000:17:00.0", "0000:27:00.0"]
    (model,) = found.details["models"]
    assert model["name"] == "Fake H100"
    assert (model["multiprocessors"], model["capability"], model["cublas"]) == (132, "9.0", "12.9.3")
    assert (model["mhz_max"], model["power_limit_w"], model["pcie_max"], model["ecc"]) == (1980, 700, "5x16", True)
    assert (model["size"], model["checked"], model["cuda"]) == (64, 16, "12.4")
    assert found.details["driver"] == "550.90.07"
    assert found.marks == ()


async def test_copies_are_measured_beside(rig):
    """Within the GPU each byte counts twice: it is read and written. The link is seen while it works."""
    rig.are()
    (gpu,) = judged(await rig.measure()).details["gpus"]
    assert gpu["memory_gb_s"] == pytest.approx(20, rel=0.2)
    assert gpu["to_gpu_gb_s"] == pytest.approx(10, rel=0.2)
    assert gpu["to_host_gb_s"] == pytest.approx(10, rel=0.2)


async def test_a_gpu_with_little_memory_gets_smaller_matrices(rig):
    """Under 4 GiB free; the details say which size it was."""
    rig.are(used=78_000)
    assert judged(await rig.measure()).details["models"][0]["size"] == 32


async def test_a_slow_gpu_among_others_is_marked(rig):
    """The sum stays; the least is told."""
    rig.are("fault 2 slow", count=3)
    found = judged(await rig.measure())
    assert "uneven" in found.marks
    assert found.figures["gpu_throughput_fp16"] == pytest.approx(2.5 * RATE, rel=0.1)
    assert found.details["least_fp16_tflop_s"] == pytest.approx(RATE / 2, rel=0.1)


@pytest.mark.parametrize(
    ("reasons", "mark", "word"),
    [
        (0x4, "power_capped", "power_cap"),
        (0x8, "throttled", "hw_slowdown"),
        (0x40, "throttled", "hw_thermal"),
        (0x80, "throttled", "power_brake"),
    ],
)
async def test_what_holds_the_clock_down_is_marked(rig, reasons, mark, word):
    """By NVML's word; the figure stays."""
    rig.are(f"sensors 0 900 690000 88 {reasons} 0")
    found = judged(await rig.measure())
    assert found.marks == (mark,)
    assert found.details["gpus"][0]["reasons"] == [word]
    assert found.figures


@pytest.mark.parametrize("fault", ["wrong", "tf32"])
async def test_a_wrong_product_is_no_figure(rig, fault):
    """One of two GPUs computes wrongly, or less exactly than FP32 is defined: that is told, and the other's rate."""
    rig.are(f"fault 1 {fault}", count=2)
    trouble = await refusal(rig, nonce=b"n" * 32)
    assert trouble.code == Code.BENCHMARK_FAILED
    assert trouble.detail.startswith("Fake H100 at 0000:27:00.0: wrong product: element (")
    assert isinstance(trouble, Unmeasured)
    good, bad = trouble.details["gpus"]
    assert good["fp16"]["tflop_s"] == pytest.approx(RATE, rel=0.1)
    assert (bad["code"], "fp16" in bad) == (Code.BENCHMARK_FAILED, False)


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("no_device", Code.NO_GPU, "CUDA_ERROR_NO_DEVICE): is /dev/nvidia-uvm there"),
        ("exclusive", Code.NO_GPU, "nvidia-smi -c 0"),
        ("not_ready", Code.NO_GPU, "systemctl start nvidia-fabricmanager"),
        (
            "old",
            Code.NOT_INSTALLED,
            "cuBLAS for CUDA 11.4 is not installed: pip install 'rackproof[gpu]', and a driver",
        ),
        ("ancient", Code.NOT_INSTALLED, "the NVIDIA driver is for CUDA 10.2: install version 525 or newer"),
        ("no_memory", Code.BENCHMARK_FAILED, "out of memory: 0 MiB wanted in one piece, 79500 are free"),
        ("no_handle", Code.BENCHMARK_FAILED, "cublasCreate_v2 failed with 3 (ALLOC_FAILED)"),
        ("silent", Code.BENCHMARK_FAILED, "cuEventSynchronize failed with 719 (CUDA_ERROR_LAUNCH_FAILED)"),
        ("lost", Code.BENCHMARK_FAILED, "(CUDA_ERROR_LAUNCH_FAILED); NVML: GPU is lost"),
        ("crash", Code.BENCHMARK_FAILED, "its process was ended by SIGSEGV after fp16"),
        ("hang", Code.BENCHMARK_FAILED, "no word for 6 s since fp16: it hangs in the driver"),
    ],
)
async def test_an_ill_gpu_is_named_and_the_others_are_still_told(rig, fault, code, words):
    """No figure: a sum over some is a wrong figure. No process is left on any GPU."""
    rig.are(f"fault 1 {fault}", count=2)
    trouble = await refusal(rig)
    assert (trouble.code, trouble.detail[:26]) == (code, "Fake H100 at 0000:27:00.0:")
    assert words in trouble.detail
    assert isinstance(trouble, Unmeasured)
    good, bad = trouble.details["gpus"]
    assert good["fp32"]["tflop_s"] == pytest.approx(RATE, rel=0.1)
    assert bad["reason"] in trouble.detail
    assert not [pid for pid in rig.pids() if alive(pid)]


async def test_a_full_gpu_is_told_with_what_is_free(rig):
    """Not even the smaller matrices have room."""
    rig.are(used=79_700)
    assert "out of memory: 300 MiB are free, 400 needed" in (await refusal(rig)).detail


async def test_a_gpu_in_use_is_not_measured(rig):
    """Who uses it is told, by name and number."""
    rig.are(f"process 0 {os.getpid()} 900")
    trouble = await refusal(rig)
    assert trouble.code == Code.DISTURBED
    assert trouble.detail == f"{OURS} ({os.getpid()}) computes on Fake H100 at 0000:17:00.0"
    assert rig.pids() == []


async def test_a_busy_gpu_without_a_process_is_not_measured(rig):
    """Graphics, or a process that NVML does not list."""
    rig.are("sensors 0 1755 690000 61 0 40")
    trouble = await refusal(rig)
    assert (trouble.code, trouble.detail) == (
        Code.DISTURBED,
        "something uses 40 % of Fake H100 at 0000:17:00.0",
    )


async def test_a_gpu_that_becomes_idle_is_waited_for(rig):
    """The last work's traces, for twice the idle time at most."""
    rig.are("sensors 0 1755 690000 61 0 40")
    running = asyncio.create_task(rig.measure(msgspec.structs.replace(SMALL, idle_s=2.0)))
    await asyncio.sleep(1.0)
    rig.are()
    assert judged(await running).figures


async def test_a_process_that_comes_in_between_is_marked_and_named(rig):
    """Checked at each look; ours is not taken for another's."""
    rig.are()
    running = asyncio.create_task(rig.measure())
    while not rig.pids():
        await asyncio.sleep(0.05)
    rig.are(f"process 0 {os.getpid()} 900")
    found = judged(await running)
    assert found.marks == ("disturbed",)
    assert found.details["others"][0].endswith(f"({os.getpid()})")


async def test_a_gpu_that_is_split_is_unsupported(rig):
    """MIG: an instance is not the GPU, and is what tenants would get."""
    rig.are(mig=1)
    trouble = await refusal(rig)
    assert (trouble.code, "MIG" in trouble.detail) == (Code.UNSUPPORTED, True)


async def test_a_machine_without_a_gpu_says_so(rig):
    """A sound device of NVIDIA's, and the board's graphics, are none."""
    rig.device("0000:01:00.1", kind="0x040300")
    rig.device("0000:02:00.0", vendor="0x1a03", kind="0x030000")
    trouble = await refusal(rig)
    assert (trouble.code, trouble.detail) == (Code.NO_GPU, "no NVIDIA GPU on the PCI bus")


@pytest.mark.parametrize("kind", ["0x038000", "0x120000"])
async def test_a_gpu_of_amds_is_unsupported(rig, kind):
    """In words rather than by a guess."""
    rig.device("0000:05:00.0", vendor="0x1002", kind=kind, driver="amdgpu")
    trouble = await refusal(rig)
    assert (trouble.code, "AMD" in trouble.detail) == (Code.UNSUPPORTED, True)


async def test_a_gpu_that_nvml_does_not_count_is_missed(rig):
    """It fell off before the start; one that is given to a virtual machine does not count."""
    rig.are()
    rig.device("0000:99:00.0", driver="vfio-pci")
    assert judged(await rig.measure()).figures
    rig.device("0000:98:00.0")
    assert (await refusal(rig)).detail.startswith("0000:98:00.0 is on the PCI bus, and NVML does not know it")


@pytest.mark.parametrize(
    ("mode", "code", "words"),
    [
        ("not_loaded", Code.NO_GPU, "sudo modprobe nvidia"),
        ("segfault", Code.BENCHMARK_FAILED, "NVML's process was ended by SIGSEGV"),
        ("hang", Code.BENCHMARK_FAILED, "NVML gave no answer within 1 s"),
    ],
)
async def test_a_driver_that_does_not_work_is_a_reason(rig, mode, code, words):
    """With its remedy where there is one."""
    rig.are(mode=mode)
    trouble = await refusal(rig, plan=msgspec.structs.replace(SMALL, patience_s=1.0))
    assert (trouble.code, words in trouble.detail) == (code, True), trouble.detail


async def test_a_gpu_that_is_lost_before_is_a_reason(rig):
    """Counted, and gone."""
    rig.are("lost GPU-9")
    trouble = await refusal(rig)
    assert (trouble.code, trouble.detail) == (Code.BENCHMARK_FAILED, "GPU 1, as NVML counts: GPU is lost")


def there(name: str) -> bool:
    folders = ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", *(f"{one}/nvidia/cublas/lib" for one in sys.path))
    return any(Path(folder, name).exists() for folder in folders)


@pytest.mark.parametrize(
    ("system", "wheel", "name", "words"),
    [
        ("nowhere", "wheel", "libnvidia-ml.so.1", "install the NVIDIA driver"),
        ("nvml", "wheel", "libcuda.so.1", "libcuda.so.1 is missing: install the driver's CUDA library"),
        ("system", "nowhere", "libcublas.so.12", "pip install 'rackproof[gpu]'"),
    ],
)
async def test_what_is_missing_is_told_with_how_to_install_it(rig, system, wheel, name, words):
    """NVML, libcuda, cuBLAS."""
    if there(name):
        pytest.skip(f"this machine has {name}")
    rig.are()
    rig.find(system, wheel)
    trouble = await refusal(rig)
    assert (trouble.code, words in trouble.detail) == (Code.NOT_INSTALLED, True), trouble.detail


async def test_the_systems_cublas_is_found_too(rig, tmp_path, cuda_libraries):
    """By the dynamic linker, where there is no wheel."""
    rig.are()
    (tmp_path / "both").mkdir()
    for file in (*(cuda_libraries / "system").iterdir(), *(cuda_libraries / "wheel").rglob("libcublas.so.12")):
        (tmp_path / "both" / file.name).symlink_to(file)
    rig.find(str(tmp_path / "both"), "nowhere")
    assert judged(await rig.measure()).figures


async def test_sixteen_gpus_fit_into_the_details(rig):
    """8 kB at most, with everything that can stand there."""
    rig.are(f"sensors 0 900 690000 88 {0x4 | 0x8 | 0x20 | 0x40 | 0x80} 0", count=1)
    went = await rig.measure()
    many = msgspec.structs.replace(
        went,
        cards=tuple(
            msgspec.structs.replace(
                went.cards[0], uuid=f"GPU-{n:08d}-aaaa-bbbb-cccc-dddddddddddd", pci=f"0000:{n:02x}:00.0"
            )
            for n in range(16)
        ),
        outcomes=went.outcomes * 16,
        looks=tuple(msgspec.structs.replace(look, readings=look.readings * 16) for look in went.looks),
    )
    found = judged(many)
    assert len(found.details["gpus"]) == 16
    assert len(msgspec.json.encode(found.details)) <= 8000


async def test_what_stood_in_the_environment_changes_nothing(rig, monkeypatch):
    """TF32, emulation, somebody's choice of GPUs: the stand-in for cuBLAS refuses the first two."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    rig.are(count=2)
    assert all(isinstance(one, Measured) for one in (await rig.measure()).outcomes)


async def test_canceling_leaves_nobody_on_a_gpu(rig):
    """As when a booking starts."""
    rig.are(count=2)
    running = asyncio.create_task(rig.measure())
    while len(rig.pids()) < 2:
        await asyncio.sleep(0.05)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert not [pid for pid in rig.pids() if alive(pid)]


PROGRAM = """
import asyncio, sys
from pathlib import Path
from agent.engines.gpu.crew import measure
from tests.agent.benchmarks.cuda.rig import SMALL
asyncio.run(measure(SMALL, None, lambda *_: None, Path(sys.argv[1])))
"""


@pytest.mark.parametrize(("number", "fault"), [(0, "none"), (1, "none"), (2, "hang")])
def test_kill_9_leaves_nobody_on_a_gpu(rig, number, fault):
    """At a random moment: the kernel ends the GPUs' processes with ours, also one that waits for the driver."""
    rig.are(f"fault 1 {fault}", count=2)
    parent = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, rig.bus], env={**os.environ, "PYTHONPATH": f"{os.environ['PYTHONPATH']}:."}
    )
    wait_for(lambda: len(rig.pids()) == 2, 20, "both GPUs to be in use")
    time.sleep(2.0 if fault == "hang" else random.Random(number).uniform(0, 1))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: not [pid for pid in rig.pids() if alive(pid)], 3, "every process to end")


async def test_the_benchmark_says_no_gpu_on_a_machine_without_one():
    """The plug-in is found by its name, and gives a reason and no 0."""
    if nvml.present():
        pytest.skip("this machine has a GPU")
    request = Request(quick=True, directory="/")
    (found,) = await run_benchmarks(["gpu"], request, lambda *_: None)
    assert (found.method_version, found.figures) == ("gpu/1", {})
    assert found.code in {Code.NO_GPU, Code.UNSUPPORTED}


def test_the_agent_itself_never_loads_what_measures():
    """Neither NVIDIA's library nor numpy: only the children do."""
    program = "import sys, agent.benchmarking as b; b.known(); sys.exit(bool({'pynvml', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def multiplied(a: bytes, b: bytes, size: int) -> bytes:
    def at(matrix: bytes, row: int, column: int) -> int:
        return int.from_bytes(matrix[row * size + column : row * size + column + 1], signed=True)

    cells = [
        sum(at(a, row, term) * at(b, term, column) for term in range(size))
        for row in range(size)
        for column in range(size)
    ]
    return b"".join(cell.to_bytes(4, "little", signed=True) for cell in cells)


def asked(a: bytes, b: bytes, size: int) -> bytes:
    argv = [sys.executable, "-m", "agent.engines.gpu.product", str(size)]
    return subprocess.run(argv, input=a + b, capture_output=True, check=True, timeout=60).stdout


@pytest.mark.parametrize("size", [1, 2, 31])
def test_a_product_of_small_whole_numbers_is_exact(rig, size):
    """Row by row, as a child gives it, with the GPU that made it."""
    rig.are(count=2)
    dice = random.Random(size)
    a, b = (bytes(dice.choice((0, 1, 255)) for _ in range(size * size)) for _ in range(2))
    line, _, product = asked(a, b, size).partition(b"\n")
    assert json.loads(line) == {"uuid": "GPU-00000000-0000-0000-0000-000000000001"}
    assert product == multiplied(a, b, size)


@pytest.mark.parametrize(
    ("a", "size"), [(b"\x01\x00\x01", 2), (b"\x02\x00\x01\x01", 2), (b"\x80\x00\x01\x01", 2), (b"", 0)]
)
def test_a_product_of_anything_else_is_refused(a, size):
    """Sizes that do not fit, or numbers whose sums may not be exact."""
    with pytest.raises(Trouble, match="invalid"):
        gpu_product(a, a, size)


@pytest.mark.parametrize(("fault", "code"), [("no_device", "no_gpu"), ("no_memory", "benchmark_failed")])
def test_a_product_that_no_gpu_can_make_is_a_reason(rig, fault, code):
    """And nothing behind it."""
    rig.are(f"fault 0 {fault}")
    line, _, product = asked(b"\x01", b"\x01", 1).partition(b"\n")
    assert (json.loads(line)["code"], product) == (code, b"")
