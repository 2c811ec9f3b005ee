"""What the evidence says of media: what the kernel says, and nothing where it says nothing."""

import pytest
from msgspec.structs import replace

from agent.wiper.blocks.media import MAX_MEDIA, Device, block_device, is_overwritable, media_of
from agent.wiper.blocks.treated import Treated, told
from agent.wiper.steps.trim import trimmable
from agent.wiper.system.mountinfo import current, parse

MOUNTS = b"""\
1 0 8:1 / / rw - ext4 /dev/sda1 rw
2 1 0:5 / /proc rw - proc proc rw
3 1 0:20 / /tmp rw - tmpfs tmpfs rw
4 1 259:2 / /home rw - xfs /dev/nvme0n1p2 rw
5 1 259:2 /alice /srv/alice rw - xfs /dev/nvme0n1p2 rw
6 1 0:40 / /mnt/far rw - nfs4 far:/x rw
7 1 0:41 / /mnt/fuse rw - fuse.sshfs x rw
"""
DISKS = {
    "8:1": Device(name="sda1", model="OLD DISK  \x1b[2J 1", rotational="1\n", discard_max_bytes="0\n"),
    "259:2": Device(name="nvme0n1p2", model="", rotational="0\n", discard_max_bytes="2199023255040\n"),
}


def test_each_local_file_system_once_the_homes_first() -> None:
    """Bind mounts are the same one; views of the kernel and other machines' file systems are none."""
    media = media_of(parse(MOUNTS), "/home/alice", DISKS.get)
    assert [(one.file_system, one.device, one.held_home) for one in media] == [
        ("xfs", "259:2", True),
        ("ext4", "8:1", False),
        ("tmpfs", "0:20", False),
    ]


def test_a_home_in_memory_comes_first_too() -> None:
    """Before disks on which only traces of the tenant can lie."""
    assert [one.device for one in media_of(parse(MOUNTS), "/tmp/alice", DISKS.get)] == ["0:20", "259:2", "8:1"]


def test_what_the_kernel_does_not_say_is_not_said() -> None:
    """No model, no block device, no queue: null, never a guess; and no control characters of a device's own."""
    nvme, disk, memory = media_of(parse(MOUNTS), "/home/alice", DISKS.get)
    assert (nvme.name, nvme.model, nvme.rotational, nvme.discard) == ("nvme0n1p2", None, False, True)
    assert (disk.name, disk.model, disk.rotational, disk.discard) == ("sda1", "OLD DISK [2J 1", True, False)
    assert (memory.name, memory.model, memory.rotational, memory.discard) == (None, None, None, None)
    odd = media_of(parse(MOUNTS), "/root", lambda _: Device(name="x", rotational="?", discard_max_bytes="-1"))
    assert {(one.rotational, one.discard) for one in odd} == {(None, None)}


def test_nothing_is_claimed_to_be_overwritten_or_trimmed() -> None:
    """Names were removed; what the device did with the blocks is unknown."""
    for one in media_of(parse(MOUNTS), "/home/alice", DISKS.get):
        assert (one.technique, one.overwritten_bytes, one.trimmed_bytes) == ("unlinked", 0, None)


def test_a_machine_with_many_file_systems_keeps_the_homes() -> None:
    """The list is bounded; file systems in memory are left out before disks."""
    many = b"".join(b"%d 1 0:%d / /m/%d rw - tmpfs t rw\n" % (n, n, n) for n in range(100, 150))
    media = media_of(parse(many + MOUNTS), "/home/alice", DISKS.get)
    assert len(media) == MAX_MEDIA
    assert [one.device for one in media[:2]] == ["259:2", "8:1"]


def test_this_machines_own_devices_can_be_read() -> None:
    """The root file system is somewhere; a number that no device has is none."""
    media = media_of(current(), "/home/x", block_device)
    assert any(one.held_home for one in media)
    assert block_device("0:1") is None


SATA = "/sys/devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda/sda1"
DISK = Device(name="sda1", model="ST4000NM0035", vendor="ATA", rotational="1\n", zoned="none\n", path=SATA)
FLASH = replace(DISK, rotational="0")
LVM = "LVM-" + "v" * 32 + "l" * 32
MAPPED = Device(name="dm-0", rotational="1", path="/sys/devices/virtual/block/dm-0", layer=LVM, below=(DISK,))
OPTIONS = ("rw", "data=ordered")


@pytest.mark.parametrize(
    ("kind", "options", "device", "shares", "expected"),
    [
        ("ext4", OPTIONS, DISK, False, True),
        ("ext2", ("rw",), DISK, False, True),
        ("xfs", ("rw",), DISK, False, True),
        ("ext4", OPTIONS, MAPPED, False, True),
        ("ext4", OPTIONS, replace(MAPPED, layer="CRYPT-LUKS2-0123-home", below=(MAPPED,)), False, True),
        (
            "ext4",
            OPTIONS,
            Device(name="md0", rotational="1", path="/sys/devices/virtual/block/md0", below=(DISK, DISK)),
            0,
            True,
        ),
        ("xfs", ("rw",), DISK, True, False),
        ("ext4", ("rw", "data=journal"), DISK, False, False),
        ("ext4", None, DISK, False, False),
        ("btrfs", ("rw",), DISK, False, False),
        ("zfs", ("rw",), DISK, False, False),
        ("f2fs", ("rw",), DISK, False, False),
        ("overlay", ("rw",), DISK, False, False),
        ("tmpfs", ("rw",), None, False, False),
        ("ext4", OPTIONS, FLASH, False, False),
        ("ext4", OPTIONS, replace(DISK, rotational=""), False, False),
        ("ext4", OPTIONS, replace(DISK, zoned="host-aware"), False, False),
        ("ext4", OPTIONS, replace(DISK, path=""), False, False),
        ("ext4", OPTIONS, replace(DISK, vendor="QEMU", model="HARDDISK"), False, False),
        ("ext4", OPTIONS, replace(DISK, path="/sys/devices/pci0000:00/0000:00:02.0/virtio1/block/vda"), False, False),
        ("ext4", OPTIONS, replace(DISK, path="/sys/devices/virtual/block/loop0"), False, False),
        (
            "ext4",
            OPTIONS,
            replace(DISK, path="/sys/devices/platform/host2/session1/target2:0:0/block/sdb"),
            False,
            False,
        ),
        ("ext4", OPTIONS, replace(MAPPED, layer=LVM + "-tpool"), False, False),
        ("ext4", OPTIONS, replace(MAPPED, below=(replace(MAPPED, layer=LVM + "-real"),)), False, False),
        ("ext4", OPTIONS, replace(MAPPED, below=(DISK, FLASH)), False, False),
    ],
)
def test_only_what_reaches_the_medium_is_overwritten(kind, options, device, shares, expected):
    """A spinning disk of this machine, layers that keep blocks where they are, a file system that writes in place."""
    assert is_overwritable(kind, options, device, shares_extents=shares) is expected


def test_only_writable_file_systems_on_devices_that_take_it_are_trimmed() -> None:
    """Each once; not one that is mounted only in part, but btrfs, whose subvolumes are parts."""
    mounts = b"""\
1 0 8:1 / / rw - ext4 /dev/sda1 rw
2 1 259:1 / /a rw - xfs /dev/nvme0n1p1 rw
3 1 259:1 / /b rw - xfs /dev/nvme0n1p1 rw
4 1 259:2 / /c ro - ext4 /dev/nvme0n1p2 ro
5 1 259:3 /part /d rw - ext4 /dev/nvme0n1p3 rw
6 1 0:50 /@home /e rw - btrfs /dev/nvme0n1p4 rw
7 1 0:51 / /f rw - zfs pool/x rw
8 1 0:52 / /g rw - tmpfs t rw
"""
    takes = Device(name="n", discard_max_bytes="4096")
    known = {"8:1": replace(takes, discard_max_bytes="0"), "/dev/nvme0n1p4": takes}
    known |= {f"259:{number}": takes for number in (1, 2, 3)}
    assert {one.device for one in trimmable(parse(mounts), known.get)} == {"259:1", "0:50"}


def test_what_all_attempts_did_to_a_medium_is_told_together() -> None:
    """Overwritten bytes add up, the last trim counts, others' numbers do not."""
    nvme, disk, _ = media_of(parse(MOUNTS), "/home/alice", DISKS.get)
    done = (
        Treated(device="8:1", overwritten_bytes=10),
        Treated(device="8:1", note="Operation not supported"),
        Treated(device="8:1", overwritten_bytes=5),
        Treated(device="8:1", trimmed_bytes=70),
        Treated(device="9:9", overwritten_bytes=1),
    )
    nvme, disk = told((nvme, disk), done)
    assert (nvme.technique, nvme.overwritten_bytes, nvme.trimmed_bytes) == ("unlinked", 0, None)
    assert (disk.technique, disk.overwritten_bytes) == ("overwritten, unlinked, trimmed", 15)
    assert (disk.trimmed_bytes, disk.note) == (70, None)


def test_a_trim_that_failed_is_told_and_not_claimed() -> None:
    """The reason stands with the medium."""
    disk = media_of(parse(MOUNTS), "/home/alice", DISKS.get)[1]
    (disk,) = told((disk,), (Treated(device="8:1", trimmed_bytes=7), Treated(device="8:1", note="timed out")))
    assert (disk.technique, disk.trimmed_bytes, disk.note) == ("unlinked", None, "timed out")
