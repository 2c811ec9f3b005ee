"""What the machine is, in the words of its record."""

from collections.abc import Callable

import pytest

from agent.host.cpus import parse_cpu_model
from agent.inventory import (
    boot_id,
    facts,
    hardware_id,
    meaningful,
    parse_bandwidth,
    parse_gpu_model,
    parse_os,
    parse_ram_gb,
)
from shared.codes import Code, Trouble


@pytest.mark.parametrize(
    ("managed_gib", "installed_gb"),
    [
        (0.94, 1), (3.8, 4), (7.6, 8), (11.6, 12), (15.5, 16), (23.54, 24), (31.2, 32), (62.7, 64), (94.2, 96),
        (125.6, 128), (188.5, 192), (251.5, 256), (377, 384), (503.5, 512), (755, 768), (1007, 1024), (1511, 1536),
        (2015.5, 2048), (256, 256),
    ],
)  # fmt: skip
def test_installed_memory_is_what_was_bought(managed_gib: float, installed_gb: int) -> None:
    """The kernel manages 1 to 3 % less than is installed."""
    assert parse_ram_gb(f"MemTotal:       {int(managed_gib * 1024 * 1024)} kB\n") == installed_gb


def test_memory_that_is_not_told_is_null() -> None:
    """Never 0."""
    assert parse_ram_gb("") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('NAME="Ubuntu"\nVERSION_ID="22.04"\n', "Ubuntu 22.04"),
        ('NAME="Debian GNU/Linux"\nVERSION_ID="12"\n', "Debian 12"),
        ("NAME='Rocky Linux'\nVERSION_ID='9.4'\n", "Rocky Linux 9.4"),
        ('NAME="Arch Linux"\n', "Arch Linux"),
        ("", None),
    ],
)
def test_the_system_s_name_and_version(text: str, words: str | None) -> None:
    """Quoted either way; rolling systems have no version."""
    assert parse_os(text) == words


def test_bandwidth_is_the_fastest_link_s_in_words() -> None:
    """Null where no link tells."""
    assert [parse_bandwidth(speeds) for speeds in ([1000, 10000], [2500], [100], [])] == [
        "10 Gbps", "2.5 Gbps", "100 Mbps", None,
    ]  # fmt: skip


def test_gpu_models_are_counted() -> None:
    """Several of the same get their number; a mixture names each."""
    assert parse_gpu_model(["RTX 4090"]) == "RTX 4090"
    assert parse_gpu_model(["NVIDIA H100 80GB HBM3"] * 8) == "8 x NVIDIA H100 80GB HBM3"
    assert parse_gpu_model(["B", "A", "A", ""]) == "2 x A, B"
    assert parse_gpu_model([]) is None


def test_the_cpu_s_name_has_single_spaces() -> None:
    """Makers pad it."""
    assert parse_cpu_model("processor\t: 0\nmodel name\t: Intel(R)  Xeon(R) CPU   @ 2.00GHz\n") == (
        "Intel(R) Xeon(R) CPU @ 2.00GHz"
    )
    assert parse_cpu_model("processor\t: 0\nBogoMIPS\t: 50.00\n") is None


@pytest.mark.parametrize(
    ("implementer", "part", "words"),
    [
        ("0x41", "0xd0c", "ARM Neoverse-N1"),
        ("0x41", "0xd4f", "ARM Neoverse-V2"),
        ("0xc0", "0xac3", "Ampere Ampere-1"),
        ("0x41", "0xfff", "ARM part 0xfff"),
        ("0x99", "0x001", "ARM implementer 0x99 part 0x001"),
        ("garbage", "0xd0c", None),
    ],
)
def test_an_arm_cpu_is_named_by_its_numbers(implementer: str, part: str, words: str | None) -> None:
    """Its /proc/cpuinfo has no name; a core that is not in the table is told by its numbers."""
    assert parse_cpu_model(f"processor\t: 0\nCPU implementer\t: {implementer}\nCPU part\t: {part}\n") == words


def test_the_disk_of_the_homes_is_found_through_an_array(recorded: Callable) -> None:
    """/home is on a RAID of two NVMe disks, the root on LVM."""
    found = facts(recorded("gpu-server"))
    assert (found.disk_type, found.disk_size_gb) == ("NVMe", 7680)


def test_the_disk_of_the_homes_is_found_through_a_volume_and_a_partition(bench: Callable) -> None:
    """Without a file system of its own, /home is on the root's LVM, and that on a partition of a 480 GB disk."""
    machine = bench("gpu-server")
    machine.write("/proc/self/mountinfo", "28 1 253:0 / / rw - ext4 /dev/mapper/vg-root rw\n")
    assert facts(machine.host).disk_size_gb == 480


def test_an_array_is_as_slow_as_its_slowest_member(bench: Callable) -> None:
    """A hard disk in it makes it one."""
    machine = bench("gpu-server")
    machine.write("/sys/block/md0/slaves/sda", "")
    machine.write("/sys/block/sda/queue/rotational", "1\n")
    assert facts(machine.host).disk_type == "HDD"


def test_where_the_disk_cannot_be_told_the_largest_stands_for_it(bench: Callable) -> None:
    """In a container the root is an overlay."""
    machine = bench("gpu-server")
    machine.write("/proc/self/mountinfo", "28 1 0:99 / / rw - overlay overlay rw\n")
    assert facts(machine.host).disk_size_gb == 3840


def test_a_machine_that_tells_nothing_has_null_facts_and_no_failure(bench: Callable) -> None:
    """Facts are for display; each is null alone."""
    machine = bench("plain-vm")
    for name in ("proc", "sys", "etc"):
        machine.remove(name)
    machine.answer(links={})
    assert set(facts(machine.host).__rich_repr__()) == {(name, None) for name in facts(machine.host).__struct_fields__}


def test_the_hardware_id_stays_and_differs_between_machines(recorded: Callable) -> None:
    """Twice the same; a form that a record's key accepts."""
    one, other = hardware_id(recorded("plain-vm")), hardware_id(recorded("gpu-server"))
    assert one == hardware_id(recorded("plain-vm")) != other
    assert one.startswith("hw_")
    assert len(one) == 35


def test_two_machines_with_one_placeholder_are_two(bench: Callable) -> None:
    """Both have the UUID of AMI's firmware and a cloned machine id; their boards differ."""
    machine = bench("gpu-server")
    first = hardware_id(machine.host)
    machine.write("/sys/class/dmi/id/board_serial", "WM21AS000124\n")
    assert hardware_id(machine.host) != first


def test_a_placeholder_adds_nothing(bench: Callable) -> None:
    """With or without it the id is the same."""
    machine = bench("gpu-server")
    first = hardware_id(machine.host)
    machine.remove("/sys/class/dmi/id/product_uuid")
    assert hardware_id(machine.host) == first


def test_a_machine_that_nothing_identifies_is_refused(bench: Callable) -> None:
    """An id made of placeholders would be shared with others."""
    machine = bench("plain-vm")
    machine.write("/etc/machine-id", "uninitialized\n")
    machine.write("/sys/class/dmi/id/board_serial", "To be filled by O.E.M.\n")
    machine.write("/sys/class/dmi/id/product_uuid", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF\n")
    with pytest.raises(Trouble) as caught:
        hardware_id(machine.host)
    assert caught.value.code is Code.STATE_CORRUPT
    assert caught.value.remedy


@pytest.mark.parametrize(
    "value",
    [
        "", " ", "0", "00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "Default string",
        "DEFAULT  STRING", "03000200-0400-0500-0006-000700080009", "xxxxxxxx", "FFFFFF00-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "58585858-5858-5858-5858-585858585858", "fefefefe-fefe-fefe-fefe-fefefefefefe", "Not Specified", "...",
    ],
)  # fmt: skip
def test_what_makers_leave_identifies_nobody(value: str) -> None:
    """In whatever case and spacing."""
    assert not meaningful(value)


def test_the_boot_id_is_the_kernel_s(recorded: Callable) -> None:
    """Without the newline."""
    assert boot_id(recorded("plain-vm")) == "00000000-1111-4222-8333-444444444444"
