"""What is left in the blocks of real file systems: raw images are searched for what the tenant had written."""

import shlex
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
there = os.open(sys.argv[2], os.O_RDONLY) if len(sys.argv) > 2 else home
fcntl.ioctl(there, 0x50009417, bytearray(struct.pack('=qQQ32x4040s', home, 0, 2, sys.argv[1].encode())), True)
"""
PURGE = """
import os, sys
from datetime import UTC, datetime
from agent.wiper.tenant.accounts import Tenant
from agent.wiper.system.ground import real_machine
from agent.wiper.policy import Policy
from agent.wiper.steps import Subject
from agent.wiper.steps.home import Home
name, uid, policy, decided = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4] == 'yes'
tenant = Tenant(name=name, uid=uid, home=f'/home/{name}', generation='g', booking_id=None, command_id='c',
                granted_at=datetime.now(UTC))
erased = Home(Subject(real_machine(), tenant, Policy(overwrite=policy)), lambda _: decided).erase(lambda *_: None)
assert not os.path.exists(f'/home/{name}') and not erased.notes, erased
print(sum(one.overwritten_bytes for one in erased.treated))
"""
LATE = """
import sys
from datetime import UTC, datetime
from agent.wiper.tenant.accounts import Tenant
from agent.wiper.system.ground import real_machine
from agent.wiper.steps import Subject
from agent.wiper.steps.trim import Trim
tenant = Tenant(name='late', uid=5000, home='/home/late', generation='g', booking_id=None, command_id='c',
                granted_at=datetime.now(UTC))
erased = Trim(Subject(real_machine(), tenant), float(sys.argv[1])).erase(lambda *_: None)
print(erased.removed, erased.notes, {(one.trimmed_bytes is None, one.note) for one in erased.treated})
"""
DECIDE = """
import os, sys
from agent.wiper.blocks import media
from agent.wiper.system.mountinfo import current
mount = next(one for one in current() if one.point == '/home')
spinning = media.Device(name=sys.argv[1], rotational='1', path='/sys/devices/pci0/ata1/block/sda')
options = media.options_of(mount, spinning)
print(media.is_overwritable('ext4', options, spinning, shares_extents=False), media.overwrites(os.open('/home', 0)))
"""
ELSEWHERE = """
import os, sys
from datetime import UTC, datetime, timedelta
from agent.wiper.tenant.accounts import Tenant
from agent.wiper.system.ground import real_machine
from agent.wiper.steps import Subject
from agent.wiper.steps.elsewhere import Elsewhere
tenant = Tenant(name=sys.argv[1], uid=int(sys.argv[2]), home='/home/around', generation='g', booking_id=None,
                command_id='c', granted_at=datetime.now(UTC) - timedelta(minutes=5))
device = os.stat('/home').st_dev
erased = Elsewhere(Subject(real_machine(), tenant), lambda top: os.fstat(top).st_dev == device).erase(lambda *_: None)
# Root has a file in there, which keeps the directory.
assert erased.notes == ('an item stays: Directory not empty',), erased
print(erased.removed, sum(one.overwritten_bytes for one in erased.treated))
"""


class Image:
    """A file with a file system in it, on a disk of the machine's, mounted where the view's homes are."""

    def __init__(self, machine: Machine, path: Path, kind: str, *words: str) -> None:
        self._machine = machine
        self._path = path
        with path.open("wb") as file:
            file.truncate(400 * 2**20)
        subprocess.run([*MAKE[kind].split(), *words, str(path)], check=True, capture_output=True)
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
def image(machine: Machine, machine_state: Path, missing: Callable[[str], None]) -> Iterator[Callable[..., Image]]:
    """Makes one of this kind."""
    made: list[Image] = []

    def make(kind: str, *words: str) -> Image:
        if not shutil.which(MAKE[kind].split()[0]):
            missing(MAKE[kind].split()[0])
        made.append(Image(machine, machine_state / "medium.img", kind, *words))
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


@pytest.mark.parametrize(
    ("kind", "policy", "decided"),
    [("ext4", "auto", "no"), ("xfs", "auto", "no"), ("btrfs", "auto", "no"), ("ext4", "never", "yes")],
)
def test_plain_removal_leaves_all_of_it_on_the_medium(
    machine: Machine, image, grant, kind: str, policy: str, decided: str
) -> None:
    """Where overwriting means nothing, or the provider wants none: each line can still be read."""
    disk = image(kind)
    target = grant(f"{policy}{kind}")
    as_tenant(machine, target, WRITE)
    assert machine.python(PURGE, target.username, str(target.uid), policy, decided) == "0\n"
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


@pytest.mark.parametrize(
    ("deadline_s", "expected"),
    [("60", "0 () {(False, None)}"), ("0", "0 ('not trimmed: no time was left',) {(True, 'no time was left')}")],
)
def test_a_trim_that_does_not_come_to_its_end_is_a_note(
    machine: Machine, image, deadline_s: str, expected: str
) -> None:
    """Told with the medium; it raises nothing."""
    image("ext4")
    assert machine.python(LATE, deadline_s) == f"{expected}\n"


def test_overwriting_removes_the_content_where_it_is_written_in_place(machine: Machine, image, grant) -> None:
    """Of a large sparse file only what was written; nothing can be read on the raw medium."""
    disk = image("ext4")
    target = grant("spinning")
    as_tenant(machine, target, WRITE + "rm deep/linked; echo x > sparse; truncate -s 1T sparse; sync")
    size = int(machine.run("stat", "-c", "%s", "/home/spinning/plain"))
    written = int(machine.python(PURGE, target.username, str(target.uid), "auto", "yes"))
    assert size * 2 < written < size * 2 + 100_000
    assert disk.marks() == 0


def test_files_elsewhere_are_overwritten_too_and_nobody_elses(machine: Machine, image, grant) -> None:
    """All of a file system with one more walk; a neighbour's file and what has two names stay as they are."""
    disk = image("ext4")
    target = grant("around")
    machine.run("install", "-d", "-o", str(target.uid), "/home/shared/in")
    as_tenant(machine, target, "HOME=/home/shared/in; " + WRITE + "rm deep/linked; chattr +A plain")
    machine.run("sh", "-c", "echo precious > /home/shared/his; ln /home/shared/his /home/shared/in/two")
    machine.run("chattr", "+i", "/home/shared/in/plain")
    removed, written = machine.python(ELSEWHERE, "around", str(target.uid)).split()
    assert int(removed) >= 5
    assert int(written) > MARKERS * 2 * len(MARK)
    assert machine.run("cat", "/home/shared/his", "/home/shared/in/two") == "precious\n" * 2
    assert disk.marks() == 0


@pytest.mark.parametrize(("flag", "expected"), [("0", "False"), ("1", "True")])
def test_xfs_says_whether_files_may_share_blocks(machine: Machine, image, flag: str, expected: str) -> None:
    """By its geometry; mount options do not tell."""
    image("xfs", "-m", f"reflink={flag}")
    code = (
        "import os; from agent.wiper.system.kernel import *; print(xfs_shares_extents(os.open('/home', os.O_RDONLY)))"
    )
    assert machine.python(code) == f"{expected}\n"


@pytest.mark.parametrize(("default", "expected"), [("^journal_data", "True"), ("journal_data", "False")])
def test_a_data_journal_is_seen_though_it_is_the_default_of_the_file_system(
    machine: Machine, image, default: str, expected: str
) -> None:
    """The list of mounts does not show defaults. A loop device itself is no spinning disk, whatever it says."""
    device = image("ext4").device
    machine.run("umount", "/home")
    machine.run("tune2fs", "-o", default, device)
    machine.run("mount", device, "/home")
    assert machine.python(DECIDE, device.removeprefix("/dev/")) == f"{expected} False\n"


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


SUBVOLUMES = """
import fcntl, os, struct
# Source: Linux, include/uapi/linux/btrfs.h, BTRFS_IOC_SUBVOL_CREATE; every user may make one in a directory of his.
def make(folder, name):
    there = os.open(folder, os.O_RDONLY)
    fcntl.ioctl(there, 0x5000940E, bytearray(struct.pack('=q4088s', 0, name.encode())), True)
make('.', 'own')
os.makedirs('own/deep/er/still')
open('own/deep/er/file', 'w').write('x')
make('own/deep/er', 'nested')
os.makedirs('own/deep/er/nested/a/b')
make('.', 'fixed')
os.makedirs('fixed/a/b')
make('own', 'fixed')
os.makedirs('own/fixed/a/b')
for name in ('fixed', 'own/fixed'):
    fcntl.ioctl(os.open(name, os.O_RDONLY), 0x4008941A, struct.pack('=Q', 2))
make('.', 'chain')
os.chdir('chain')
for _ in range(300):
    make('.', 'chain')
    os.chdir('chain')
"""


def test_subvolumes_in_the_home_go_too(machine: Machine, image, grant, wipe) -> None:
    """With directories in them, which cannot be renamed out of them; read-only ones, and a long chain of them."""
    image("btrfs")
    target = grant("volumes")
    as_tenant(machine, target, f"cd; python3 -c {shlex.quote(SUBVOLUMES)}")
    evidence = wipe(target)
    assert evidence.methods[0].status is WipeStatus.SUCCESS, evidence.places
    assert machine.run("ls", "-A", "/home") == ""


def test_a_snapshot_that_root_keeps_in_a_home_stays(machine: Machine, image, grant, wipe) -> None:
    """As snapper does where a home is a subvolume: read-only, in a directory of root's. It is told."""
    image("btrfs")
    target = grant("keeper")
    as_tenant(machine, target, WRITE)
    machine.run("install", "-d", "/home/keeper/.snapshots")
    machine.python(SNAPSHOT, "one", "/home/keeper/.snapshots")
    evidence = wipe(target)
    assert evidence.methods[0].status is WipeStatus.PARTIAL
    kept = machine.run("sh", "-c", "cat /home/.rackproof-wipe-*/.snapshots/one/keeper/plain")
    assert kept.count(MARK) == MARKERS
