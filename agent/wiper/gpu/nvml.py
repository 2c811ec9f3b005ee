"""
GPUs of this machine through NVML, which only children of this process ever load: it may hang, and it may crash.

The driver lets a process change settings that has CAP_SYS_ADMIN, whatever its user id.

Source: NVIDIA open kernel modules, kernel-open/common/inc/nv-linux.h, NV_IS_SUSER; see also `agent.gpu.child`.
"""

import errno
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct

from agent.host.pci import is_gpu
from agent.wiper.gpu.gpus import GpuRecord, Restore, Seen
from agent.wiper.system.children import in_child

log = structlog.get_logger()

DEADLINE_S = 30.0
"""The first answer loads the driver when nobody else holds it: 1 to 3 s for each GPU, of which there may be 10."""
NODES = "nvidia[0-9]*"
BUS = Path("/sys/bus/pci/devices")
DEVICES = Path("/dev")


class _Answer(Struct, frozen=True):
    gpus: tuple[Seen, ...] = ()
    failures: tuple[str, ...] = ()
    error: str = ""


def present(devices: Path = DEVICES, bus: Path = BUS) -> bool:
    """Return whether an NVIDIA GPU has a device file or stands on the PCI bus."""
    return any(devices.glob(NODES)) or any(
        is_gpu(_says(one / "vendor"), _says(one / "class")) for one in (bus.iterdir() if bus.is_dir() else ())
    )


def look(deadline_s: float = DEADLINE_S) -> tuple[Seen, ...]:
    """
    Return the GPUs as NVML sees them now.

    Raises:
        OSError: it is not installed, refuses, hangs or crashes; `strerror` has the words.
    """
    return _asked(_see, deadline_s).gpus


def restore(wanted: Mapping[str, tuple[Restore, ...]]) -> tuple[str, ...]:
    """
    Put settings back, by the GPU's UUID; return why some could not be.

    Raises:
        OSError: as `look`; some of it may have been done.
    """

    def work() -> bytes:
        from agent.gpu import settings  # noqa: PLC0415 - only a child may load it

        return settings.restore(wanted)

    return _asked(work, DEADLINE_S).failures


def record() -> tuple[GpuRecord, ...] | None:
    """Return the GPUs for the record of a grant; None where they cannot be read: nobody is sent away for that."""
    if not present():
        return ()
    try:
        return tuple(one.now for one in look())
    except OSError as error:
        log.warning("wiper.gpus_unread", error=error.strerror)
        return None


def _see() -> bytes:
    from agent.gpu import settings  # noqa: PLC0415 - only a child may load it

    return settings.see()


def _asked(work: Callable[[], bytes], deadline_s: float) -> _Answer:
    try:
        answer = msgspec.json.decode(in_child(work, deadline_s), type=_Answer)
    except msgspec.MsgspecError as error:
        raise OSError(errno.EPROTO, "NVML gave no answer that can be understood") from error
    except OSError as error:
        words = {
            errno.ETIMEDOUT: f"no answer within {deadline_s:.0f} s",
            errno.EPROTO: "the process that asked crashed",
        }
        raise OSError(error.errno, f"NVML: {words.get(error.errno or 0, error.strerror)}") from error
    if answer.error:
        raise OSError(errno.EIO, f"NVML: {answer.error}"[:200])
    return answer


def _says(file: Path) -> str | None:
    try:
        return file.read_text("ascii").strip()
    except OSError:
        return None
