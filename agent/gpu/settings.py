"""
NVML's side of a wipe: GPUs as they are, and settings put back. To be imported in a child process only.

Tried with a stand-in for the library only, on no real GPU.

Source: NVML API reference, "Device Queries" and "Device Commands".
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import pynvml as nvml

MIB = 2**20
_ABSENT = (nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_FUNCTION_NOT_FOUND)
"""This model or driver has no such thing."""

_LISTS: tuple[tuple[Callable[[Any], Any], Callable[[Any], Any]], ...] = (
    (nvml.nvmlDeviceGetComputeRunningProcesses_v3, nvml.nvmlDeviceGetComputeRunningProcesses_v2),
    (nvml.nvmlDeviceGetGraphicsRunningProcesses_v3, nvml.nvmlDeviceGetGraphicsRunningProcesses_v2),
    (nvml.nvmlDeviceGetMPSComputeRunningProcesses_v3, nvml.nvmlDeviceGetMPSComputeRunningProcesses_v2),
)
"""Each in its newest form and the one before. The first is the one that every GPU has."""


def see() -> bytes:
    """Return every GPU as JSON, for `agent.wiper.gpu.gpus.Seen`; where NVML as a whole refuses, `{"error": …}`."""
    return _answered(lambda: {"gpus": [_gpu(index) for index in range(nvml.nvmlDeviceGetCount())]})


def restore(wanted: Mapping[str, Iterable[tuple[str, tuple[int, ...]]]]) -> bytes:
    """Put settings back, by GPU and in order; return as JSON why some could not be."""
    return _answered(lambda: {"failures": [why for uuid in wanted for why in _restored(uuid, wanted[uuid])]})


def _answered(work: Callable[[], dict[str, Any]]) -> bytes:
    # A device that is opened as standard output would be given what the library prints.
    while os.open("/dev/null", os.O_RDWR) < 2:
        continue
    try:
        nvml.nvmlInit()
        return json.dumps(work()).encode()
    except nvml.NVMLError as error:
        return json.dumps({"error": str(error)}).encode()


def _gpu(index: int) -> dict[str, Any]:
    now: dict[str, Any] = {}
    try:
        gpu = nvml.nvmlDeviceGetHandleByIndex(index)
        now["uuid"] = nvml.nvmlDeviceGetUUID(gpu)
        users = _users(gpu)
        read: dict[str, Any] = {"uuid": now["uuid"], **_settings(gpu), **_memory(gpu, users)}
    except nvml.NVMLError as error:
        return {"now": now, "error": str(error)}
    named = None if users is None else [{"pid": pid, "memory_mib": users[pid]} for pid in sorted(users)]
    return {"now": read, "users": named}


def _settings(gpu: Any) -> dict[str, int | None]:
    ecc, ecc_pending = _maybe(nvml.nvmlDeviceGetEccMode, gpu) or (None, None)
    mig, mig_pending = _maybe(nvml.nvmlDeviceGetMigMode, gpu) or (None, None)
    return {
        "persistence": _maybe(nvml.nvmlDeviceGetPersistenceMode, gpu),
        "compute_mode": _maybe(nvml.nvmlDeviceGetComputeMode, gpu),
        "power_limit_mw": _maybe(nvml.nvmlDeviceGetPowerManagementLimit, gpu),
        "graphics_clock_mhz": _maybe(nvml.nvmlDeviceGetApplicationsClock, gpu, nvml.NVML_CLOCK_GRAPHICS),
        "memory_clock_mhz": _maybe(nvml.nvmlDeviceGetApplicationsClock, gpu, nvml.NVML_CLOCK_MEM),
        "ecc": ecc,
        "ecc_pending": ecc_pending,
        "mig": mig,
        "mig_pending": mig_pending,
    }


def _memory(gpu: Any, users: dict[int, int | None] | None) -> dict[str, int | None]:
    known = None if users is None or None in users.values() else sum(one or 0 for one in users.values())
    return {"memory_mib": nvml.nvmlDeviceGetMemoryInfo(gpu).used // MIB, "processes_mib": known}


def _users(gpu: Any) -> dict[int, int | None] | None:
    """Return the processes on a GPU with their MiB; one may stand in several lists. None where there is no list."""
    found: dict[int, int | None] = {}
    for number, (newest, older) in enumerate(_LISTS):
        listed = _maybe(newest, gpu)
        if listed is None:
            listed = _maybe(older, gpu)
        if listed is None and number == 0:
            return None
        for one in listed or ():
            mib = None if one.usedGpuMemory is None else one.usedGpuMemory // MIB
            before = found.get(one.pid, mib)
            found[one.pid] = None if mib is None or before is None else max(mib, before)
    return found


def _maybe(ask: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return ask(*arguments)
    except nvml.NVMLError as error:
        if error.value not in _ABSENT:
            raise
        return None


def _restored(uuid: str, wanted: Iterable[tuple[str, tuple[int, ...]]]) -> list[str]:
    failures = []
    for setting, values in wanted:
        try:
            _PUT_BACK[setting](nvml.nvmlDeviceGetHandleByUUID(uuid), *values)
        except nvml.NVMLError as error:
            failures.append(f"{setting}: {error}")
    return failures


def _set_clocks(gpu: Any, *clocks: int) -> None:
    """Drop the tenant's clocks, and set the recorded ones where those were not the default."""
    with suppress(nvml.NVMLError):
        nvml.nvmlDeviceResetApplicationsClocks(gpu)
    now = tuple(_maybe(nvml.nvmlDeviceGetApplicationsClock, gpu, one) for one in _CLOCKS)
    if now != clocks and len(clocks) == len(_CLOCKS):
        nvml.nvmlDeviceSetApplicationsClocks(gpu, *clocks)


_CLOCKS = (nvml.NVML_CLOCK_MEM, nvml.NVML_CLOCK_GRAPHICS)
_PUT_BACK: dict[str, Callable[..., None]] = {
    "persistence": nvml.nvmlDeviceSetPersistenceMode,
    "compute_mode": nvml.nvmlDeviceSetComputeMode,
    "power_limit_mw": nvml.nvmlDeviceSetPowerManagementLimit,
    "clocks": _set_clocks,
}
