"""Machines that are full, read-only or busy with something else: what cannot be taken away is told, nothing hangs."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from shared.documents import Target, WipeEvidence, WipeWork
from shared.messages import Refused
from shared.records import WipeMethod, WipeStatus
from tests.agent.wiper.harness import Machine, Platform, Wiper

pytestmark = pytest.mark.root

Wipe = Callable[[Target], WipeEvidence]
PURGE = WipeMethod.HOME_DIRECTORY_PURGE


@pytest.fixture
def wipe(root_wiper: Wiper, machine_platform: Platform) -> Wipe:
    def order(target: Target) -> WipeEvidence:
        work = WipeWork(target=target, methods=(PURGE,))
        return root_wiper.wipe(machine_platform.command(machine_platform.order(work)))

    return order


@pytest.fixture
def grant(root_wiper: Wiper, machine_platform: Platform) -> Callable[[str], Target]:
    return lambda name: root_wiper.grant(machine_platform.grant(name))


@contextlib.contextmanager
def mounted(machine: Machine, point: str, *words: str) -> Iterator[None]:
    machine.run("mkdir", "-p", point)
    machine.run("mount", *words, point)
    try:
        yield
    finally:
        machine.run("umount", "--lazy", point)


def as_tenant(machine: Machine, target: Target, script: str) -> None:
    machine.run("setpriv", f"--reuid={target.uid}", f"--regid={target.uid}", "--clear-groups", "sh", "-c", script)


def status(evidence: WipeEvidence) -> WipeStatus:
    return evidence.methods[0].status


@pytest.mark.parametrize(
    ("options", "fill"),
    [
        ("size=1m,mode=755", "n=0; while (head -c 65536 /dev/zero > f$n); do n=$((n+1)); done"),
        ("nr_inodes=60,mode=755", "n=0; while (: > f$n); do n=$((n+1)); done"),
    ],
    ids=["bytes", "inodes"],
)
def test_a_tenant_who_filled_the_disk_is_wiped(machine: Machine, grant, wipe: Wipe, options: str, fill: str) -> None:
    """Not a page or not an inode is free where his home is: removing it takes neither."""
    with mounted(machine, "/home", "-t", "tmpfs", "-o", options, "tmpfs"):
        target = grant(f"full{len(options)}")
        as_tenant(machine, target, f"cd /home/{target.username}; ({fill}) 2>/dev/null")
        evidence = wipe(target)
        assert status(evidence) is WipeStatus.SUCCESS, evidence.places
        assert machine.run("ls", "-A", "/home") == ""


def test_what_lies_on_a_read_only_file_system_is_told_and_goes_later(machine: Machine, grant, wipe: Wipe) -> None:
    """Partial until somebody mounts it writable; another order then finishes."""
    target = grant("frozen")
    with mounted(machine, "/srv/frozen", "-t", "tmpfs", "tmpfs"):
        machine.run("sh", "-c", "echo x > /srv/frozen/his; chown frozen: /srv/frozen/his")
        machine.run("mount", "-o", "remount,ro", "/srv/frozen")
        evidence = wipe(target)
        place = next(one for one in evidence.places if one.name == "elsewhere")
        assert (status(evidence), place.state, place.left) == (WipeStatus.PARTIAL, "residue", 1)
        assert "an item stays: Read-only file system" in place.notes
        machine.run("mount", "-o", "remount,rw", "/srv/frozen")
        assert status(wipe(target)) is WipeStatus.SUCCESS
        assert machine.run("ls", "-A", "/srv/frozen") == ""


def test_a_home_that_cannot_be_written_is_told_and_goes_later(machine: Machine, grant, wipe: Wipe) -> None:
    """Access may remain while the home keeps its path, so this is a failure, not a doubt."""
    with mounted(machine, "/home", "-t", "tmpfs", "-o", "mode=755", "tmpfs"):
        target = grant("iced")
        machine.run("mount", "-o", "remount,ro", "/home")
        evidence = wipe(target)
        assert status(evidence) is WipeStatus.FAILED
        assert machine.run("sh", "-c", "cat /home/iced/.rackproof-canary | wc -l").strip() != "0"
        machine.run("mount", "-o", "remount,rw", "/home")
        assert status(wipe(target)) is WipeStatus.SUCCESS


def test_a_home_that_became_a_dead_mount_is_refused_at_once(
    machine: Machine, grant, root_wiper: Wiper, machine_platform: Platform
) -> None:
    """A file system nobody answers for, as of a server that is gone: it is never asked, so nothing hangs."""
    target = grant("dead")
    hold = machine.python_argv(DEAD, "/home/dead", str(target.uid))
    process = subprocess.Popen([*machine.prefix, *hold], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        if process.stdout.readline() != b"mounted\n":
            pytest.skip("this kernel has no FUSE")
        began = time.monotonic()
        work = WipeWork(target=target, methods=(PURGE,))
        answer = root_wiper.ask(machine_platform.command(machine_platform.order(work)))
        assert isinstance(answer, Refused)
        assert (answer.code, "mount" in answer.detail) == ("unsafe_home", True)
        assert time.monotonic() - began < 20
    finally:
        machine.run("umount", "--lazy", "/home/dead")
        machine.run("pkill", "-KILL", "-f", "^[^ ]*python.*fuse.*/home/dead")  # nsenter only waits for it
        process.communicate(timeout=20)


DEAD = """
import ctypes, os, sys, time
point, uid = sys.argv[1:]
if not os.path.exists('/dev/fuse'):
    os.mknod('/dev/fuse', 0o020666, os.makedev(10, 229))
try:
    device = os.open('/dev/fuse', os.O_RDWR)
except OSError:
    sys.exit('no FUSE')
options = f'fd={device},rootmode=40000,user_id={uid},group_id={uid}'
if ctypes.CDLL(None, use_errno=True).mount(b'dead', point.encode(), b'fuse', 0, options.encode()):
    sys.exit(os.strerror(ctypes.get_errno()))
print('mounted', flush=True)
time.sleep(600)
"""
"""A FUSE file system whose server reads no request."""

RACE = """
import os, sys, time
home, uid = sys.argv[1], int(sys.argv[2])
os.makedirs('/srv/victor/deep', exist_ok=True)
for name in ('precious', 'deep/precious'):
    open(f'/srv/victor/{name}', 'w').write('victors')
for path, folders, files in os.walk('/srv/victor'):
    for one in (path, *(os.path.join(path, file) for file in files)):
        os.chown(one, 3001, 3001)
os.makedirs(f'{home}/shared/moving')
for number in range(3000):
    open(f'{home}/shared/moving/{number}', 'w').close()
for path, folders, files in os.walk(f'{home}/shared'):
    for one in (path, *(os.path.join(path, file) for file in files)):
        os.chown(one, uid, uid)
        os.chmod(one, 0o777)
shared = os.open(f'{home}/shared', os.O_RDONLY)
mine = os.open('/srv/victor', os.O_RDONLY)
os.setgroups([]); os.setresgid(3001, 3001, 3001); os.setresuid(3001, 3001, 3001)
print('racing', flush=True)
while True:
    for source, target in ((shared, mine), (mine, shared)):
        try:
            os.rename('moving', 'moving', src_dir_fd=source, dst_dir_fd=target)
        except OSError:
            time.sleep(0.0001)
    try:
        os.symlink('/srv/victor/deep', 'moving', dir_fd=shared)
        os.unlink('moving', dir_fd=shared)
    except OSError:
        pass
"""
"""A neighbour who moves a directory of the tenant's into his own and back, and puts links to his own in its place."""


@pytest.mark.parametrize("attempt", range(3))
def test_a_neighbour_who_moves_directories_meanwhile_loses_nothing(
    machine: Machine, grant, wipe: Wipe, attempt: int
) -> None:
    """Wherever it is moved, only what was in the tenant's directory is taken away; a link is never followed."""
    target = grant(f"racer{attempt}")
    argv = machine.python_argv(RACE, f"/home/{target.username}", str(target.uid))
    process = subprocess.Popen([*machine.prefix, *argv], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"racing\n"
        wipe(target)
    finally:
        machine.run("pkill", "-KILL", "-u", "3001")
        process.wait()
        process.stdout.close()
    assert machine.run("sh", "-c", "cat /srv/victor/precious /srv/victor/deep/precious") == "victorsvictors"
    assert machine.run("stat", "-c", "%u", "/srv/victor", "/srv/victor/deep").split() == ["3001", "3001"]
    evidence = wipe(target)
    assert status(evidence) is WipeStatus.SUCCESS, evidence.places
    machine.run("rm", "-r", "/srv/victor")
