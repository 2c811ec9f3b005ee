"""GPUs: whether every NVIDIA GPU on the PCI bus answers through the driver."""

from agent.checks import Check, Finding, Group, Scene, fine, problem, unknown
from agent.host import Gpus, GpuUnreadable, pci

MESSAGES = "sudo dmesg | grep -i -e nvrm -e xid"
LIMIT = "every NVIDIA GPU on the PCI bus answers"


def judge(on_bus: int, found: Gpus | GpuUnreadable, expected: int | None = None) -> Finding:
    """
    Judge the GPUs.

    Args:
        on_bus: How many there are.
        found: Those that NVML can read, or why it cannot.
        expected: How many the provider says there are; None where nothing is said.
    """
    if expected is not None and on_bus < expected:
        remedy = (
            "power the machine off and on; one that stays away: reseat it, have it replaced, or correct expected_gpus"
        )
        return problem("gpu_absent", f"{on_bus} on the PCI bus", limit=f"{expected}, by expected_gpus", remedy=remedy)
    if not on_bus:
        return unknown("no NVIDIA GPU on the PCI bus")
    if isinstance(found, GpuUnreadable):
        value = f"{on_bus} on the PCI bus, none readable: {found}"
        remedy = "install the NVIDIA driver of your distribution, reboot, and see that nvidia-smi lists them"
        return problem("gpu_driver", value, limit=LIMIT, remedy=remedy)
    seen = sum(bool(gpu.readings) for gpu in found.gpus)
    value = f"{seen} seen by the driver, {on_bus} on the PCI bus"
    if not found.complete:
        value = f"{value}; asking was cut short: {found.probe}"
        return problem("gpu_probe", value, limit="NVML answers to the end", remedy=f"{MESSAGES}; reboot the machine")
    if seen < on_bus:
        remedy = f"{MESSAGES}; reboot; one that stays away: reseat it or have it replaced"
        return problem("gpu_missing", value, limit=LIMIT, remedy=remedy)
    return fine(f"{value}, driver {found.driver}", LIMIT)


def look(scene: Scene) -> Finding:
    """Count the GPUs on the bus and ask NVML for them."""
    expected = scene.settings.expected_gpus
    on_bus = sum(pci.devices(scene.host).values())
    if not on_bus:
        return judge(0, Gpus(), expected)
    try:
        return judge(on_bus, scene.host.gpus(), expected)
    except GpuUnreadable as error:
        return judge(on_bus, error, expected)


CHECK = Check(
    name="gpus",
    title="GPUs and driver",
    group=Group.HEALTH,
    look=look,
    # The driver may have to be loaded first, which takes seconds for each GPU.
    deadline_s=35.0,
    codes={
        "gpu_absent": "The machine has fewer GPUs than it is let with.",
        "gpu_driver": "GPUs that cannot be read are neither reported nor measured, and cannot be let.",
        "gpu_probe": "A driver that hangs holds up tenants' work too, and GPUs may be missing without a word.",
        "gpu_missing": "The machine is let as one with more GPUs than tenants would get.",
    },
)
