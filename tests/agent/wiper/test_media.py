"""What the evidence says of media: what the kernel says, and nothing where it says nothing."""

from agent.wiper.media import MAX_MEDIA, Device, block_device, media_of
from agent.wiper.mountinfo import current, parse

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
