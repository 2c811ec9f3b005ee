"""GPUs: whether every NVIDIA GPU on the PCI bus answers through the driver."""

from agent.checks import Check, Finding, Group, Scene, fine, problem, unknown
from agent.host import Gpus, GpuUnreadable, pci

LIMIT = "every NVIDIA GPU on the PCI bus answers"


def judge(on_bus: int, found: Gpus | GpuUnreadable) -> Finding:
    """
    Judge the GPUs.

    Args:
        on_bus: How many there are.
        found: Those that NVML can read, or why it cannot.
    """
    if not on_bus:
        return unknown("no NVIDIA GPU on the PCI bus")
    if isinstance(found, GpuUnreadable):
        value = f"{on_bus} on the PCI bus, none readable: {found}"
        remedy = "install the NVIDIA driver of your distribution, reboot, and see that nvidia-smi lists them"
        return problem("gpu_driver", value, limit=LIMIT, remedy=remedy)
    seen = sum(not gpu.error for gpu in found.gpus)
    value = f"{seen} seen by the driver, {on_bus} on the PCI bus"
    if seen < on_bus:
        remedy = "sudo dmesg | grep -i -e nvrm -e xid; reboot; one that stays away: reseat it or have it replaced"
        return problem("gpu_missing", value, limit=LIMIT, remedy=remedy)
    return fine(f"{value}, driver {found.driver}", LIMIT)


def look(scene: Scene) -> Finding:
    """Count the GPUs on the bus and ask NVML for them."""
    on_bus = sum(pci.devices(scene.host).values())
    if not on_bus:
        return judge(0, Gpus())
    try:
        return judge(on_bus, scene.host.gpus())
    except GpuUnreadable as error:
        return judge(on_bus, error)


CHECK = Check(
    name="gpus",
    title="GPUs and driver",
    group=Group.HEALTH,
    look=look,
    # The driver may have to be loaded first, which takes seconds for each GPU.
    deadline_s=35.0,
    codes={
        "gpu_driver": "GPUs that cannot be read are neither reported nor measured, and cannot be let.",
        "gpu_missing": "The machine is let as one with more GPUs than tenants would get.",
    },
)
