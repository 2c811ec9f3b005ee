"""Reading the kernel's mounts: what concerns a home, and what is looked at."""

from agent.wiper.system.mountinfo import Mount, of_tenant, on_file_system, parse, to_look_at

RAW = rb"""22 1 254:0 / / rw - ext4 /dev/vda rw
23 22 0:21 / /proc rw - proc proc rw
24 22 0:30 / /tmp rw shared:1 - tmpfs tmpfs rw
25 22 254:0 /home/alice/data /srv/with\040blank rw - ext4 /dev/vda rw
26 22 0:31 / /home/alice/mnt rw - tmpfs tmpfs rw
27 22 0:32 / /media/u rw - fuse.sshfs x rw,user_id=1005,group_id=1005
28 22 0:33 / /merged rw - overlay overlay rw,lowerdir=/usr:/home/alice/low,upperdir=/x
29 22 254:0 /home/bob /srv/bob rw - ext4 /dev/vda rw
30 22 0:34 / /net rw - nfs4 server:/ rw
31 22 0:35 / /home/alice2 rw - tmpfs tmpfs rw
"""


def points(mounts: tuple[Mount, ...]) -> set[str]:
    return {mount.point for mount in mounts}


def test_mounts_in_from_and_by_the_tenant_are_found() -> None:
    """In the home, bound from it (only the root field tells), FUSE by his uid, layers in it; not the neighbours'."""
    found = of_tenant(parse(RAW), ("/home/alice",), 1005)
    assert points(found) == {"/srv/with blank", "/home/alice/mnt", "/media/u", "/merged"}


def test_each_part_of_a_file_system_is_looked_at_once() -> None:
    """A bind mount of what is walked anyway is left out; other machines' files and FUSE cannot be looked at."""
    chosen, unknown = to_look_at(parse(RAW))
    assert points(chosen) == {"/", "/tmp", "/home/alice/mnt", "/merged", "/home/alice2"}
    assert points(unknown) == {"/media/u", "/net"}


def test_a_file_systems_type_nobody_knows_is_not_trusted() -> None:
    """It counts as not looked at."""
    assert points(to_look_at(parse(b"1 1 0:9 / /new rw - newfs x rw\n"))[1]) == {"/new"}


def test_a_path_is_found_inside_its_file_system() -> None:
    """Behind a bind mount it has another name."""
    assert on_file_system("/srv/with blank/x", parse(RAW)) == ("254:0", "/home/alice/data/x")
    assert on_file_system("/home/alice", parse(RAW)) == ("254:0", "/home/alice")
