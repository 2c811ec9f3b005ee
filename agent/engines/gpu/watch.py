"""
`python -m agent.engines.gpu.watch PARENT`: what NVML says of all GPUs, five times a second, a line of JSON each.

A process of its own, because NVML hangs and crashes with the hardware. Tried with a stand-in for NVML only.

Source: NVML API reference, "Device Queries".
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pynvml as nvml

from agent.engines.gpu.judge import EVERY_S
from agent.engines.gpu.records import Card, Reading, Watched
from agent.gpu.nvml import REMEDIES
from agent.processes import die_with_parent
from shared.codes import Code

_ABSENT = (nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_FUNCTION_NOT_FOUND, nvml.NVML_ERROR_NO_PERMISSION)
"""This model, driver or user does not get this; the rest is still good."""
_ONE = (nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_RESET_REQUIRED)
"""Errors of one GPU; others are of all."""
_LISTS: tuple[tuple[Callable[[Any], Any], Callable[[Any], Any]], ...] = (
    (nvml.nvmlDeviceGetComputeRunningProcesses_v3, nvml.nvmlDeviceGetComputeRunningProcesses_v2),
    (nvml.nvmlDeviceGetMPSComputeRunningProcesses_v3, nvml.nvmlDeviceGetMPSComputeRunningProcesses_v2),
)
"""Processes that compute, each list in its newest form and the one before."""


def _maybe(ask: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return ask(*arguments)
    except nvml.NVMLError as error:
        if error.value not in _ABSENT:
            raise
        return None


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else round(milliwatts / 1000, 1)


def _link(generation: int | None, width: int | None) -> str | None:
    return None if generation is None or width is None else f"{generation}x{width}"


def _yes(state: int | None) -> bool | None:
    return None if state is None else bool(state)


def card(gpu: Any) -> Card:
    """Return what one GPU is."""
    bus = nvml.nvmlDeviceGetPciInfo_v3(gpu).busId
    ecc, mig = _maybe(nvml.nvmlDeviceGetEccMode, gpu), _maybe(nvml.nvmlDeviceGetMigMode, gpu)
    return Card(
        uuid=nvml.nvmlDeviceGetUUID(gpu),
        name=nvml.nvmlDeviceGetName(gpu),
        # NVML writes eight digits of domain, the kernel four.
        pci=(bus.decode() if isinstance(bus, bytes) else bus).lower()[-12:],
        memory_mib=nvml.nvmlDeviceGetMemoryInfo(gpu).total // 2**20,
        mhz_max=_maybe(nvml.nvmlDeviceGetMaxClockInfo, gpu, nvml.NVML_CLOCK_SM),
        power_limit_w=_watts(_maybe(nvml.nvmlDeviceGetEnforcedPowerLimit, gpu)),
        ecc=_yes(ecc[0]) if ecc else None,
        persistence=_yes(_maybe(nvml.nvmlDeviceGetPersistenceMode, gpu)),
        mig=_yes(mig[0]) if mig else None,
        pcie_max=_link(
            _maybe(nvml.nvmlDeviceGetMaxPcieLinkGeneration, gpu), _maybe(nvml.nvmlDeviceGetMaxPcieLinkWidth, gpu)
        ),
    )


def reading(gpu: Any) -> Reading:
    """Return what one GPU does now; its `error` where it no longer answers."""
    try:
        use = _maybe(nvml.nvmlDeviceGetUtilizationRates, gpu)
        return Reading(
            mhz=_maybe(nvml.nvmlDeviceGetClockInfo, gpu, nvml.NVML_CLOCK_SM),
            power_w=_watts(_maybe(nvml.nvmlDeviceGetPowerUsage, gpu)),
            celsius=_maybe(nvml.nvmlDeviceGetTemperature, gpu, nvml.NVML_TEMPERATURE_GPU),
            # The name of before driver 535, which newer ones know too.
            reasons=_maybe(nvml.nvmlDeviceGetCurrentClocksThrottleReasons, gpu),
            use_percent=None if use is None else use.gpu,
            pcie=_link(
                _maybe(nvml.nvmlDeviceGetCurrPcieLinkGeneration, gpu), _maybe(nvml.nvmlDeviceGetCurrPcieLinkWidth, gpu)
            ),
            pids=_pids(gpu),
        )
    except nvml.NVMLError as error:
        return Reading(error=str(error))


def _pids(gpu: Any) -> tuple[int, ...]:
    return tuple(
        sorted({one.pid for newest, older in _LISTS for one in _maybe(newest, gpu) or _maybe(older, gpu) or ()})
    )


def main(parent: str) -> None:
    """Watch until somebody ends this."""
    die_with_parent(int(parent))
    # What a library prints must not stand between the lines.
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    gpus: list[Any] = []
    first = _begun(gpus)
    out.write(msgspec.json.encode(first) + b"\n")
    due_s = time.monotonic()
    while not first.error:
        look = Watched(at_s=time.monotonic(), readings=tuple(reading(gpu) for gpu in gpus))
        out.write(msgspec.json.encode(look) + b"\n")
        due_s = max(due_s + EVERY_S, time.monotonic())
        time.sleep(max(0.0, due_s - time.monotonic()))


def _begun(gpus: list[Any]) -> Watched:
    """Begin, and return what stands first: all GPUs, whose handles are put into the list, or why there are none."""
    cards: list[Card] = []
    try:
        nvml.nvmlInit()
        driver = nvml.nvmlSystemGetDriverVersion()
        for index in range(nvml.nvmlDeviceGetCount()):
            gpus.append(nvml.nvmlDeviceGetHandleByIndex(index))
            cards.append(card(gpus[-1]))
    except nvml.NVMLError as error:
        if error.value in _ONE:
            return Watched(error=f"GPU {len(cards)}, as NVML counts: {error}", code=Code.BENCHMARK_FAILED)
        code = Code.NOT_INSTALLED if error.value == nvml.NVML_ERROR_LIBRARY_NOT_FOUND else Code.NO_GPU
        return Watched(error=REMEDIES.get(error.value, f"NVML: {error}"), code=code)
    return Watched(driver=driver, cards=tuple(cards))


if __name__ == "__main__":
    main(*sys.argv[1:])
