"""What the indicators do on machines that miss things, and on this one."""

import gc
import sys
import threading
from collections.abc import Callable

import pytest

import agent.indicators
from agent.gpu.child import GpuChild
from agent.health import read_one
from agent.host import Usage
from agent.host.linux import LinuxHost
from agent.host.recorded import RecordedHost
from agent.indicators import Indicator, cpu, disks, gpu, memory, network, processes, system
from agent.indicators import agent as agent_itself
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


def test_a_file_system_that_hangs_fails_alone(bench: Callable) -> None:
    """The others have their sizes, the report is on time, and it says since when; the next does not wait again."""
    machine, gate = bench("gpu-server"), threading.Event()

    class Hanging(RecordedHost):
        def usage(self, path: str) -> Usage:
            if path == "/home":
                gate.wait()
            return super().usage(path)

    host = Hanging(machine.folder)
    try:
        first, kept = read_one(disks.INDICATOR, host, None)
        second, kept = read_one(disks.INDICATOR, host, kept)
        assert isinstance(first, Measured)
        assert isinstance(second, Measured)
        assert first.took_ms < disks.INDICATOR.deadline_s * 500
        assert second.took_ms < 500
        for values in (first.values, second.values):
            assert set(values["size_bytes"]) == {"/", "/boot", "/boot/efi"}
            assert values["error"]["/home"].startswith("no answer, asked at 20")
            assert values["read_only"]["/home"] is True
    finally:
        gate.set()


def test_a_file_system_that_turns_read_only_is_told_at_the_next_look(bench: Callable) -> None:
    """What is kept of the mounts holds only as long as the kernel's own list stays as it is."""
    machine = bench("raid-degraded")
    first = disks.read(machine.host, None)
    mounts = machine.host.text("/proc/self/mountinfo")
    machine.write("/proc/self/mountinfo", mounts.replace("/dev/md0 rw", "/dev/md0 ro"))
    assert disks.read(machine.host, first.kept).values["read_only"]["/"] is True
    assert first.values["read_only"]["/"] is False


def test_a_disk_whose_sensor_hangs_fails_alone(bench: Callable) -> None:
    """An NVMe disk that lost its firmware answers no command for a minute."""
    machine, gate = bench("gpu-server"), threading.Event()

    class Hanging(RecordedHost):
        def text(self, path: str) -> str:
            if path == "/sys/class/hwmon/hwmon0/temp1_input":
                gate.wait()
            return super().text(path)

    try:
        outcome, _ = read_one(disks.INDICATOR, Hanging(machine.folder), None)
        assert isinstance(outcome, Measured)
        assert list(outcome.values["device_error"]) == ["nvme1n1"]
        assert list(outcome.values["temperature_celsius"]) == ["nvme0n1"]
        assert outcome.values["size_bytes"]["/"] > 0
    finally:
        gate.set()


def test_a_multipath_disk_s_sensor_is_the_disk_s(recorded: Callable) -> None:
    """The hidden path nvme0c0n1 stands for nvme0n1."""
    assert disks.read(recorded("arm64"), None).values["temperature_celsius"] == {"nvme0n1": 38.9}


def test_disks_that_were_asked_are_left_alone_for_a_minute(bench: Callable) -> None:
    """A temperature is a command to the disk."""
    machine = bench("gpu-server")
    first = disks.read(machine.host, None)
    machine.write("/sys/class/hwmon/hwmon0/temp1_input", "70000\n")
    machine.answer(monotonic_s=864_000.0 + 59)
    second = disks.read(machine.host, first.kept)
    machine.answer(monotonic_s=864_000.0 + 60)
    third = disks.read(machine.host, second.kept)
    told = [one.values["temperature_celsius"]["nvme1n1"] for one in (first, second, third)]
    assert told[0] == told[1] != told[2] == 70.0


def test_pressure_is_the_share_of_time_between_two_looks(bench: Callable) -> None:
    """Two of ten seconds somebody waited for a CPU, one of ten all for memory; a kernel without it says nothing."""
    machine = bench("plain-vm")
    machine.answer(monotonic_s=100.0)
    first = [one.read(machine.host, None) for one in (cpu, memory, disks)]
    machine.write("/proc/pressure/cpu", f"some avg10=0.00 avg60=0.00 avg300=0.00 total={7_431_895 + 2_000_000}\n")
    machine.write("/proc/pressure/memory", "some avg10=0 avg60=0 avg300=0 total=1500000\nfull avg10=0 total=1000000\n")
    machine.remove("/proc/pressure/io")
    machine.answer(monotonic_s=110.0)
    second = [one.read(machine.host, kept.kept).values for one, kept in zip((cpu, memory, disks), first, strict=True)]
    assert second[0]["pressure_some_percent"] == 20.0
    assert (second[1]["pressure_some_percent"], second[1]["pressure_full_percent"]) == (15.0, 10.0)
    assert "pressure_some_percent" not in second[2]


def test_cpus_switched_off_are_counted(recorded: Callable) -> None:
    """One of the 80 that are there."""
    values = cpu.read(recorded("arm64"), None).values
    assert (values["model"], values["offline_cpus"], values["frequency_max_mhz"]) == ("ARM Neoverse-N1", 1, 3000)


def test_dies_and_zones_have_their_temperatures(bench: Callable) -> None:
    """AMD's dies beside the package; a thermal zone of the CPU where no driver has a sensor."""
    machine = bench("gpu-server")
    chip = next(n for n in range(9) if machine.has(f"/sys/class/hwmon/hwmon{n}/name", "k10temp"))
    machine.write(f"/sys/class/hwmon/hwmon{chip}/temp3_label", "Tccd1\n")
    machine.write(f"/sys/class/hwmon/hwmon{chip}/temp3_input", "66125\n")
    assert cpu.read(machine.host, None).values["temperature_celsius"]["package 0 Tccd1"] == 66.1
    machine.remove("/sys/class/hwmon")
    machine.write("/sys/class/thermal/thermal_zone0/type", "acpitz\n")
    machine.write("/sys/class/thermal/thermal_zone1/type", "cpu-thermal\n")
    machine.write("/sys/class/thermal/thermal_zone1/temp", "48500\n")
    assert cpu.read(machine.host, None).values["temperature_celsius"] == {"cpu-thermal": 48.5}


def test_memory_errors_are_told_by_module_and_counted_once(recorded: Callable) -> None:
    """1,843 of one module, 3 that the controller could not place: the label says which to replace."""
    values = memory.read(recorded("raid-degraded"), None).values
    assert sum(values["corrected_errors"].values()) == 1846
    assert (values["corrected_errors"]["mc0 dimm2"], values["uncorrected_errors"]["mc0 dimm2"]) == (1843, 1)
    assert values["module_label"] == {"mc0 dimm2": "CPU_SrcID#0_MC#0_Chan#1_DIMM#0"}


def test_a_carrier_that_comes_and_goes_is_counted(recorded: Callable) -> None:
    """A worn cable."""
    assert network.read(recorded("raid-degraded"), None).values["carrier_changes"] == {"eno1": 57}


def test_a_bond_that_lost_a_link_says_so(recorded: Callable) -> None:
    """It is up and looks well, but half as fast and without a spare."""
    values = network.read(recorded("gpu-server"), None).values
    assert (values["bond_links"], values["bond_links_up"]) == ({"bond0": 2}, {"bond0": 1})


def test_segments_sent_again_are_a_share_of_those_sent_between_two_looks(bench: Callable) -> None:
    """30 of 1,000; the firewall's table is a quarter full, where there is one."""
    machine = bench("plain-vm")
    head = "Ip: Forwarding DefaultTTL\nIp: 1 64\nTcp: RtoAlgorithm MaxConn OutSegs RetransSegs InErrs\n"
    machine.write("/proc/net/snmp", f"{head}Tcp: 1 -1 5000 100 0\n")
    first = network.read(machine.host, None)
    machine.write("/proc/net/snmp", f"{head}Tcp: 1 -1 6000 130 0\n")
    machine.write("/proc/sys/net/netfilter/nf_conntrack_count", "65536\n")
    machine.write("/proc/sys/net/netfilter/nf_conntrack_max", "262144\n")
    second = network.read(machine.host, first.kept).values
    assert second["tcp_resent_percent"] == 3.0
    assert second["connections_tracked_percent"] == 25.0
    assert not {"tcp_resent_percent", "connections_tracked_percent"} & set(first.values)


def test_the_agent_s_share_of_a_cpu_is_since_the_last_look(bench: Callable) -> None:
    """30 ms in 15 s."""
    machine = bench("plain-vm")
    machine.answer(monotonic_s=100.0, own={"resident_bytes": 1, "cpu_s": 2.0, "threads": 1})
    first = agent_itself.read(machine.host, None)
    machine.answer(monotonic_s=115.0, own={"resident_bytes": 1, "cpu_s": 2.03, "threads": 1})
    assert agent_itself.read(machine.host, first.kept).values["cpu_percent"] == 0.2
    assert "cpu_percent" not in first.values


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
    error = "libnvidia-ml.so.1 is missing: install the NVIDIA driver"
    machine.answer(gpus=None, gpu_error=error, gpu_refused=True, gpu_without_driver=True)
    values = gpu.read(machine.host, None).values
    assert (values["on_pci_bus"], values["seen_by_nvml"]) == (8, 0)
    assert values["probe"] == (
        "8 NVIDIA GPUs on the PCI bus, no driver loaded: libnvidia-ml.so.1 is missing: install the NVIDIA driver"
    )


def test_processes_are_counted_by_state(recorded: Callable) -> None:
    """One of three is a zombie, with parentheses in its name."""
    values = processes.read(recorded("plain-vm"), None).values
    assert (values["total"], values["uninterruptible"], values["zombies"]) == (3, 0, 1)


def test_a_process_that_waits_at_two_looks_is_stuck(bench: Callable) -> None:
    """Five minutes in the kernel are no disk access; one that came or went meanwhile is not counted."""
    machine = bench("plain-vm")
    machine.write("/proc/77/stat", "77 (nfs) D 1 77 77")
    machine.write("/proc/78/stat", "78 (cp) D 1 78 78")
    first = processes.read(machine.host, None)
    machine.write("/proc/78/stat", "78 (cp) S 1 78 78")
    machine.write("/proc/79/stat", "79 (dd) D 1 79 79")
    second = processes.read(machine.host, first.kept).values
    assert "stuck" not in first.values
    assert (second["uninterruptible"], second["stuck"]) == (2, 1)


def test_a_clock_that_may_not_be_asked_is_left_out(bench: Callable) -> None:
    """Unknown is not unsynchronized."""
    machine = bench("plain-vm")
    machine.answer(clock={})
    assert "clock_synchronized" not in system.read(machine.host, None).values


@pytest.mark.skipif(sys.platform != "linux", reason="reads this machine, which is no Linux")
def test_reading_leaves_nothing_for_the_garbage_collector() -> None:
    """A full collection is rare in a program that idles: what waits for it makes the agent grow by the hour."""
    host, kept = LinuxHost(GpuChild()), {}
    indicators = [one for one in load(agent.indicators, "INDICATOR", Indicator) if one.name != "gpu"]
    try:
        for looks in (3, 20):
            gc.collect()
            gc.disable()
            for _ in range(looks):
                for one in indicators:
                    _, kept[one.name] = read_one(one, host, kept.get(one.name))
        assert gc.collect() < 20
    finally:
        gc.enable()
        host.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads this machine, which is no Linux")
def test_this_very_machine_can_be_read() -> None:
    """Twice, so that rates are made too; nothing fails but what is not here."""
    host = LinuxHost(GpuChild())
    try:
        for indicator in load(agent.indicators, "INDICATOR", Indicator):
            first, kept = read_one(indicator, host, None)
            second, _ = read_one(indicator, host, kept)
            if indicator.name in {"arrays", "gpu", "network", "smart"}:
                continue  # this machine may have none, or a GPU that is ill
            assert isinstance(first, Measured), first
            assert isinstance(second, Measured), second
            assert set(second.values) <= set(indicator.describes)
    finally:
        host.close()
