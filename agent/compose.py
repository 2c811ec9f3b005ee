"""The only place where the agent's parts are made and put together."""

import asyncio
from importlib.metadata import version
from pathlib import Path

from agent import heap, identity, inventory
from agent.config import Settings, prepare
from agent.gpu.child import GpuChild
from agent.health import Sampler
from agent.host import kernel
from agent.host.linux import LinuxHost
from shared import logs
from shared.messages import Facts


def local_host(expected_gpus: int | None = None) -> LinuxHost:
    """Return the machine this process runs on; with how many GPUs its provider says there are."""
    return LinuxHost(GpuChild(), gpus_expected=expected_gpus)


def own_host(settings: Settings) -> LinuxHost:
    """Return the machine as the running agent has it: with the log it was handed, what it has kept and what was set."""
    log = kernel.KernelLog(kernel.handed_over())
    return LinuxHost(GpuChild(), log, Path(settings.state_dir), settings.expected_gpus)


def run(settings: Settings) -> None:
    """
    Run the agent until it is stopped.

    Raises:
        Trouble: `not_enrolled`, `already_running`, `state_unwritable`, `state_corrupt` or `bad_configuration`.
    """
    from agent import indicators  # noqa: PLC0415 - only the daemon reads them
    from agent.daemon import Daemon  # noqa: PLC0415
    from agent.plugins import load  # noqa: PLC0415

    heap.one_arena()
    logs.configure(json={"json": True, "text": False}.get(settings.log), level=settings.log_level)
    host = own_host(settings)
    subjects = load(indicators, "INDICATOR", indicators.Indicator)
    try:
        daemon = Daemon(settings, host, lambda own: Sampler(host, subjects, own), version("rackproof"))
        asyncio.run(daemon.run())
    finally:
        host.close()


def enroll(settings: Settings, origin: str, token: str) -> identity.Pinned:
    """
    Enroll this machine.

    Raises:
        Trouble: what stood in the way.
    """
    from agent import enrollment  # noqa: PLC0415

    logs.configure(json={"json": True, "text": False}.get(settings.log), level="warning")
    prepare(Path(settings.state_dir))
    host = local_host()

    def describe() -> tuple[str, str, Facts]:
        return inventory.hardware_id(host), inventory.boot_id(host), inventory.facts(host)

    try:
        where = enrollment.checked_origin(origin)
        return asyncio.run(enrollment.enroll(settings, where, token, describe, version("rackproof")))
    finally:
        host.close()
