"""
The process that speaks to NVML: a question a line on stdin, an answer a line of JSON on stdout.

It imports nothing of the agent's: what NVML does to this process stays in this process. The answer is `agent.host.Gpus`
as JSON, or `{"error": "…"}`. It ends when stdin does, and after an error that a fresh process may not have, such as a
driver that was updated under it.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pynvml as nvml

Readings = dict[str, int | float | str | bool]

REMEDIES: dict[int, str] = {
    nvml.NVML_ERROR_LIBRARY_NOT_FOUND: (
        "libnvidia-ml.so.1 is missing: install the NVIDIA driver (on Ubuntu: sudo ubuntu-drivers install --gpgpu)"
    ),
    nvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA kernel driver is not loaded: sudo modprobe nvidia, or reboot",
    nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
        "the NVIDIA driver was updated and the old one still runs: reboot to load the new one"
    ),
    nvml.NVML_ERROR_NO_PERMISSION: "this user may not open /dev/nvidiactl: check its permissions",
}
"""What to do about errors that concern the whole machine. Source: NVML API reference, nvmlReturn_t."""

_UNANSWERED = (nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_FUNCTION_NOT_FOUND, nvml.NVML_ERROR_NO_PERMISSION)
"""This model, driver or user does not get this reading; the others are still good."""


def _memory(gpu: Any) -> Readings:
    found = nvml.nvmlDeviceGetMemoryInfo(gpu)
    return {"memory_used_bytes": found.used, "memory_total_bytes": found.total}


def _remapped_rows(gpu: Any) -> Readings:
    corrected, uncorrected, pending, failed = nvml.nvmlDeviceGetRemappedRows(gpu)
    return {
        "rows_remapped": corrected + uncorrected,
        "row_remap_pending": bool(pending),
        "row_remap_failed": bool(failed),
    }


def _one(name: str, ask: Callable[[Any], Any]) -> Callable[[Any], Readings]:
    return lambda gpu: {name: ask(gpu)}


_ASK: tuple[Callable[[Any], Readings], ...] = (
    _one("temperature_celsius", lambda gpu: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)),
    _one(
        "slowdown_celsius",
        lambda gpu: nvml.nvmlDeviceGetTemperatureThreshold(gpu, nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN),
    ),
    _one("utilization_percent", lambda gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu),
    _memory,
    _one("power_w", lambda gpu: round(nvml.nvmlDeviceGetPowerUsage(gpu) / 1000, 1)),
    _one("power_limit_w", lambda gpu: round(nvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1000, 1)),
    _one("sm_clock_mhz", lambda gpu: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM)),
    _one("sm_clock_max_mhz", lambda gpu: nvml.nvmlDeviceGetMaxClockInfo(gpu, nvml.NVML_CLOCK_SM)),
    _one("throttle_reasons", nvml.nvmlDeviceGetCurrentClocksThrottleReasons),
    _one("pcie_generation", nvml.nvmlDeviceGetCurrPcieLinkGeneration),
    _one("pcie_width", nvml.nvmlDeviceGetCurrPcieLinkWidth),
    _one("pcie_width_max", nvml.nvmlDeviceGetMaxPcieLinkWidth),
    _one(
        "ecc_corrected_errors",
        lambda gpu: nvml.nvmlDeviceGetTotalEccErrors(
            gpu, nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, nvml.NVML_VOLATILE_ECC
        ),
    ),
    _one(
        "ecc_uncorrected_errors",
        lambda gpu: nvml.nvmlDeviceGetTotalEccErrors(
            gpu, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
        ),
    ),
    _remapped_rows,
)


def read_gpu(index: int) -> dict[str, Any]:
    """Return one GPU; its `error` says why the rest is missing when it stops answering on the way."""
    found: dict[str, Any] = {"uuid": f"index {index}", "readings": {}}
    try:
        gpu = nvml.nvmlDeviceGetHandleByIndex(index)
        found["uuid"] = nvml.nvmlDeviceGetUUID(gpu)
        found["model"] = nvml.nvmlDeviceGetName(gpu)
        for readings in _answers(gpu):
            found["readings"].update(readings)
    except nvml.NVMLError as error:
        found["error"] = str(error)
    return found


def _answers(gpu: Any) -> Iterator[Readings]:
    """Ask for everything; what this model does not have is skipped, a GPU that is lost ends it."""
    for ask in _ASK:
        try:
            yield ask(gpu)
        except nvml.NVMLError as error:
            if error.value not in _UNANSWERED:
                raise


def read_gpus() -> dict[str, Any]:
    """Return every GPU that NVML counts."""
    count = nvml.nvmlDeviceGetCount()
    return {"driver": nvml.nvmlSystemGetDriverVersion(), "gpus": [read_gpu(index) for index in range(count)]}


def main() -> int:
    """Answer questions until there are no more, or until NVML fails as a whole."""
    # What a library prints must not stand between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    begun = False
    for _question in sys.stdin:
        try:
            if not begun:
                nvml.nvmlInit()
                begun = True
            answer = read_gpus()
        except nvml.NVMLError as error:
            answer = {"error": REMEDIES.get(error.value, f"NVML: {error}")}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        if "error" in answer:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
