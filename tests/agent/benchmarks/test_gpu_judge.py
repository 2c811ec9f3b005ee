"""What a GPU benchmark makes of what it saw: decisions on values, hand-made and as NVML gives them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.benchmarks import Unmeasured
from agent.benchmarks.gpu import judged
from agent.engines.gpu import judge
from agent.engines.gpu.crew import Run
from agent.engines.gpu.cublas import candidates
from agent.engines.gpu.records import FULL, PHASES, Card, Measured, Reading, Timing, Watched
from shared.codes import Code, Trouble

GIB = 2**30
CARDS = tuple(
    Card(uuid=f"GPU-{n}", name="NVIDIA H100 80GB HBM3", pci=f"0000:{n}7:00.0", memory_mib=81559) for n in (1, 2)
)
READING = Reading(mhz=1755, power_w=697.2, celsius=61, reasons=0x4, use_percent=100, pcie="5x16", pids=(7,))
"""An H100 at a matrix product."""


def timings(rate: float, *, from_s: float = 100.0) -> dict[str, Timing]:
    return {
        name: Timing(began_s=from_s, ended_s=from_s + 5, low=rate * 0.99, median=rate, high=rate * 1.01, batches=20)
        for name in PHASES
    }


def measured(rate: float) -> Measured:
    return Measured(
        multiprocessors=132,
        capability="9.0",
        cuda="12.4",
        cublas="12.9.3",
        size=8192,
        checked=16,
        timings=timings(rate),
    )


def went(
    *rates: float, readings: tuple[Reading, ...] = (READING, READING), at_s: tuple[float, ...] = (101, 102)
) -> Run:
    looks = tuple(Watched(at_s=one, readings=readings) for one in at_s)
    return Run(
        driver="550.90.07",
        cards=CARDS,
        outcomes=tuple(measured(rate) for rate in rates),
        looks=looks,
        ours=(7, 8),
        names={9: "python3"},
    )


def test_the_figure_is_the_sum_of_medians():
    """In TFLOP/s; the power cap under which GPUs work at full load is marked."""
    found = judged(went(700e12, 690e12))
    assert found.figures["gpu_throughput_fp16"] == pytest.approx(1390)
    assert found.marks == ("power_capped",)
    assert found.details["spread"]["gpu_throughput_fp16"] == [pytest.approx(1376.1), pytest.approx(1403.9)]
    one = found.details["gpus"][0]["fp16"]
    assert one == {"tflop_s": 700, "low": 693, "high": 707, "spread": 0.02, "mhz": 1755, "w": 697.2, "celsius": 61}


@pytest.mark.parametrize(
    ("rates", "is_uneven"),
    [((100, 100), False), ((100, 82), False), ((100, 80), True), ((100,) * 7 + (89,), True), ((5,), False)],
)
def test_a_gpu_below_nine_tenths_of_the_median_is_uneven(rates, is_uneven):
    """Of two, the median is their mean."""
    assert judge.uneven(rates) is is_uneven


def test_looks_outside_of_a_phase_do_not_count():
    """A clock between the phases is not the clock under load; without any look there is no figure."""
    with pytest.raises(Unmeasured) as caught:
        judged(went(700e12, 690e12, at_s=(50, 99, 106)))
    assert (caught.value.code, caught.value.details["gpus"][1]["uuid"]) == (Code.BENCHMARK_FAILED, "GPU-2")
    assert "mhz" not in caught.value.details["gpus"][1]["fp16"]


def test_one_look_alone_throttles_nobody():
    """The hardware slowdown may be reported during a change of clocks."""
    slow = Reading(mhz=900, reasons=0x8)
    assert judge.reasons([slow, READING, READING]) == ("power_cap",)
    assert judge.reasons([slow, slow, READING]) == ("hw_slowdown",)
    assert judge.reasons([Reading(reasons=0x1 | 0x2 | 0x10 | 0x100)] * 9) == ()
    assert judge.reasons([Reading()] * 9) == ()


def test_heat_throttles_and_the_power_limit_caps():
    """Two different things to know of a figure."""
    assert judge.held_down(("power_cap",)) == ("power_capped",)
    assert judge.held_down(("sw_thermal",)) == ("throttled",)
    assert judge.held_down(("power_cap", "power_brake")) == ("throttled", "power_capped")
    assert judge.held_down(()) == ()


def test_a_second_process_on_a_gpu_is_an_intruder():
    """One is ours, also where NVML calls it by a number of another namespace."""
    assert judged(went(1e12, 1e12, readings=(Reading(pids=(7,)), Reading(pids=(4711,))))).marks == ()
    found = judged(went(1e12, 1e12, readings=(Reading(pids=(7, 9)), READING)))
    assert "disturbed" in found.marks
    assert found.details["others"] == ["python3 (9)"]
    assert judge.intruders([Watched(at_s=50, readings=(Reading(pids=(7, 9)),))], (7,), 100, 200) == ()


def test_idle_is_below_three_percent_and_without_a_process():
    """What is not told (a model without the counter) does not stand against it."""
    quiet = Reading(use_percent=2)
    assert judge.disturbance(CARDS, (quiet, Reading()), {}) is None
    assert judge.disturbance(CARDS, (quiet, Reading(use_percent=3)), {}).endswith("at 0000:27:00.0")
    assert judge.disturbance(CARDS, (quiet, Reading(pids=(9,))), {}).startswith("a process (9) computes on")
    with pytest.raises(Trouble, match="GPU is lost"):
        judge.disturbance(CARDS, (quiet, Reading(error="GPU is lost")), {})


@pytest.mark.parametrize(
    ("free", "size"), [(80 * GIB, 8192), (4 * GIB, 8192), (4 * GIB - 1, 4096), (400 * 2**20, 4096)]
)
def test_the_size_follows_from_the_free_memory(free, size):
    """Three matrices must have room."""
    assert judge.size_for(FULL, free) == size


@given(st.binary(min_size=1), st.integers(1, 8192))
def test_checked_elements_follow_from_the_nonce(seed, size):
    """The same for the same seed, others for another, all within the matrix."""
    places = judge.chosen(seed, size)
    assert len(places) == 16
    assert all(0 <= row < size and 0 <= column < size for row, column in places)
    assert judge.chosen(seed, size) == places
    assert size < 100 or judge.chosen(seed + b"!", size) != places


def _sum32(terms) -> float:
    total = np.float32(0)
    for one in terms:
        total = np.float32(total + np.float32(one))
    return float(total)


def _cut(value: float, bits: int) -> float:
    """A number cut off (not rounded) after so many bits, as tensor cores do."""
    if value == 0:
        return 0.0
    step = 2.0 ** (math.floor(math.log2(abs(value))) - bits)
    return math.trunc(value / step) * step


def factors(number: int):
    dice = np.random.default_rng(number)
    return (dice.random(8192, dtype=np.float32) * 2 - 1 for _ in range(2))


def outside(kind: str, terms, found: float) -> bool:
    return abs(found - terms.sum()) > judge.tolerance(kind, len(terms), terms.sum(), np.linalg.norm(terms))


@pytest.mark.parametrize("number", range(5))
def test_right_sums_are_within_the_tolerance(number):
    """FP32, one term after the other; and tensor cores that cut off after each term, rounded to 16 bits at the end."""
    left, right = factors(number)
    terms = left.astype(np.float64) * right
    assert not outside("fp32", terms, _sum32(terms))
    terms = left.astype(np.float16).astype(np.float64) * right.astype(np.float16)
    total = 0.0
    for one in terms:
        total = _cut(total + one, 23)
    assert not outside("fp16", terms, float(np.float16(total)))


def test_tf32_in_the_place_of_fp32_is_outside():
    """Sixteen elements are checked, and one outside is enough."""
    found = []
    for number in range(16):
        left, right = factors(number)
        rough = [((one.view(np.uint32) + 0x1000) & 0xFFFFE000).view(np.float32).astype(float) for one in (left, right)]
        found.append(outside("fp32", left.astype(np.float64) * right, float((rough[0] * rough[1]).sum())))
    assert sum(found) >= 12


@pytest.mark.parametrize("kind", ["fp16", "fp32"])
def test_a_sum_of_other_terms_is_outside(kind):
    """A wrong row, column or tile; a part of the sum left out; not a number at all is asked for by `one`."""
    terms = [
        left.astype(np.float16).astype(np.float64) * right.astype(np.float16)
        for left, right in (factors(1), factors(2))
    ]
    assert outside(kind, terms[0], terms[1].sum())
    assert outside(kind, terms[0], terms[0][:-16].sum())
    assert outside(kind, terms[0], 0.0)


def test_a_rate_is_the_median_of_the_batches():
    """With the lowest and the highest."""
    one = judge.timing(10.0, [1.0, 2.0, 5.0], 100, 108)
    assert (one.low, one.median, one.high, one.batches) == (2, 5, 10, 3)


def test_cublas_is_taken_from_the_wheel_first_and_never_newer_than_the_driver(tmp_path):
    """So that machines are alike where they can be."""
    wheel = tmp_path / "nvidia" / "cublas" / "lib"
    wheel.mkdir(parents=True)
    (wheel / "libcublas.so.12").touch()
    found = list(candidates(13, ["/nowhere", str(tmp_path)]))
    assert found[:2] == [str(wheel / "libcublas.so.12"), "libcublas.so.12"]
    assert [one for one in found if not one.startswith("/")] == [
        "libcublas.so.12",
        "libcublas.so.13",
        "libcublas.so.11",
    ]
    assert all("13" not in one for one in candidates(12, [str(tmp_path)]))
