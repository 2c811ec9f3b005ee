"""What the indicators make of the kernel's texts."""

import pytest

from agent.host import Gpu, Gpus, Unreadable, Usage
from agent.host.cpus import parse_cpu_list
from agent.host.disks import kind_of
from agent.host.mounts import Mount, holding, parse_mounts
from agent.host.pci import is_gpu
from agent.indicators import Counters, growth, held, per_second
from agent.indicators.cpu import parse_load, parse_shares, parse_ticks
from agent.indicators.disks import MOST_NAMES_BYTES, parse_diskstats, parse_rates, parse_usage, shown
from agent.indicators.gpu import Kept, item_names, parse_gpus
from agent.indicators.memory import parse_meminfo, parse_oom_kills
from agent.indicators.network import parse_counters
from agent.indicators.processes import parse_state
from agent.indicators.system import parse_blocked, parse_uptime_s


def ticks(**counts: float) -> dict[str, float]:
    return dict.fromkeys(("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"), 0.0) | counts


def test_the_first_look_gives_no_rates() -> None:
    """A rate since boot would be shown as one of now."""
    assert per_second(None, Counters(5.0, {"a": 9})) == {}
    assert parse_shares(None, Counters(5.0, ticks(user=9))) == {}


def test_a_rate_is_growth_a_second() -> None:
    """Two looks, four seconds apart."""
    assert per_second(Counters(1.0, {"a": 10}), Counters(5.0, {"a": 30})) == {"a": 5.0}


def test_what_is_held_is_read_again_when_its_time_is_over() -> None:
    """Not before, and then once."""
    reads: list[int] = []

    def read() -> int:
        reads.append(1)
        return len(reads)

    first = held(None, 100.0, 60.0, read)
    second = held(first, 159.9, 60.0, read)
    third = held(second, 160.0, 60.0, read)
    assert [one.value for one in (first, second, third)] == [1, 1, 2]
    assert third.until_s == 220.0


@pytest.mark.parametrize(
    ("text", "count"),
    [("0-3", 4), ("0-63,65-79", 79), ("5", 1), ("", 0), ("x", None), ("3-1", None), ("1-", None), ("0-3,,", None)],
)
def test_a_list_of_cpus_is_counted(text: str, count: int | None) -> None:
    """The kernel's ranges; what is none is not counted as nothing."""
    assert parse_cpu_list(text) == count


def test_a_counter_that_fell_or_appeared_gives_no_rate() -> None:
    """A replaced disk or a reloaded driver starts at zero: nothing negative, nothing huge."""
    assert growth(Counters(1.0, {"a": 10, "b": 1}), Counters(5.0, {"a": 3, "b": 2, "new": 7})) == {"b": 1}


def test_two_looks_at_the_same_moment_give_no_rate() -> None:
    """No division by zero."""
    assert per_second(Counters(1.0, {"a": 10}), Counters(1.0, {"a": 30})) == {}


def test_cpu_shares_are_of_the_time_between_the_looks() -> None:
    """30 of 100 ticks busy, 18 of them in programs, 7 in the kernel, 5 stolen; 10 waiting for a disk."""
    before = ticks(user=100, idle=100)
    now = ticks(user=115, nice=3, system=4, irq=1, softirq=2, idle=160, iowait=10, steal=5)
    assert parse_shares(Counters(1, before), Counters(2, now)) == {
        "use_percent": 30.0, "user_percent": 18.0, "system_percent": 7.0, "iowait_percent": 10.0, "steal_percent": 5.0,
    }  # fmt: skip


def test_idle_ticks_that_went_back_make_no_negative_share() -> None:
    """The kernel's iowait may decrease."""
    before, now = ticks(user=100, idle=100, iowait=50), ticks(user=110, idle=190, iowait=40)
    found = parse_shares(Counters(1, before), Counters(2, now))
    assert found == {"use_percent": 10.0, "user_percent": 10.0, "system_percent": 0.0, "steal_percent": 0.0}


@pytest.mark.parametrize("stat", ["", "cpu", "cpu 1 2 3", "intr 5\ncpu  1 2 3 4 5 6 7 8"])
def test_a_stat_file_without_its_first_line_is_an_error(stat: str) -> None:
    """An unreadable CPU is a failure, not an idle one."""
    with pytest.raises(ValueError, match="line of all CPUs"):
        parse_ticks(stat)


def test_load_averages_are_read() -> None:
    """The first three numbers."""
    assert parse_load("0.50 1.25 2.00 1/85 8308\n") == {"load_1": 0.5, "load_5": 1.25, "load_15": 2.0}


def test_memory_sizes_are_bytes_and_a_missing_one_is_named() -> None:
    """Its kB are 1024 bytes; lines without a unit are counts."""
    text = "MemTotal: 10 kB\nMemAvailable: 4 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\nHugePages_Total: 3\n"
    assert parse_meminfo(text)["MemAvailable"] == 4096
    with pytest.raises(ValueError, match="SwapFree"):
        parse_meminfo(text.replace("SwapFree", "Other"))


def test_a_kernel_that_does_not_count_oom_kills_says_nothing() -> None:
    """Not 0, which would be a claim."""
    assert parse_oom_kills("pgfault 1\n") is None
    assert parse_oom_kills("pgfault 1\noom_kill 3\n") == 3
    assert parse_blocked("cpu 1\n") is None


def test_uptime_is_whole_seconds_and_what_is_none_is_told() -> None:
    """An unreadable clock is a failure with the file's name, whatever is in its place."""
    assert parse_uptime_s("7483.16 14821.02\n") == 7483
    for text in ("", "\n", "up", "-7 1", "inf 1", "nan 1"):
        with pytest.raises(Unreadable, match="/proc/uptime"):
            parse_uptime_s(text)


def test_a_process_name_cannot_pretend_a_state() -> None:
    """A tenant may call a process ") Z"."""
    assert parse_state("7 (a) Z 0) D 1 7 7") == "D"
    assert parse_state("") == "?"


def test_disk_sectors_are_512_bytes_and_partitions_are_not_disks() -> None:
    """Whatever the disk's own sector size."""
    text = " 8 0 sda 5 0 100 7 6 0 200 9 0 44 16\n 8 1 sda1 5 0 100 7 6 0 200 9 0 44 16\n short\n"
    assert parse_diskstats(text, frozenset({"sda"})) == {"sda read": 51200, "sda write": 102400, "sda busy": 44}


def test_disk_rates_are_mb_a_second_and_busy_is_at_most_the_whole_time() -> None:
    """The kernel's busy time may run ahead of ours by a tick."""
    found = parse_rates({"sda read": 5e6, "sda write": 0.0, "sda busy": 1010.0})
    assert found == {"read_mb_s": {"sda": 5.0}, "write_mb_s": {"sda": 0.0}, "busy_percent": {"sda": 100.0}}


def test_a_file_system_without_a_number_of_inodes_has_no_share_of_them() -> None:
    """Both vfat and btrfs make them as needed."""
    usage = Usage(size_bytes=10, used_bytes=5, available_bytes=4, inodes=0, inodes_free=0)
    assert parse_usage({"/": usage})["inodes_used_percent"] == {}


def test_network_counters_are_found_without_a_space_after_the_name() -> None:
    """Old kernels glue the first number to the name."""
    text = "head|\n face |x\n eth0:12 1 2 3 0 0 0 0 34 1 5 6 0 0 0 0\n"
    found = parse_counters(text, frozenset({"eth0"}))["eth0"]
    assert (found["receive"], found["send"], found["receive errors"], found["send drops"]) == (12, 34, 2, 6)


def mounts(*lines: str) -> dict[str, Mount]:
    return {mount.point: mount for mount in parse_mounts("\n".join(lines))}


def test_a_service_s_read_only_sandbox_is_not_a_read_only_disk() -> None:
    """The mount says ro, the file system below says rw; and the other way round after an error."""
    found = mounts(
        "1 0 8:1 / / ro,relatime - ext4 /dev/sda1 rw,errors=remount-ro",
        "2 1 8:2 / /srv rw,relatime - ext4 /dev/sda2 ro,errors=remount-ro",
    )
    assert not found["/"].read_only
    assert found["/srv"].read_only


def test_bind_mounts_of_a_file_system_are_counted_once_at_its_own_mount_point() -> None:
    """Even where a bind mount's point is shorter."""
    found = mounts("1 0 8:1 /data /a rw - ext4 /dev/sda1 rw", "2 0 8:1 / /srv/long rw - ext4 /dev/sda1 rw")
    assert list(found) == ["/srv/long"]


def test_pseudo_network_and_image_file_systems_are_left_out() -> None:
    """Only what keeps this machine's data; a dead NFS server must not be asked."""
    lines = [
        "1 0 0:21 / /sys rw - sysfs sysfs rw",
        "2 0 0:60 / /nas rw - nfs4 nas:/x rw",
        "3 0 0:61 / /home/u/sshfs rw - fuse.sshfs u@h: rw",
        "4 0 7:1 / /snap/core rw - squashfs /dev/loop1 ro",
        "5 0 7:2 / /image rw - ext4 /dev/loop2 rw",
        "6 0 0:50 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw",
        "7 0 253:9 / /var/log rw - ext4 /dev/zram1 rw",
        "nonsense",
    ]
    assert mounts(*lines) == {}


def test_btrfs_subvolumes_are_one_file_system_and_a_container_s_root_is_its_disk() -> None:
    """Their device numbers are made up, each another."""
    found = mounts("1 0 0:30 /@ / rw - btrfs /dev/sda2 rw", "2 0 0:31 /@home /home rw - btrfs /dev/sda2 rw")
    assert list(found) == ["/"]
    assert list(mounts("1 0 0:99 / / rw - overlay overlay rw,lowerdir=/a")) == ["/"]


def test_a_space_in_a_mount_point_is_one() -> None:
    """The kernel writes it in octal."""
    assert list(mounts(r"1 0 8:1 / /my\040disk\134x rw - ext4 /dev/sda1 rw")) == ["/my disk\\x"]


def test_a_path_lies_on_the_longest_mount_point_above_it() -> None:
    """/homes is not above /home."""
    found = parse_mounts("1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 0 8:2 / /homes rw - ext4 /dev/sda2 rw")
    where = holding(found, "/home")
    assert where is not None
    assert where.point == "/"


def test_disk_kinds() -> None:
    """NVMe by its driver, the others by whether they spin."""
    assert [kind_of("nvme0n1", "0"), kind_of("sda", "0"), kind_of("sda", "1")] == ["NVMe", "SSD", "HDD"]


def test_a_virtual_disk_s_default_is_not_its_kind() -> None:
    """What the kernel assumes of a disk that does not tell is unknown; "not rotational" was said by somebody."""
    assert [kind_of("vda", "1"), kind_of("xvdb", "1"), kind_of("vda", "0"), kind_of("sda", None)] == [
        None,
        None,
        "SSD",
        None,
    ]


def test_only_nvidia_s_display_controllers_are_gpus() -> None:
    """Not the audio function beside them, not an NVSwitch, not another maker's card."""
    assert is_gpu("0x10de", "0x030200")
    assert is_gpu("0x10de", "0x030000")
    assert not any((is_gpu("0x10de", "0x040300"), is_gpu("0x10de", "0x068000"), is_gpu("0x1002", "0x030000")))
    assert not is_gpu(None, None)


def test_a_lost_gpu_is_counted_on_the_bus_but_not_seen() -> None:
    """Seven of eight; the lost one's answer stands beside it."""
    gpus = (
        Gpu(uuid="GPU-00000001-aa", model="H100", readings={"power_w": 70.0}),
        Gpu(uuid="index 1", error="GPU is lost"),
    )
    found = parse_gpus(Gpus(driver="550", gpus=gpus), 2, None, Kept({}))
    assert (found["on_pci_bus"], found["seen_by_nvml"]) == (2, 1)
    assert found["error"] == {"index 1": "GPU is lost"}
    assert found["power_w"] == {"GPU-00000001": 70.0}
    assert found["uuid"] == {"GPU-00000001": "GPU-00000001-aa"}


def test_gpus_whose_short_names_collide_keep_their_long_ones() -> None:
    """Two readings never fall into one."""
    assert item_names(["GPU-00000001-a", "GPU-00000001-b"]) == {x: x for x in ("GPU-00000001-a", "GPU-00000001-b")}


def test_many_mounts_under_long_names_leave_the_report_its_room() -> None:
    """The short ones, which matter, are kept; those left out are the longest."""
    many = tuple(
        Mount(point=f"/aaa/{'x' * 280}{n:03}", device=f"8:{n}", kind="ext4", source="/dev/x", read_only=False)
        for n in range(200)
    )
    root = Mount(point="/", device="8:900", kind="ext4", source="/dev/y", read_only=False)
    found = shown((root, *many))
    assert found[0] == root
    assert 10 < len(found) < 20
    assert sum(len(mount.point) for mount in found) <= MOST_NAMES_BYTES
