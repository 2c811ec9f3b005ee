"""
The shipped units on a booted machine: an order goes in through the socket, and what it did is looked at from outside.

A unit with a view of its own would wipe that view, verify that view, and say "success" while everything is still there.
So nothing here believes the wiper: each place is looked at from the machine itself.
"""

import json
import shlex
import time
from typing import NamedTuple

import pytest

from shared.codec import encode
from shared.documents import GrantOutcome, WipeEvidence, WipeWork
from shared.records import WipeMethod
from tests.host.units import ASK, STATE, Unit

pytestmark = [pytest.mark.root, pytest.mark.slow]

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f tenant"

TRAPS = r"""
import ctypes, fcntl, os, pwd, struct, subprocess, sys, time
name, uid, home = sys.argv[1], int(sys.argv[2]), sys.argv[3]
gid = pwd.getpwnam(name).pw_gid
libc = ctypes.CDLL(None, use_errno=True)
def checked(result):
    assert result >= 0, os.strerror(ctypes.get_errno())
    return result
def own(path):
    os.chown(path, uid, gid, follow_symlinks=False)
def sleeper(as_uid, as_gid):
    # Twice, so that it is the first process's child and nobody else's.
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid(); os.setgroups([]); os.setgid(as_gid); os.setuid(as_uid)
            null = os.open('/dev/null', os.O_RDWR)
            for fd in range(3): os.dup2(null, fd)
            held = open('/tmp/held-' + str(as_uid), 'w')
            os.execv('/bin/sleep', ['[kworker/0:1]', '3000'])
        os._exit(0)
    os.wait()
sleeper(uid, gid)
# One that is never the same for long: whoever kills what he has just seen always comes too late.
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid(); os.setgroups([]); os.setgid(gid); os.setuid(uid)
        null = os.open('/dev/null', os.O_RDWR)
        for fd in range(3): os.dup2(null, fd)
        while True:
            if os.fork(): os._exit(0)
            time.sleep(0.0005)
    os._exit(0)
os.wait()
ranges = [line.split(':') for line in open('/etc/subuid') if line.startswith(name + ':')]
if ranges:
    sleeper(int(ranges[0][1]) + 7, int(ranges[0][1]) + 7)
subprocess.run(['loginctl', 'enable-linger', name], check=True)
for _ in range(200):
    if os.path.exists(f'/run/user/{uid}/systemd'): break
    time.sleep(0.05)
unit = home + '/.config/systemd/user/back.service'
os.makedirs(os.path.dirname(unit))
open(unit, 'w').write('[Service]\nExecStart=/bin/sleep 3000\nRestart=always\nRestartSec=0\n[Install]\nWantedBy=default.target\n')
for folder, folders, files in os.walk(home):
    for one in (folder, *(os.path.join(folder, file) for file in files)): own(one)
subprocess.run(['systemctl', '--user', '-M', name + '@', 'enable', '--now', 'back.service'], capture_output=True)
for place in ('/tmp', '/var/tmp', '/dev/shm', '/run/user/' + str(uid), '/var/mail'):
    path = place + '/of-' + name
    open(path, 'w').write('mine'); own(path)
    os.makedirs(path + '.d/in'); open(path + '.d/in/x', 'w').close()
    for one in ('.d/in/x', '.d/in', '.d'): own(path + one)
for one in ('file', 'fixed'):
    open(home + '/' + one, 'w').write('mine'); own(home + '/' + one)
for path in (home + '/fixed', '/var/tmp/of-' + name + '.d/in/x'):
    with open(path) as file:
        fcntl.ioctl(file, 0x40086602, struct.pack('l', 0x10))
# His key in a neighbour's file, which only the neighbour may change: a link there could lead anywhere.
subprocess.run(['useradd', '--create-home', 'neighbour'], check=True)
bob = pwd.getpwnam('neighbour')
os.mkdir('/home/neighbour/.ssh', 0o700)
open('/home/neighbour/.ssh/authorized_keys', 'w').write('ssh-ed25519 AAAANEIGHBOUR his\n' + sys.argv[5] + '\n')
for one in ('', '/.ssh', '/.ssh/authorized_keys'):
    os.chown('/home/neighbour' + one, bob.pw_uid, bob.pw_gid); os.chmod('/home/neighbour' + one, 0o700)
# Not the tenant's own: what another user's mount hides, and mounts in the home.
os.makedirs('/srv/other', exist_ok=True)
open('/srv/other/precious', 'w').write('not yours')
# Two of the neighbour's processes: one in the tenant's own group, which goes, and one that has nothing to do with him.
sleeper(bob.pw_uid, gid)
sleeper(bob.pw_uid, bob.pw_gid)
for one in ('bound', 'memory'):
    os.makedirs(home + '/' + one); own(home + '/' + one)
subprocess.run(['mount', '--bind', '/srv/other', home + '/bound'], check=True)
subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', home + '/memory'], check=True)
open(home + '/memory/inside', 'w').close(); own(home + '/memory/inside')
# A directory of the neighbour's that lets him in, by an access list, and hands its group on to what is made there.
os.mkdir('/srv/shared')
os.chown('/srv/shared', bob.pw_uid, bob.pw_gid)
os.chmod('/srv/shared', 0o2775)
entries = ((0x01, 7, -1), (0x02, 7, uid), (0x04, 7, -1), (0x10, 7, -1), (0x20, 5, -1))
acl = struct.pack('<I', 2) + b''.join(struct.pack('<HHi', *entry) for entry in entries)
os.setxattr('/srv/shared', 'system.posix_acl_access', acl)
os.makedirs('/srv/hidden', exist_ok=True)
open('/srv/hidden/below', 'w').close(); own('/srv/hidden/below')
subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', '/srv/hidden'], check=True)
if os.fork() == 0:
    os.setgroups([]); os.setgid(gid); os.setuid(uid)
    checked(libc.shmget(4711, 4096, 0o1600)); checked(libc.semget(4712, 1, 0o1600)); checked(libc.msgget(4713, 0o1600))
    checked(ctypes.CDLL('librt.so.1').mq_open(b'/of-' + name.encode(), os.O_CREAT | os.O_RDWR, 0o600, None))
    os._exit(0)
assert os.wait()[1] == 0
"""

LOOK = r"""
import json, os, struct, subprocess, sys
name, uid, home = sys.argv[1], int(sys.argv[2]), sys.argv[3]
sub = [(int(line.split(':')[1]), int(line.split(':')[2])) for line in sys.argv[4].splitlines()]
def owns(number):
    return number == uid or any(first <= number < first + count for first, count in sub)
found = {place: [] for place in sys.argv[5:]}
for pid in filter(str.isdigit, os.listdir('/proc')):
    try:
        status = dict(line.split(':\t', 1) for line in open(f'/proc/{pid}/status') if ':\t' in line)
    except (FileNotFoundError, ProcessLookupError):
        continue
    if status['State'][0] in 'ZX':
        continue
    if any(map(owns, map(int, status['Uid'].split()))):
        found['processes'].append(status['Name'].strip())
    if status['Gid'].split()[0] == str(uid):
        found['group'].append(status['Uid'].split()[0])
for top in ('/tmp', '/var', '/dev/shm', '/run', '/srv', '/etc', '/home'):
    for folder, folders, files in os.walk(top):
        for one in (*folders, *files):
            path = os.path.join(folder, one)
            try:
                if owns(os.lstat(path).st_uid): found['files'].append(path)
            except FileNotFoundError:
                continue
found['home'] = [one for one in os.listdir('/home') if one == os.path.basename(home) or one.startswith('.rackproof')]
for kind in ('shm', 'sem', 'msg'):
    names, *rows = (line.split() for line in open('/proc/sysvipc/' + kind))
    found['ipc'] += [kind for row in rows if owns(int(row[names.index('uid')])) or owns(int(row[names.index('cuid')]))]
found['queues'] = [one for one in os.listdir('/dev/mqueue') if owns(os.lstat('/dev/mqueue/' + one).st_uid)]
points = [line.split()[4] for line in open('/proc/self/mountinfo')]
found['mounts'] = [one for one in points if one.startswith('/home/')]
# What lies beneath a mount, seen through a copy of the file system without it.
os.makedirs('/run/look', exist_ok=True)
subprocess.run(['mount', '--bind', '/srv', '/run/look'], check=True)
found['hidden'] = os.listdir('/run/look/hidden')
subprocess.run(['umount', '/run/look'], check=True)
acl = os.getxattr('/srv/shared', 'system.posix_acl_access')
found['marks'] = [uid for at in range(4, len(acl), 8) if struct.unpack_from('<HHI', acl, at)[::2] == (0x02, uid)]
found['keys'] = [line for line in open('/home/neighbour/.ssh/authorized_keys') if line.endswith(' tenant\n')]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def unit(machine) -> Unit:
    return Unit(machine)


DISK = (
    "for n in $(seq 0 15); do [ -e /dev/loop$n ] || mknod /dev/loop$n b 7 $n; done; truncate -s 64M /var/disk.img && "
    "mkfs.ext4 -q -E nodiscard /var/disk.img && mkdir /srv/disk && mount -o loop /var/disk.img /srv/disk"
)
"""A file system on a device that takes discard."""

PLACES = ("processes", "files", "home", "ipc", "queues", "mounts", "hidden", "keys", "marks", "group")


class Wiped(NamedTuple):
    """A tenant's traps, what stood of them before and after his wipe, and what the wiper says of it."""

    before: dict[str, list[str]]
    after: dict[str, list[str]]
    evidence: WipeEvidence


@pytest.fixture(scope="module")
def wiped(unit) -> Wiped:
    target = unit.ask(unit.platform.grant("mallory", KEY), GrantOutcome).target
    home = f"/home/{target.username}"
    rows = unit.machine.run("cat", "/etc/subuid").splitlines()
    ranges = "\n".join(row for row in rows if row.startswith(f"{target.username}:"))
    who = (target.username, str(target.uid), home, ranges)
    unit.machine.python(TRAPS, *who, KEY)
    unit.machine.run("sh", "-c", DISK)
    before = json.loads(unit.machine.python(LOOK, *who, *PLACES))
    work = WipeWork(target=target, methods=(WipeMethod.USER_DELETION,))
    evidence = unit.ask(unit.platform.command(unit.platform.order(work)), WipeEvidence)
    return Wiped(before, json.loads(unit.machine.python(LOOK, *who, *PLACES)), evidence)


@pytest.mark.parametrize("place", PLACES)
def test_what_the_tenant_left_is_gone_from_the_machine(wiped, place):
    """It stood there before, and nobody outside of the unit finds it now."""
    assert wiped.before[place]
    assert wiped.after[place] == []


def test_files_of_every_place_were_among_them(wiped):
    """The places a private view would hide."""
    for top in ("/home/", "/tmp/", "/var/tmp/", "/dev/shm/", "/run/user/", "/var/mail/"):
        assert any(path.startswith(top) for path in wiped.before["files"]), top


def test_what_was_only_mounted_in_the_home_is_still_there(unit, wiped):
    """Somebody else's directory behind a bind mount."""
    assert unit.machine.run("cat", "/srv/other/precious") == "not yours"


def test_a_neighbours_directory_is_as_it_was(unit, wiped):
    """But for the entry that let the tenant in: rewriting a list must not cost the bit that hands the group on."""
    assert unit.machine.run("stat", "-c", "%U %G %a", "/srv/shared") == "neighbour neighbour 2775\n"


def test_a_neighbours_own_key_is_still_there(unit, wiped):
    """The line beside the tenant's, in a file that is the neighbour's as before."""
    assert unit.machine.run("cat", "/home/neighbour/.ssh/authorized_keys") == "ssh-ed25519 AAAANEIGHBOUR his\n"
    assert unit.machine.run("stat", "-c", "%U %a", "/home/neighbour/.ssh/authorized_keys") == "neighbour 700\n"


def test_a_neighbours_own_process_runs_on(unit, wiped):
    """But not the one in the tenant's group, which only somebody of the neighbour's user id may kill."""
    assert len(set(wiped.before["group"])) == 2
    assert unit.machine.run("pgrep", "-c", "-x", "-u", "neighbour", "-G", "neighbour", "sleep") == "1\n"


def test_the_wiper_says_the_same(wiped):
    """Every place that was looked at here from outside, it calls clean."""
    states = {place.name: place.state for place in wiped.evidence.places}
    told = ("login", "keys", "schedules", "processes", "mounts", "ipc", "namespaces", "home", "elsewhere", "account")
    assert {name: states[name] for name in told} == dict.fromkeys(told, "clean")


def test_the_unit_may_trim(wiped):
    """A file system on a device that takes discard was trimmed, and no other says that it failed."""
    trimmed = [one for one in wiped.evidence.media if one.trimmed_bytes]
    assert [(one.file_system, one.technique) for one in trimmed] == [("ext4", "unlinked, trimmed")]
    assert {one.note for one in wiped.evidence.media} == {None}


def test_a_tool_that_needs_devices_is_run_apart(unit):
    """Its words and its exit code come back, and one that hangs and will not end is killed with its unit, in time."""
    code = """
import sys, time
from agent.wiper.system.tools import run_apart
done = run_apart('sh', '-c', 'echo out; echo err >&2; exit 3', deadline_s=10)
before = time.monotonic()
try:
    hung = run_apart('sh', '-c', 'trap "" TERM; exec sleep 60', deadline_s=1).code != 0
except TimeoutError:
    hung = "not in time"
print(done.code, done.out.strip(), done.words, hung, time.monotonic() - before < 20)
"""
    assert unit.machine.python(code) == "3 out err True True\n"
    assert unit.machine.run("sh", "-c", "pgrep -x -u root sleep || true") == ""


def test_what_makes_no_copies_is_not_doubted(wiped):
    """No snapshots and no directory service here: neither keeps a wipe from success."""
    states = {place.name: place.state for place in wiped.evidence.places}
    assert (states["copies"], states["directory"]) == ("not_applicable", "not_applicable")


def test_the_machines_own_sshd_says_so_too(wiped):
    """It would have let the tenant's key in before; after the removal of his keys, and at the end, it would not."""
    asked = next(place for place in wiped.evidence.places if place.name == "sshd")
    assert (asked.state, asked.found, asked.left) == ("clean", 1, 0), asked
    assert asked.notes == ("1 of 1 keys would be let in", "0 of 1 keys would be let in")


def test_the_unit_has_the_views_of_the_machine(unit, wiped):
    """All namespaces are the first process's, but for the network and the host name."""
    first = unit.machine.python(
        "import os, json; print(json.dumps({n: os.readlink('/proc/1/ns/' + n) for n in os.listdir('/proc/1/ns')}))"
    )
    own = {name for name, one in json.loads(first).items() if one != unit.seen()["namespaces"][name]}
    assert own == {"net", "uts"}


def test_the_unit_has_no_network(unit, wiped):
    """Neither a link to send over nor a socket to send with; sshd listens on the same address outside."""
    seen = unit.seen()
    assert seen["links"] == ["lo"]
    assert {seen["tcp"], seen["tcp6"]} == {"Address family not supported by protocol"}


def test_the_unit_has_few_capabilities(unit, wiped):
    """Neither tracing, which leads into every process, nor the network's, nor loading modules."""
    bounding = int(unit.seen()["capabilities"], 16)
    assert unit.seen()["no_new_privileges"] == "1"
    assert not any(bounding >> number & 1 for number in (SYS_PTRACE, NET_ADMIN, NET_RAW, SYS_MODULE, SYS_RAWIO))


SYS_PTRACE, NET_ADMIN, NET_RAW, SYS_MODULE, SYS_RAWIO = 19, 12, 13, 16, 17
"""Source: Linux, include/uapi/linux/capability.h."""


@pytest.mark.parametrize("name", ["wiper.key", "journal.db", "pinned.json"])
def test_the_agents_user_cannot_read_what_is_the_wipers(unit, wiped, name):
    """Not its key, and nothing else in its directory."""
    tried = f"cat {STATE}/{name} || ls {STATE}"
    done = unit.machine.run("sh", "-c", f"runuser -u rackproof -- sh -c {shlex.quote(tried)} 2>&1; echo ended")
    assert done.count("Permission denied") == 2
    assert unit.machine.run("stat", "-c", "%U %a", f"{STATE}/wiper.key") == "root 600\n"


def test_nobody_else_can_hand_an_order_over(unit):
    """A tenant is stopped at the socket's mode."""
    code = ASK.replace("'rackproof'", "'nobody'").replace("line.connect(", "print(line.connect_ex(")
    code = code[: code.index("    line.sendall")].replace("wiper.sock')", "wiper.sock'))")
    assert unit.machine.python(code, "x").split() == ["13"]


def test_an_agent_that_hangs_up_changes_nothing(unit):
    """The account is made to its end, and the same order gets the stored answer."""
    command = unit.platform.grant("trudy", KEY)
    unit.machine.python(ASK, encode(command).decode(), "hang up")
    assert unit.ask(command, GrantOutcome).target.username == "trudy"


def test_no_dead_unit_is_left(unit, wiped):
    """Ended runs are forgotten by the service manager, failed ones too."""
    unit.machine.python(ASK, "nonsense")
    listed = "systemctl list-units --all --no-legend 'rackproof-wiper@*'"
    for _ in range(50):
        left = unit.machine.run("sh", "-c", listed)
        if not left:
            break
        time.sleep(0.1)
    assert left == ""
    assert unit.machine.run("systemctl", "is-active", "rackproof-wiper.socket") == "active\n"
