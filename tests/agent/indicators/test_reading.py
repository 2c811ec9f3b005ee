"""What the indicators do on machines that miss things, and on this one."""

import sys
from collections.abc import Callable

import pytest

import agent.indicators
from agent.gpu.child import GpuChild
from agent.health import read_one
from agent.host.linux import LinuxHost
from agent.indicators import Indicator, cpu, disks, gpu, memory, network, processes, system
from agent.plugins import load
from shared.messages import Absent, Failed, Measured


def test_rates_come_with_the_second_look(bench: Callable) -> None:
    """Four seconds later, 40 MB read and 8 MB sent."""
    machine = bench("plain-vm")
    machine.write("/proc/diskstats", " 254 0 vda 1 0 1000 5 1 0 1000 9 0 1000 16\n")
    machine.write("/proc/net/dev", "eth0: 1000 1 0 0 0 0 0 0 1000 1 0 0 0 0 0 0\n")
    machine.answer(monotonic_s=100.0)
    first = [disks.read(machine.host, None), network.read(machine.host, None)]
    machine.write("/proc/diskstats", " 254 0 vda 1 0 79125 5 1 0 1000 9 0 3000 16\n")
    machine.write("/proc/net/dev", "eth0: 1000 1 0 0 0 0 0 0 8001000 1 0 0 0 0 0 0\n")
    machine.answer(monotonic_s=104.0)
    second = [one.read(machine.host, kept.kept) for one, kept in zip((disks, network), first, strict=True)]
    assert second[0].values["read_mb_s"] == {"vda": 10.0}
    assert second[0].values["busy_percent"] == {"vda": 50.0}
    assert second[1].values["send_mb_s"] == {"eth0": 2.0}
    assert "read_mb_s" not in first[0].values


def test_cpu_use_comes_with_the_second_look(bench: Callable) -> None:
    """Since the look before, not since boot."""
    machine = bench("plain-vm")
    machine.write("/proc/stat", "cpu  100 0 0 100 0 0 0 0 0 0\n")
    first = cpu.read(machine.host, None)
    machine.write("/proc/stat", "cpu  175 0 0 125 0 0 0 0 0 0\n")
    assert cpu.read(machine.host, first.kept).values["use_percent"] == 75.0


def test_a_file_system_that_answers_with_an_error_does_not_hide_the_others(bench: Callable) -> None:
    """Its error stands where its size would."""
    machine = bench("gpu-server")
    usage = machine.answers("usage")
    del usage["/home"]
    machine.answer(usage=usage)
    values = disks.read(machine.host, None).values
    assert values["error"] == {"/home": "No such file or directory"}
    assert set(values["size_bytes"]) == {"/", "/boot", "/boot/efi"}


def test_too_many_mounts_are_cut_and_counted(bench: Callable) -> None:
    """A report stays small on a machine with a hundred disks."""
    machine = bench("plain-vm")
    lines = [f"{n} 1 8:{n} / /disk{n} rw - ext4 /dev/sd{n} rw" for n in range(100)]
    machine.write("/proc/self/mountinfo", "\n".join(lines))
    values = disks.read(machine.host, None).values
    assert len(values["read_only"]) == 64
    assert values["mounts_left_out"] == 36


def test_a_machine_without_any_link_has_no_network(bench: Callable) -> None:
    """Not a failure: there is nothing to read."""
    machine = bench("plain-vm")
    for name in ("eth0", "ifb0", "ifb1"):
        machine.remove(f"/sys/class/net/{name}")
    machine.answer(links={})
    assert network.read(machine.host, None).reason == "no network link but the loopback"


def test_a_container_s_link_stands_for_the_physical_one(bench: Callable) -> None:
    """It has no hardware behind it, but it is up and nobody's inner one."""
    machine = bench("plain-vm")
    machine.answer(links={})
    assert network.read(machine.host, None).values["up"] == {"eth0": True}


def test_memory_that_cannot_be_read_is_a_failure_with_its_path(bench: Callable) -> None:
    """Three different things: measured, absent, failed."""
    machine = bench("plain-vm")
    machine.remove("/proc/meminfo")
    outcome, _ = read_one(memory.INDICATOR, machine.host, None)
    assert isinstance(outcome, Failed)
    assert "/proc/meminfo" in outcome.error


def test_a_machine_without_nvidia_is_absent_and_nobody_is_asked(recorded: Callable) -> None:
    """The recording has no NVML answer: asking would fail."""
    outcome, _ = read_one(gpu.INDICATOR, recorded("plain-vm"), None)
    assert isinstance(outcome, Absent)
    assert outcome.reason == "no NVIDIA GPU on the PCI bus"


def test_gpus_without_a_driver_are_counted_and_told_with_the_remedy(bench: Callable) -> None:
    """They are on the bus, NVML sees none."""
    machine = bench("gpu-server")
    machine.answer(gpus=None, gpu_error="libnvidia-ml.so.1 is missing: install the NVIDIA driver")
    values = gpu.read(machine.host, None).values
    assert (values["on_pci_bus"], values["seen_by_nvml"]) == (8, 0)
    assert values["probe"] == (
        "8 NVIDIA GPUs on the PCI bus, no driver loaded: libnvidia-ml.so.1 is missing: install the NVIDIA driver"
    )


def test_processes_are_counted_by_state(recorded: Callable) -> None:
    """One of three is a zombie, with parentheses in its name."""
    assert processes.read(recorded("plain-vm"), None).values == {"total": 3, "uninterruptible": 0, "zombies": 1}


def test_a_clock_that_may_not_be_asked_is_left_out(bench: Callable) -> None:
    """Unknown is not unsynchronized."""
    machine = bench("plain-vm")
    machine.answer(clock={})
    assert "clock_synchronized" not in system.read(machine.host, None).values


@pytest.mark.skipif(sys.platform != "linux", reason="reads this machine, which is no Linux")
def test_this_very_machine_can_be_read() -> None:
    """Twice, so that rates are made too; nothing fails but what is not here."""
    host = LinuxHost(GpuChild())
    try:
        for indicator in load(agent.indicators, "INDICATOR", Indicator):
            first, kept = read_one(indicator, host, None)
            second, _ = read_one(indicator, host, kept)
            if indicator.name in {"gpu", "network"}:
                continue  # this machine may have none, or a GPU that is ill
            assert isinstance(first, Measured), first
            assert isinstance(second, Measured), second
            assert set(second.values) <= set(indicator.describes)
    finally:
        host.close()
