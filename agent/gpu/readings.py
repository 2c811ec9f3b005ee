"""
What is read of one GPU, by the name it has in a report; an entry is one question to NVML, or a few that go together.

Source: NVML API reference, "Device Queries", "Field Value Queries", "NvLink Methods".
"""

import time
from collections.abc import Callable
from ctypes import byref, c_uint

from agent.gpu.nvml import (
    INSUFFICIENT_SIZE,
    NO_FUNCTION,
    Device,
    FieldValue,
    MarginTemperature,
    Memory,
    NvmlError,
    Utilization,
    ViolationTime,
)

Readings = dict[str, int | float | bool]
Question = Callable[[Device, Readings], Readings]
"""Asks one GPU; is told what it has answered so far."""

_SM, _MEMORY = 1, 2
_SLOWDOWN = 1
_CORRECTED, _UNCORRECTED = 0, 1
_VOLATILE, _AGGREGATE = 0, 1
_POWER_POLICY, _THERMAL_POLICY = 0, 1
_MOST_LINKS = 36
_LINK_ERRORS = (0, 1, 2)
"""NVML_CLOCK_…, NVML_TEMPERATURE_THRESHOLD_…, NVML_MEMORY_ERROR_TYPE_…, NVML_…_ECC, NVML_PERF_POLICY_…, and
NVML_NVLINK_MAX_LINKS; errors of a link are replays, recoveries and flits with a wrong checksum."""

_MEMORY_TEMPERATURE = 82
_SOFTWARE_POWER_CAP, _SOFTWARE_THERMAL, _HARDWARE_THERMAL, _POWER_BRAKE = 74, 269, 270, 271
"""Nanoseconds in which the clock was held down. Source: nvml.h, NVML_FI_DEV_CLOCKS_EVENT_REASON_…."""
_LINK_TOTALS = (38, 45, 52, 59)
"""Flits and data with a wrong checksum, replays, recoveries, of all links. Source: nvml.h, NVML_FI_DEV_NVLINK_…."""
_FIELDS = (_MEMORY_TEMPERATURE, _SOFTWARE_POWER_CAP, _SOFTWARE_THERMAL, _HARDWARE_THERMAL, _POWER_BRAKE, *_LINK_TOTALS)


def _one(name: str, call: str, *arguments: int) -> Question:
    return lambda gpu, _found: {name: gpu.number(call, *arguments)}


def _watts(name: str, call: str) -> Question:
    return lambda gpu, _found: {name: round(gpu.number(call) / 1000, 1)}


def _ecc(name: str, kind: int, counter: int) -> Question:
    return lambda gpu, _found: {name: gpu.long("nvmlDeviceGetTotalEccErrors", kind, counter)}


def _mode(name: str, call: str) -> Question:
    """A mode that is one thing now and maybe another after a reboot; now is what counts."""

    def ask(gpu: Device, _found: Readings) -> Readings:
        now, pending = c_uint(), c_uint()
        gpu.call(call, byref(now), byref(pending))
        return {name: bool(now.value)}

    return ask


def _memory(gpu: Device, _found: Readings) -> Readings:
    memory = Memory()
    gpu.call("nvmlDeviceGetMemoryInfo", byref(memory))
    return {"memory_used_bytes": memory.used, "memory_total_bytes": memory.total}


def _utilization(gpu: Device, _found: Readings) -> Readings:
    found = Utilization()
    gpu.call("nvmlDeviceGetUtilizationRates", byref(found))
    return {"utilization_percent": found.gpu}


def _margin(gpu: Device, found: Readings) -> Readings:
    """The distance to the slowdown: NVML's own where the driver has it (since 570), else of the two temperatures."""
    margin = MarginTemperature(version=MarginTemperature.VERSION)
    if gpu.answer("nvmlDeviceGetMarginTemperature", byref(margin)) == 0:
        return {"slowdown_margin_celsius": margin.margin}
    if "slowdown_celsius" in found and "temperature_celsius" in found:
        return {"slowdown_margin_celsius": found["slowdown_celsius"] - found["temperature_celsius"]}
    return {}


def _violation_ns(gpu: Device, policy: int) -> int:
    found = ViolationTime()
    gpu.call("nvmlDeviceGetViolationStatus", policy, byref(found))
    return int(found.violation_ns)


def _fields(gpu: Device, _found: Readings) -> Readings:
    """What only field values tell: memory's temperature, time in which the clock was held down, errors of NVLinks."""
    values = (FieldValue * len(_FIELDS))(*(FieldValue(field=field) for field in _FIELDS))
    gpu.call("nvmlDeviceGetFieldValues", len(_FIELDS), values)
    told = {value.field: int(value.number()) for value in values if value.code == 0}
    found: Readings = {"at_ns": time.monotonic_ns()}
    if told.get(_MEMORY_TEMPERATURE):
        found["memory_temperature_celsius"] = told[_MEMORY_TEMPERATURE]
    if {_SOFTWARE_THERMAL, _HARDWARE_THERMAL} <= told.keys():
        found["throttled_thermal_ns"] = told[_SOFTWARE_THERMAL] + told[_HARDWARE_THERMAL]
        if _SOFTWARE_POWER_CAP in told:
            found["throttled_power_ns"] = told[_SOFTWARE_POWER_CAP]
    if _POWER_BRAKE in told:
        found["throttled_power_brake_ns"] = told[_POWER_BRAKE]
        found["throttled_hardware_ns"] = told.get(_HARDWARE_THERMAL, 0) + told[_POWER_BRAKE]
    if told.keys() & set(_LINK_TOTALS):
        found["nvlink_errors"] = sum(told.get(field, 0) for field in _LINK_TOTALS)
    return found


def _violations(gpu: Device, found: Readings) -> Readings:
    """The same times of drivers whose field values do not have them."""
    if "throttled_thermal_ns" in found:
        return {}
    return {
        "throttled_thermal_ns": _violation_ns(gpu, _THERMAL_POLICY),
        "throttled_power_ns": _violation_ns(gpu, _POWER_POLICY),
        "at_ns": time.monotonic_ns(),
    }


def _remapped_rows(gpu: Device, _found: Readings) -> Readings:
    corrected, uncorrected, pending, failed = c_uint(), c_uint(), c_uint(), c_uint()
    gpu.call("nvmlDeviceGetRemappedRows", byref(corrected), byref(uncorrected), byref(pending), byref(failed))
    return {
        "rows_remapped": corrected.value + uncorrected.value,
        "rows_remapped_uncorrected": uncorrected.value,
        "row_remap_pending": bool(pending.value),
        "row_remap_failed": bool(failed.value),
    }


def _counted(gpu: Device, call: str, *arguments: int) -> int:
    """Return how long a list is; NVML says so when it is given no room for it."""
    count = c_uint()
    code = gpu.answer(call, *arguments, byref(count), None)
    if code not in {0, INSUFFICIENT_SIZE}:
        raise NvmlError(code, call)
    return count.value


def _retired_pages(gpu: Device, _found: Readings) -> Readings:
    return {"retired_pages": sum(_counted(gpu, "nvmlDeviceGetRetiredPages", cause) for cause in (0, 1))}


def _pages_pending(gpu: Device, _found: Readings) -> Readings:
    return {"retired_pages_pending": bool(gpu.number("nvmlDeviceGetRetiredPagesPendingStatus"))}


def _processes(gpu: Device, _found: Readings) -> Readings:
    newest, older = (f"nvmlDeviceGetComputeRunningProcesses_v{version}" for version in (3, 2))
    try:
        return {"processes": _counted(gpu, newest)}
    except NvmlError as error:
        if error.code != NO_FUNCTION:
            raise
        return {"processes": _counted(gpu, older)}


def _nvlinks(gpu: Device, found: Readings) -> Readings:
    """How many links there are and work; a GPU without NVLink refuses the first."""
    states = []
    for link in range(_MOST_LINKS):
        active = c_uint()
        if gpu.answer("nvmlDeviceGetNvLinkState", link, byref(active)) != 0:
            break
        states.append(bool(active.value))
    if not states:
        return {}
    told: Readings = {"nvlinks": len(states), "nvlinks_active": sum(states)}
    if "nvlink_errors" not in found:
        links = [link for link, active in enumerate(states) if active]
        told["nvlink_errors"] = sum(
            gpu.long("nvmlDeviceGetNvLinkErrorCounter", link, counter) for link in links for counter in _LINK_ERRORS
        )
    return told


def _persistence(gpu: Device, _found: Readings) -> Readings:
    return {"persistence": bool(gpu.number("nvmlDeviceGetPersistenceMode"))}


def _reasons(gpu: Device, _found: Readings) -> Readings:
    # The name of before driver 535, which newer ones know too.
    return {"throttle_reasons": gpu.long("nvmlDeviceGetCurrentClocksThrottleReasons")}


QUICK: tuple[Question, ...] = (
    _one("temperature_celsius", "nvmlDeviceGetTemperature", 0),
    _one("slowdown_celsius", "nvmlDeviceGetTemperatureThreshold", _SLOWDOWN),
    _margin,
    _utilization,
    _memory,
    _watts("power_w", "nvmlDeviceGetPowerUsage"),
    _watts("power_limit_w", "nvmlDeviceGetEnforcedPowerLimit"),
    _one("sm_clock_mhz", "nvmlDeviceGetClockInfo", _SM),
    _one("sm_clock_max_mhz", "nvmlDeviceGetMaxClockInfo", _SM),
    _one("memory_clock_mhz", "nvmlDeviceGetClockInfo", _MEMORY),
    _one("memory_clock_max_mhz", "nvmlDeviceGetMaxClockInfo", _MEMORY),
    _reasons,
    _one("pcie_generation", "nvmlDeviceGetCurrPcieLinkGeneration"),
    _one("pcie_generation_max", "nvmlDeviceGetMaxPcieLinkGeneration"),
    _one("pcie_width", "nvmlDeviceGetCurrPcieLinkWidth"),
    _one("pcie_width_max", "nvmlDeviceGetMaxPcieLinkWidth"),
    _persistence,
    _mode("mig", "nvmlDeviceGetMigMode"),
    _mode("ecc_mode", "nvmlDeviceGetEccMode"),
)
"""Asked of every GPU first."""

SLOW: tuple[Question, ...] = (
    _fields,
    _violations,
    _one("pcie_replays", "nvmlDeviceGetPcieReplayCounter"),
    _processes,
    _nvlinks,
    _remapped_rows,
    _retired_pages,
    _pages_pending,
    _ecc("ecc_corrected_errors", _CORRECTED, _VOLATILE),
    _ecc("ecc_uncorrected_errors", _UNCORRECTED, _VOLATILE),
    _ecc("ecc_uncorrected_lifetime", _UNCORRECTED, _AGGREGATE),
)
"""Asked when every GPU has answered the quick ones: some block for 45 s on a GPU with many ECC errors.

Source: NVSentinel issue 1748."""
