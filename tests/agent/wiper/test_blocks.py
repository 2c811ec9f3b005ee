"""What is left in the blocks of real file systems: raw images are searched for what the tenant had written."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.documents import Target, WipeEvidence, WipeWork
from shared.records import WipeMethod, WipeStatus
from tests.agent.wiper.harness import Machine, Platform, Wiper

pytestmark = pytest.mark.root

MAKE = {
    "ext4": "mkfs.ext4 -q -E nodiscard",
    "xfs": "mkfs.xfs -q -K",
    "btrfs": "mkfs.btrfs -q -K",
}
NODES = (
    "[ -e /dev/loop-control ] || mknod /dev/loop-control c 10 237; "
    "for n in $(seq 0 31); do [ -e /dev/loop$n ] || mknod /dev/loop$n b 7 $n; done"
)
MARKERS = 20_000
MARK = "marker of the tenant"
WRITE = f"""
mkdir -p "$HOME/deep/er" && cd "$HOME"
yes '{MARK} and some more, so that it is no small thing' | head -n {MARKERS} > plain
cp plain deep/er/copy
ln deep/er/copy deep/linked
sync
"""
SNAPSHOT = """
import fcntl, os, struct, sys
# Source: Linux, include/uapi/linux/btrfs.h, BTRFS_IOC_SNAP_CREATE_V2 and BTRFS_SUBVOL_RDONLY.
home = os.open('/home', os.O_RDONLY)
fcntl.ioctl(home, 0x50009417, bytearray(struct.pack('=qQQ32x4040s', home, 0, 2, sys.argv[1].encode())), True)
"""
PURGE = """
import os, sys
from datetime import UTC, datetime
from agent.wiper.accounts import Tenant
from agent.wiper.ground import real_machine
from agent.wiper.steps import Subject
from agent.wiper.steps.home import Home
name, uid, overwritten = sys.argv[1], int(sys.argv[2]), sys.argv[3] == 'overwritten'
tenant = Tenant(name=name, uid=uid, home=f'/home/{name}', generation='g', booking_id=None, command_id='c',
                granted_at=datetime.now(UTC))
erased = Home(Subject(real_machine(), tenant), lambda _: overwritten).erase(lambda *_: None)
assert not os.path.exists(f'/home/{name}') and not erased.notes, erased
print(sum(one.overwritten_bytes for one in erased.treated))
"""


class Image:
    """A file with a file system in it, on a disk of the machine's, mounted where the view's homes are."""

    def __init__(self, machine: Machine, path: Path, kind: str) -> None:
        self._machine = machine
        self._path = path
        with path.open("wb") as file:
            file.truncate(400 * 2**20)
        subprocess.run([*MAKE[kind].split(), str(path)], check=True, capture_output=True)
        machine.run("sh", "-c", NODES)
        self.device = machine.run("losetup", "--show", "--find", str(path)).strip()
        machine.run("mount", self.device, "/home")

    def marks(self) -> int:
        """How many of the tenant's lines are in it; the file system is taken off first, and writes all it has."""
        self._machine.run("umount", "/home")
        found = subprocess.run(["grep", "-a", "-c", MARK, self._path], capture_output=True, text=True, check=False)
        return int(found.stdout)

    def close(self) -> None:
        self._machine.run("sh", "-c", "! mountpoint -q /home || umount /home")
        self._machine.run("losetup", "--detach", self.device)
        self._path.unlink()


@pytest.fixture
def image(machine: Machine, machine_state: Path, missing: Callable[[str], None]) -> Iterator[Callable[[str], Image]]:
    """Makes one of this kind."""
    made: list[Image] = []

    def make(kind: str) -> Image:
        if not shutil.which(MAKE[kind].split()[0]):
            missing(MAKE[kind].split()[0])
        made.append(Image(machine, machine_state / "medium.img", kind))
        return made[-1]

    yield make
    for one in made:
        one.close()


def as_tenant(machine: Machine, target: Target, script: str) -> None:
    home = f"HOME=/home/{target.username}"
    ids = (f"--reuid={target.uid}", f"--regid={target.uid}", "--clear-groups")
    machine.run("env", home, "setpriv", *ids, "sh", "-c", script)


@pytest.fixture
def grant(root_wiper: Wiper, machine_platform: Platform) -> Callable[[str], Target]:
    return lambda name: root_wiper.grant(machine_platform.grant(name))


@pytest.fixture
def wipe(root_wiper: Wiper, machine_platform: Platform) -> Callable[..., WipeEvidence]:
    def order(target: Target, method: WipeMethod = WipeMethod.HOME_DIRECTORY_PURGE) -> WipeEvidence:
        work = WipeWork(target=target, methods=(method,))
        return root_wiper.wipe(machine_platform.command(machine_platform.order(work)))

    return order


@pytest.mark.parametrize("kind", sorted(MAKE))
def test_plain_removal_leaves_all_of_it_on_the_medium(machine: Machine, image, grant, kind: str) -> None:
    """Why there is more than that: each line can still be read."""
    disk = image(kind)
    target = grant(f"plain{kind}")
    as_tenant(machine, target, WRITE)
    assert machine.python(PURGE, target.username, str(target.uid), "plain") == "0\n"
    assert disk.marks() >= MARKERS


@pytest.mark.parametrize("kind", sorted(MAKE))
@pytest.mark.parametrize("method", [WipeMethod.HOME_DIRECTORY_PURGE, WipeMethod.USER_DELETION])
def test_a_wipe_trims_what_it_freed(machine: Machine, image, grant, wipe, kind: str, method: WipeMethod) -> None:
    """Nothing can be read where the device forgets what is trimmed, and the evidence says what was done."""
    disk = image(kind)
    target = grant(f"{kind}{method[:4]}")
    as_tenant(machine, target, WRITE)
    evidence = wipe(target, method)
    assert evidence.methods[0].status is WipeStatus.SUCCESS, evidence.methods
    home = next(one for one in evidence.media if one.held_home)
    assert (home.file_system, home.technique, home.note) == (kind, "unlinked, trimmed", None)
    assert home.trimmed_bytes is not None
    assert home.trimmed_bytes > MARKERS * 2 * len(MARK)
    assert disk.marks() == 0


def test_overwriting_removes_the_content_where_it_is_written_in_place(machine: Machine, image, grant) -> None:
    """Of a large sparse file only what was written; nothing can be read on the raw medium."""
    disk = image("ext4")
    target = grant("spinning")
    as_tenant(machine, target, WRITE + "rm deep/linked; echo x > sparse; truncate -s 1T sparse; sync")
    size = int(machine.run("stat", "-c", "%s", "/home/spinning/plain"))
    written = int(machine.python(PURGE, target.username, str(target.uid), "overwritten"))
    assert size * 2 < written < size * 2 + 100_000
    assert disk.marks() == 0


def test_a_snapshot_made_since_the_grant_is_told_and_left(machine: Machine, image, grant, wipe) -> None:
    """One of before holds nothing of his. What is in the other stays readable, on the medium too."""
    disk = image("btrfs")
    machine.python(SNAPSHOT, "before")
    machine.run("sleep", "1.1")
    target = grant("copied")
    as_tenant(machine, target, WRITE)
    machine.python(SNAPSHOT, "after")
    evidence = wipe(target)
    place = next(one for one in evidence.places if one.name == "copies")
    assert (place.state, place.left) == ("residue", 1)
    assert evidence.methods[0].status is WipeStatus.PARTIAL
    assert "copies: 1 btrfs snapshots made since the account was" in evidence.methods[0].reasons
    assert machine.run("ls", "/home") == "after\nbefore\n"
    assert machine.run("grep", "-c", MARK, "/home/after/copied/plain") == f"{MARKERS}\n"
    assert disk.marks() >= MARKERS


def test_an_account_that_a_directory_also_knows_lives_on(machine: Machine, grant, wipe, missing) -> None:
    """By a record of systemd's, which nobody's userdel removes."""
    if not Path("/lib/x86_64-linux-gnu/libnss_systemd.so.2").exists():
        missing("libnss_systemd")
    target = grant("listed")
    record = '{"userName": "listed", "uid": 54321, "gid": 54321, "disposition": "regular"}'
    put = "mkdir -p /etc/userdb; echo \"$0\" > /etc/userdb/listed.user; sed -i 's/^passwd:.*/passwd: files systemd/' "
    machine.run("sh", "-c", f"cp /etc/nsswitch.conf /root/kept; {put} /etc/nsswitch.conf", record)
    try:
        evidence = wipe(target, WipeMethod.USER_DELETION)
    finally:
        machine.run("sh", "-c", "rm -r /etc/userdb; cp /root/kept /etc/nsswitch.conf")
    place = next(one for one in evidence.places if one.name == "directory")
    assert (place.state, place.left) == ("residue", 1)
    assert place.reason == "systemd knows an account of this name or number"
    assert evidence.methods[0].status is WipeStatus.PARTIAL
