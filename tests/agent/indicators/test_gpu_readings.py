"""What is read of a GPU, and how time shares are made of it."""

import os
from collections.abc import Callable, Iterator
from ctypes import sizeof
from pathlib import Path

import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.gpu import nvml, readings
from agent.gpu.answer import Answer, UnreadableError
from agent.gpu.child import GpuChild
from agent.gpu.sparing import FIRST_S, LONGEST_S, active, spare
from agent.host import Gpu, Gpus
from agent.indicators import gpu as indicator
from agent.indicators.gpu import READS, Kept, newest_reasons, parse_gpus, parse_shares, without_nvml
from tests.agent.indicators.nvml import Control

SECOND_NS = 1e9


@pytest.fixture
def asked(library: Path, control: Control) -> Iterator[GpuChild]:
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library), "FAKE_NVML_CONTROL": str(control.file)}
    made = GpuChild(environment=environment)
    yield made
    made.close()


def test_every_reading_of_a_gpu_is_asked_for(asked: GpuChild) -> None:
    """The first GPU of the stand-in answers everything."""
    found = asked.ask()
    assert found.driver == "550.90.07"
    one = found.gpus[0]
    assert (one.uuid, one.model, one.pci_address) == (
        "GPU-00000001-aaaa-bbbb-cccc-dddddddddddd",
        "Fake H100",
        "0000:0b:00.0",
    )
    assert one.readings == {
        "temperature_celsius": 41,
        "memory_temperature_celsius": 51,
        "slowdown_celsius": 87,
        "slowdown_margin_celsius": 46,
        "utilization_percent": 97,
        "memory_used_bytes": 20,
        "memory_total_bytes": 80,
        "power_w": 70.5,
        "power_limit_w": 700.0,
        "sm_clock_mhz": 1755,
        "sm_clock_max_mhz": 1980,
        "memory_clock_mhz": 2619,
        "memory_clock_max_mhz": 2619,
        "throttle_reasons": 4,
        "pcie_generation": 5,
        "pcie_generation_max": 5,
        "pcie_width": 8,
        "pcie_width_max": 16,
        "pcie_replays": 12,
        "persistence": True,
        "mig": False,
        "ecc_mode": True,
        "ecc_corrected_errors": 7,
        "ecc_uncorrected_errors": 107,
        "ecc_uncorrected_lifetime": 117,
        "rows_remapped": 5,
        "rows_remapped_uncorrected": 2,
        "row_remap_pending": True,
        "row_remap_failed": False,
        "retired_pages": 5,
        "retired_pages_pending": True,
        "nvlinks": 18,
        "nvlinks_active": 17,
        "nvlink_errors": 38 + 45 + 52 + 59,
        "processes": 2,
    }


def test_what_a_gpu_does_not_support_is_left_out(asked: GpuChild) -> None:
    """A consumer's card with an old driver: no ECC, no NVLink, no field values; and that is no error."""
    one = asked.ask().gpus[1]
    assert one.error == ""
    assert one.readings == {
        "temperature_celsius": 42,
        "memory_used_bytes": 20,
        "memory_total_bytes": 80,
        "power_w": 70.5,
        "throttle_reasons": 4,
        "processes": 0,
    }


def test_an_error_of_one_call_costs_one_reading(asked: GpuChild, control: Control) -> None:
    """It is told with the call's name; the others are good."""
    control.say("error nvmlDeviceGetPowerUsage 1 999")
    one = asked.ask().gpus[0]
    assert one.error == "Unknown Error (nvmlDeviceGetPowerUsage)"
    assert "power_w" not in one.readings
    assert one.readings["ecc_corrected_errors"] == 7


def test_a_driver_s_counters_of_time_become_shares(asked: GpuChild, control: Control) -> None:
    """Held down by heat all the time since the last read, by power not at all; an old driver has its own way to count."""
    first = asked.ask()
    kept = {gpu.uuid: gpu.counters for gpu in first.gpus}
    control.say("value field270 1 9e15", "value nvmlDeviceGetViolationStatus 0 5")
    second = asked.ask()
    one, other = second.gpus
    assert parse_shares(one, kept[one.uuid], (0,)) == {
        "throttled_thermal_percent": 100.0,
        "throttled_power_percent": 0.0,
        "throttled_power_brake_percent": 0.0,
        "throttled_hardware_percent": 100.0,
    }
    assert (other.counters["throttled_thermal_ns"], other.counters["throttled_power_ns"]) == (5, 0)


def test_a_share_is_the_time_held_down_of_the_time_passed() -> None:
    """Three of ten seconds; a counter that fell, as after a reset, says nothing."""
    before = {"at_ns": 5 * SECOND_NS, "throttled_power_ns": 1 * SECOND_NS, "throttled_thermal_ns": 9 * SECOND_NS}
    now = {"at_ns": 15 * SECOND_NS, "throttled_power_ns": 4 * SECOND_NS, "throttled_thermal_ns": 0}
    gpu = Gpu(uuid="GPU-1", counters=now)
    assert parse_shares(gpu, before, ()) == {"throttled_power_percent": 30.0}
    assert parse_shares(gpu, {}, ()) == {}


def test_without_counters_a_share_is_that_of_the_reads() -> None:
    """One of four reads says thermal slowdown by the hardware; only the newest ten count."""
    gpu = Gpu(uuid="GPU-1", readings={"throttle_reasons": 0})
    assert parse_shares(gpu, {}, (0, 0x40, 0, 0)) == {
        "throttled_thermal_percent": 25.0,
        "throttled_power_percent": 0.0,
        "throttled_power_brake_percent": 0.0,
        "throttled_hardware_percent": 25.0,
    }
    kept: dict[str, tuple[int, ...]] = {}
    for bits in range(READS + 3):
        kept = newest_reasons([Gpu(uuid="GPU-1", readings={"throttle_reasons": bits})], kept)
    assert kept["GPU-1"] == tuple(range(3, READS + 3))


def test_a_question_without_an_end_claims_nothing_about_the_gpus_it_did_not_reach() -> None:
    """Seven of eight not reached are not seven lost."""
    gpus = (Gpu(uuid="GPU-00000001-a", error="x hung since 14:03:05 UTC"),)
    whole = parse_gpus(Gpus(gpus=gpus), 1, None, Kept({}))
    cut = parse_gpus(Gpus(gpus=gpus, probe="x hung since 14:03:05 UTC", complete=False), 1, None, Kept({}))
    assert whole["seen_by_nvml"] == 0
    assert "seen_by_nvml" not in cut
    assert cut["probe"] == "x hung since 14:03:05 UTC"


def test_a_provider_who_says_how_many_there_are_misses_the_last_one_too(bench: Callable) -> None:
    """A GPU that left the bus altogether is no machine without a GPU."""
    machine = bench("plain-vm")
    machine.answer(gpus_expected=1)
    values = indicator.read(machine.host, None).values
    assert values == {
        "on_pci_bus": 0,
        "seen_by_nvml": 0,
        "expected": 1,
        "probe": "no NVIDIA GPU on the PCI bus",
        "probe_restarts": 0,
    }


def test_a_gpu_without_its_driver_is_told_with_the_one_it_has() -> None:
    """None, or another: a GPU given to a virtual machine has vfio-pci."""
    assert without_nvml(1, set(), "install it") == "1 NVIDIA GPU on the PCI bus, no driver loaded: install it"
    assert without_nvml(8, {"vfio-pci"}, "why") == "8 NVIDIA GPUs on the PCI bus, driver vfio-pci: why"


def test_a_gpu_given_to_a_virtual_machine_is_no_missing_driver(bench: Callable) -> None:
    """Its kernel driver is named, as the bus tells it."""
    machine = bench("no-driver")
    links = machine.answers("links")
    links |= {f"/sys/bus/pci/devices/0000:0{n}:00.0/driver": "../../../bus/pci/drivers/vfio-pci" for n in (1, 2)}
    machine.answer(links=links)
    values = indicator.read(machine.host, None).values
    assert values["probe"].startswith("2 NVIDIA GPUs on the PCI bus, driver vfio-pci: libnvidia-ml.so.1 is missing")


def test_a_call_is_left_out_longer_each_time_and_then_the_whole_gpu() -> None:
    """A minute, two, at most an hour; a second call of the same GPU takes the GPU with it."""
    spared, lasted_s = (), []
    for n in range(8):
        spared = spare(spared, "call", "GPU-1", "why", n * 10_000)
        lasted_s.append(spared[-1].until_s - n * 10_000)
    assert lasted_s == [FIRST_S, 120, 240, 480, 960, 1920, LONGEST_S, LONGEST_S]
    assert [one.key for one in spared] == ["call GPU-1"]
    spared = spare(spared, "other", "GPU-1", "why", 70_001)
    assert [one.key for one in active(spared, 70_002)] == ["call GPU-1", "* GPU-1"]
    assert active(spared, 1e9) == ()


@given(st.lists(st.text(), max_size=5).map("\t".join) | st.sampled_from(["value\t0\tname\t1e", "gpu\tx\t\t\t"]))
def test_a_line_is_taken_or_refused_and_never_breaks(line: str) -> None:
    """Whatever a broken process writes."""
    answer = Answer()
    try:
        answer.take(line)
    except UnreadableError:
        return
    answer.gpus({}, {})


STRUCTS = [
    (nvml.FieldValue, pynvml.c_nvmlFieldValue_t),
    (nvml.Memory, pynvml.c_nvmlMemory_t),
    (nvml.PciInfo, pynvml.nvmlPciInfo_t),
    (nvml.Utilization, pynvml.c_nvmlUtilization_t),
    (nvml.ViolationTime, pynvml.c_nvmlViolationTime_t),
    (nvml.MarginTemperature, pynvml.c_nvmlMarginTemperature_v1_t),
]


@pytest.mark.parametrize(("ours", "theirs"), STRUCTS)
def test_our_structs_are_nvidia_s(ours: type, theirs: type) -> None:
    """Size and the place of every field, as in NVIDIA's own bindings."""
    assert sizeof(ours) == sizeof(theirs)
    places = [[getattr(kind, name).offset for name, *_ in kind._fields_] for kind in (ours, theirs)]
    assert places[0] == places[1]


def test_our_constants_are_nvidia_s() -> None:
    """As in NVIDIA's own bindings."""
    assert (nvml.NOT_SUPPORTED, nvml.NOT_LOADED, nvml.NO_LIBRARY, nvml.NO_FUNCTION) == (
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_LIBRARY_NOT_FOUND,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    )
    assert (nvml.INSUFFICIENT_SIZE, nvml.LOST, nvml.RESET_REQUIRED, nvml.MISMATCH) == (
        pynvml.NVML_ERROR_INSUFFICIENT_SIZE,
        pynvml.NVML_ERROR_GPU_IS_LOST,
        pynvml.NVML_ERROR_RESET_REQUIRED,
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    )
    assert pynvml.nvmlMarginTemperature_v1 == nvml.MarginTemperature.VERSION
    assert readings._MOST_LINKS == pynvml.NVML_NVLINK_MAX_LINKS
    assert readings._FIELDS == (
        pynvml.NVML_FI_DEV_MEMORY_TEMP,
        pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP,
        pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN,
        pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN,
        pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN,
        pynvml.NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL,
        pynvml.NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL,
        pynvml.NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL,
        pynvml.NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL,
    )
