"""Arrays of disks: md, ZFS and btrfs, each as its kernel module tells it."""

from collections.abc import Callable

from agent.indicators import NotHere, arrays
from agent.indicators.arrays import parse_progress


def test_a_degraded_array_has_missing_disks_and_names_the_faulty_one(recorded: Callable) -> None:
    """The state itself stays "clean": that is about the data."""
    values = arrays.read(recorded("raid-degraded"), None).values
    assert values["state"]["md0"] == "clean"
    assert values["missing_disks"] == {"md0": 1, "md1": 1}
    assert values["faulty"] == {"md0 sdb2": True, "md1 sde": True}


def test_a_rebuild_says_how_far_it_is(recorded: Callable) -> None:
    """An array at rest has no share done."""
    values = arrays.read(recorded("raid-degraded"), None).values
    assert values["rebuilding"] == {"md0": "idle", "md1": "recover"}
    assert values["rebuilt_percent"] == {"md1": 37.0}


def test_progress_of_nothing_is_nothing() -> None:
    """The kernel writes "none", and "delayed" while another array is rebuilt."""
    assert [parse_progress(text) for text in ("none", "delayed", "", "1 / 0", "x / y")] == [None] * 5


def test_an_array_without_redundancy_misses_no_disk(recorded: Callable) -> None:
    """RAID 0 has no such count: 0 would say that one is checked for."""
    values = arrays.read(recorded("gpu-server"), None).values
    assert "missing_disks" not in values
    assert values["level"] == {"md0": "raid0"}


def test_a_pool_s_state_is_zfs_s_own_word(recorded: Callable) -> None:
    """Files beside the pools are no pools."""
    values = arrays.read(recorded("raid-degraded"), None).values
    assert {name: state for name, state in values["state"].items() if name.startswith("zfs")} == {
        "zfs backup": "DEGRADED"
    }


def test_btrfs_over_several_devices_counts_the_missing_and_the_errors(bench: Callable) -> None:
    """One device alone is no array."""
    machine = bench("plain-vm")
    folder = "/sys/fs/btrfs/0a1b2c3d-1111-2222-3333-444444444444/devinfo"
    machine.write(f"{folder}/1/missing", "0\n")
    machine.write(
        f"{folder}/1/error_stats", "write_errs 0\nread_errs 3\nflush_errs 0\ncorruption_errs 2\ngeneration_errs 0\n"
    )
    machine.write("/sys/fs/btrfs/99999999-1111-2222-3333-444444444444/devinfo/1/missing", "0\n")
    machine.write("/sys/fs/btrfs/features/raid56", "0\n")
    assert isinstance(arrays.read(machine.host, None), NotHere)
    machine.write(f"{folder}/2/missing", "1\n")
    values = arrays.read(machine.host, None).values
    assert values == {
        "disks": {"btrfs 0a1b2c3d": 2},
        "missing_disks": {"btrfs 0a1b2c3d": 1},
        "device_errors": {"btrfs 0a1b2c3d 1": 5},
    }


def test_a_machine_without_arrays_says_so(recorded: Callable) -> None:
    """Not an error."""
    found = arrays.read(recorded("plain-vm"), None)
    assert isinstance(found, NotHere)
    assert "no array" in found.reason
