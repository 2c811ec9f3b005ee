"""The whole program as root on this machine, seen through a throw-away view: hostile tenants, real kernel."""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.wiper.steps.home import COMPROMISE
from shared.codes import Code
from shared.documents import GrantOutcome, PlaceReport, Target, WipeEvidence, WorkFailure
from shared.messages import Command
from shared.records import WipeStatus
from tests.agent.wiper.harness import Machine, Platform, Wiper

pytestmark = pytest.mark.root

SNAPSHOT = """
import hashlib, json, os, stat, sys
found = {}
for top in sys.argv[1:]:
    for folder, folders, files in os.walk(os.fsencode(top)):
        for name in [b'.', *folders, *files]:
            path = os.path.join(folder, name)
            facts = os.lstat(path)
            regular = stat.S_ISREG(facts.st_mode)
            content = hashlib.sha256(open(path, 'rb').read()).hexdigest() if regular else ''
            found[repr(path)] = [facts.st_ino, facts.st_uid, facts.st_gid, facts.st_mode, content]
print(json.dumps(found, sort_keys=True))
"""

NEIGHBOUR = """
import os, subprocess
subprocess.run(['useradd', '--create-home', '--uid', '3000', 'bob'], check=True)
for path in ('/home/bob/file', '/home/bob/dir/file', '/tmp/bob', '/var/tmp/bob', '/dev/shm/bob'):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, 'w').write('precious ' + path)
    os.chown(path, 3000, 3000)
os.chmod('/home/bob/file', 0o666)
os.chmod('/tmp', 0o1777)
os.chmod('/root', 0o755)
"""

HOSTILE = """
import ctypes, fcntl, os, socket, struct, sys, threading, time
uid, home = int(sys.argv[1]), sys.argv[2]
os.chdir(home)
os.symlink('/home/bob/file', 'link'); os.symlink('/home/bob', 'linkdir'); os.symlink('/', 'root')
os.link('/home/bob/file', 'hard')
os.mkfifo('fifo'); os.mknod('null', 0o020666, os.makedev(1, 3))
one = socket.socket(socket.AF_UNIX); one.bind('socket'); one.close()
open('setuid', 'w').close(); os.chown('setuid', uid, uid); os.chmod('setuid', 0o4755)
os.mkdir('closed'); open('closed/x', 'w').close(); os.chmod('closed', 0)
open('foreign', 'w').close(); os.chown('foreign', 3000, 3000)
os.mkdir('foreigndir'); open('foreigndir/x', 'w').close(); os.chown('foreigndir', 3000, 3000)
for name in (b'\\xff\\xfe\\x80', b'new\\nline', b'-rf', b'*', b' ', b'n' * 255):
    open(os.path.join(os.fsencode(home), name), 'w').close()
for number in range(3000):
    open(f'f{number}', 'w').close()
os.mkdir('locked'); open('locked/x', 'w').close(); open('immutable', 'w').close()
for name, flag in (('immutable', 0x10), ('locked/x', 0x20), ('locked', 0x10)):
    fd = os.open(name, os.O_RDONLY)
    fcntl.ioctl(fd, 0x40086602, struct.pack('l', flag)); os.close(fd)
os.mkdir('deep'); os.chdir('deep')
for _ in range(10_000):
    os.mkdir('d'); os.chdir('d')
open('bottom', 'w').close()
sub = next(int(line.split(':')[1]) for line in open('/etc/subuid') if line.startswith(os.path.basename(home) + ':'))
open(f'/var/tmp/sub{uid}', 'w').close(); os.chown(f'/var/tmp/sub{uid}', sub + 5, sub + 5)
for owner in (sub + 7, uid):  # as in a container without root; and one whose first thread has ended
    if os.fork() == 0:
        os.setgid(owner); os.setuid(owner)
        for fd in range(3):
            os.dup2(os.open('/dev/null', os.O_RDWR), fd)
        threading.Thread(target=time.sleep, args=(300,)).start()
        ctypes.CDLL(None).pthread_exit(None)
print(sub)
os.setgid(uid); os.setuid(uid); os.umask(0)
for top in ('/tmp', '/var/tmp', '/dev/shm'):
    os.makedirs(f'{top}/{uid}/a/b'); open(f'{top}/{uid}/a/b/c', 'w').close()
    os.symlink('/home/bob', f'{top}/{uid}/bob'); open(f'{top}/.{uid}', 'w').close()
libc = ctypes.CDLL(None)
assert libc.shmget(uid, 4096, 0o1666) >= 0 and libc.semget(uid, 1, 0o1666) >= 0 and libc.msgget(uid, 0o1666) >= 0
assert libc.mq_open(b'/tenant%d' % uid, os.O_CREAT | os.O_RDWR, 0o666, None) >= 0
"""

RESTLESS = """
import os, signal, time
os.setgid({uid}); os.setuid({uid})
for number in range(1, 32):
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_IGN)
if os.fork():
    os._exit(0)
os.setsid()
for fd in range(3):
    os.dup2(os.open('/dev/null', os.O_RDWR), fd)
if os.fork() == 0:
    while True:  # a new process id a thousand times a second
        if os.fork():
            os._exit(0)
        time.sleep(0.001)
while True:  # and one that puts things back
    if os.fork() == 0:
        os.execv('/bin/sleep', ['kworker/0:0', '30'])
    try:
        open('/tmp/back-{uid}', 'w').close()
    except OSError:
        pass
    time.sleep(0.01)
"""

BOBS_OBJECTS = """
import ctypes, os
os.setgid(3000); os.setuid(3000)
libc = ctypes.CDLL(None)
assert libc.shmget(3000, 4096, 0o1666) >= 0
assert libc.mq_open(b'/bob', os.O_CREAT | os.O_RDWR, 0o666, None) >= 0
if os.fork() == 0:
    for fd in range(3):
        os.dup2(os.open('/dev/null', os.O_RDWR), fd)
    os.execv('/bin/sleep', ['sleep', '500'])
"""

LEFT = """
import os, subprocess, sys
uid, found = int(sys.argv[1]), []
found += subprocess.run(['find', '/', '-xdev', '-uid', str(uid)], capture_output=True, text=True).stdout.split()
for top in ('/dev/shm', '/run', '/dev'):
    found += subprocess.run(['find', top, '-xdev', '-uid', str(uid)], capture_output=True, text=True).stdout.split()
for name in ('shm', 'sem', 'msg'):
    found += [line for line in open(f'/proc/sysvipc/{name}') if f' {uid} ' in line]
for pid in filter(str.isdigit, os.listdir('/proc')):
    try:
        if f'Uid:\\t{uid}\\t' in open(f'/proc/{pid}/status').read():
            found.append(f'process {pid}')
    except FileNotFoundError:
        pass
print('\\n'.join(found), end='')
"""


@pytest.fixture(scope="module")
def neighbour(machine: Machine) -> Callable[[], str]:
    """Another user with files and processes; returns a way to see whether anything of his changed."""
    machine.python(NEIGHBOUR)
    machine.python(BOBS_OBJECTS)

    def look() -> str:
        files = machine.python(SNAPSHOT, "/home/bob", "/tmp/bob", "/var/tmp/bob", "/dev/shm/bob")
        processes = machine.run("pgrep", "-u", "3000", "-a")
        return files + processes + machine.run("grep", "-c", " 3000 ", "/proc/sysvipc/shm")

    return look


@pytest.fixture
def ask(root_wiper: Wiper, machine_platform: Platform) -> Callable[[str], Target]:
    """Grant an account of this name."""
    return lambda name: root_wiper.grant(machine_platform.grant(name))


def status(evidence: WipeEvidence) -> WipeStatus:
    return evidence.methods[0].status


def told(evidence: WipeEvidence) -> list[str]:
    """What is not clean, and what was noted, for who reads a failure."""
    return [
        f"{one.name}: {one.state}, {one.reason}, {one.notes}"
        for one in evidence.places
        if one.state not in {"clean", "not_applicable"} or one.notes
    ]


def account_rows(machine: Machine, name: str) -> list[str]:
    """Everybody else's rows in the account files."""
    return [
        line
        for path in ("/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow", "/etc/subuid", "/etc/subgid")
        for line in machine.run("cat", path).splitlines()
        if not line.startswith(f"{name}:")
    ]


def others_of(seen: object) -> object:
    """A snapshot of /etc without the account files, which are compared by their rows."""
    assert isinstance(seen, dict)
    names = ("passwd", "shadow", "group", "gshadow", "subuid", "subgid", ".pwd.lock")
    return {path: facts for path, facts in seen.items() if path.strip("b'").split("/")[-1].rstrip("-") not in names}


def places(evidence: WipeEvidence) -> dict[str, PlaceReport]:
    return {place.name: place for place in evidence.places}


def test_nothing_of_a_hostile_tenant_is_left_and_nothing_of_others_is_touched(
    machine: Machine,
    root_wiper: Wiper,
    machine_platform: Platform,
    neighbour: Callable[[], str],
    ask: Callable[[str], Target],
) -> None:
    """Links, nodes, odd names, 10,000 levels, locked files, files elsewhere, kernel objects, restless processes."""
    target = ask("mallory")
    sub = int(machine.python(HOSTILE, str(target.uid), "/home/mallory"))
    assert "process " in machine.python(LEFT, str(sub + 7))
    machine.python(RESTLESS.format(uid=target.uid))
    before = neighbour()
    system, rows = json.loads(machine.python(SNAPSHOT, "/etc")), account_rows(machine, "mallory")
    evidence = root_wiper.wipe(machine_platform.wipe(target))
    # Only root makes a device: that one lay in the home leaves a doubt, and nothing else does.
    assert evidence.methods[0].reasons == (COMPROMISE,), told(evidence)
    for uid in (target.uid, sub + 5, sub + 7):
        assert machine.python(LEFT, str(uid)) == ""
    assert neighbour() == before
    assert others_of(json.loads(machine.python(SNAPSHOT, "/etc"))) == others_of(system)
    assert account_rows(machine, "mallory") == rows
    found = places(evidence)
    assert found["home"].removed > 13_000
    assert found["processes"].removed > 1
    assert found["ipc"].removed == 4
    assert found["elsewhere"].removed >= 15
    assert not evidence.simulated
    assert evidence.verification is not None
    seen = int(machine.run("sh", "-c", "find / -xdev | wc -l"))
    assert evidence.verification.inodes >= 0.9 * seen
    assert evidence.verification.file_systems >= len(evidence.media) > 1
    (held,) = [one for one in evidence.media if one.held_home]
    assert held.file_system == machine.run("stat", "-f", "-c", "%T", "/home").strip().replace("overlayfs", "overlay")


def test_anothers_locked_file_keeps_its_lock(
    machine: Machine, root_wiper: Wiper, machine_platform: Platform, ask: Callable[[str], Target]
) -> None:
    """A second name of it in the home is taken away; the file itself stays immutable."""
    target = ask("grace")
    machine.run("sh", "-c", "echo x > /var/frozen; ln /var/frozen /home/grace/frozen; chattr +i /var/frozen")
    evidence = root_wiper.wipe(machine_platform.wipe(target))
    assert status(evidence) is WipeStatus.SUCCESS, told(evidence)
    assert "i" in machine.run("lsattr", "/var/frozen").split()[0]
    machine.run("sh", "-c", "chattr -i /var/frozen; rm /var/frozen")


def test_mounts_in_the_home_are_detached_and_what_lies_behind_them_stays(
    machine: Machine,
    root_wiper: Wiper,
    machine_platform: Platform,
    neighbour: Callable[[], str],
    ask: Callable[[str], Target],
) -> None:
    """Another user's directory bound in twice, one stacked on it, one of the home bound elsewhere, a line to mount it."""
    machine.run("sh", "-c", "echo '# kept' > /etc/fstab")
    target = ask("eve")
    machine.run("sh", "-c", "mkdir /home/eve/mnt /home/eve/data /var/eve")
    machine.run("mount", "--bind", "/home/bob", "/home/eve/mnt")
    machine.run("mount", "-t", "tmpfs", "memory", "/home/eve/mnt")
    machine.run("mount", "--bind", "/home/bob", "/home/eve/data")
    machine.run("mount", "--bind", "/home/eve", "/var/eve")
    machine.run("sh", "-c", "echo '/home/bob /home/eve/mnt none bind 0 0' >> /etc/fstab")
    before = neighbour()
    evidence = root_wiper.wipe(machine_platform.wipe(target))
    assert evidence.methods[0].reasons == ("since the grant, by no package: 1 settings of the system",), told(evidence)
    assert (places(evidence)["mounts"].removed, places(evidence)["baseline"].state) == (5, "clean")
    assert machine.run("cat", "/etc/fstab") == "# kept\n"
    assert "eve" not in machine.run("cat", "/proc/self/mountinfo")
    assert neighbour() == before
    machine.run("rmdir", "/var/eve")
    assert machine.python(LEFT, str(target.uid)) == ""


def test_a_mount_that_appears_later_is_not_entered(
    machine: Machine, root_wiper: Wiper, neighbour: Callable[[], str], tmp_path: Path
) -> None:
    """The emptying itself, run where the check before it was blind: what is mounted stays as it is."""
    script = "mkdir -p /home/late/a/b /home/late/c && echo x > /home/late/a/x"
    binds = "mount --bind /home/bob /home/late/a/b && mount --bind /home/bob /home/late/c"
    machine.run("sh", "-c", f"{script} && {binds}")
    before = neighbour()
    machine.python(
        """
from datetime import UTC, datetime
from pathlib import Path
from agent.wiper.tenant.accounts import Tenant
from agent.wiper.system.ground import real_machine
from agent.wiper.steps import Subject
from agent.wiper.steps.home import Home
tenant = Tenant(name='late', uid=5000, home='/home/late', generation='g', booking_id=None, command_id='c',
                granted_at=datetime.now(UTC))
step = Home(Subject(real_machine(), tenant))
print(step.find(), step.erase(lambda done, of: None))
assert step.verify().state == 'residue'
assert not Path('/home/late').exists()
"""
    )
    assert neighbour() == before
    machine.run("sh", "-c", "umount /home/.rackproof-wipe-*/*/b /home/.rackproof-wipe-*/c")
    machine.run("sh", "-c", "rm -r /home/.rackproof-wipe-*")


def test_what_is_older_than_the_account_is_kept_and_reported(
    machine: Machine, root_wiper: Wiper, machine_platform: Platform, ask: Callable[[str], Target]
) -> None:
    """Files of an earlier holder of the uid are somebody's: not deleted, and not called clean."""
    last = int(machine.run("sh", "-c", "cut -d: -f3 /etc/passwd | sort -n | awk '$1 < 60000' | tail -1"))
    machine.run("sh", "-c", f"mkdir /var/old && echo x > /var/old/file && chown -R {last + 1} /var/old")
    time.sleep(2.5)
    target = ask("heir")
    assert target.uid == last + 1
    evidence = root_wiper.wipe(machine_platform.wipe(target))
    assert machine.run("cat", "/var/old/file") == "x\n"
    assert status(evidence) is WipeStatus.PARTIAL
    assert "2 of them older than the account" in (places(evidence)["elsewhere"].reason or "")
    machine.run("rm", "-r", "/var/old")


def test_a_setuid_file_of_root_in_the_home_leaves_doubt(
    machine: Machine, root_wiper: Wiper, machine_platform: Platform, ask: Callable[[str], Target]
) -> None:
    """The tenant had root: everything is clean afterwards, and it is still not a success."""
    target = ask("oscar")
    machine.run("sh", "-c", "cp /bin/true /home/oscar/sh && chmod 4755 /home/oscar/sh")
    evidence = root_wiper.wipe(machine_platform.wipe(target))
    assert status(evidence) is WipeStatus.PARTIAL
    assert "root" in evidence.methods[0].reasons[0]
    assert {place.state for place in evidence.places} == {"clean", "not_applicable"}
    assert evidence.reimage_recommended
    again = root_wiper.wipe(machine_platform.wipe(target))
    assert (status(again), again.findings, again.reimage_recommended) == (WipeStatus.PARTIAL, evidence.findings, True)


@pytest.mark.parametrize(
    ("change", "undo", "code"),
    [
        ("chown 3000 /home/trent", "chown {uid} /home/trent", Code.UNSAFE_HOME),
        ("mount --bind /home/trent /home/trent", "umount /home/trent", Code.UNSAFE_HOME),
        ("mv /home/trent /home/t && ln -s t /home/trent", "rm /home/trent; mv /home/t /home/trent", Code.UNSAFE_HOME),
        ("useradd -o -u {uid} -M twin", "userdel -f twin", Code.SHARED_UID),
        ("usermod -d /home/bob trent", "usermod -d /home/trent trent", Code.ACCOUNT_MISMATCH),
        ("chmod 777 /home", "chmod 755 /home", Code.UNSAFE_HOME),
    ],
)
def test_a_doubtful_account_is_refused_and_nothing_changes(
    change: str,
    undo: str,
    code: Code,
    machine: Machine,
    root_wiper: Wiper,
    machine_platform: Platform,
    neighbour: Callable[[], str],
    trent: Target,
) -> None:
    """Foreign owner, mount point, link, shared uid, another home, a directory above that all can write."""
    machine.run("sh", "-c", change.format(uid=trent.uid))
    before = machine.python(SNAPSHOT, "/home", "/etc", "/var/tmp", "/var/mail")
    try:
        assert root_wiper.refusal(machine_platform.wipe(trent)) == code
        assert machine.python(SNAPSHOT, "/home", "/etc", "/var/tmp", "/var/mail") == before
    finally:
        machine.run("sh", "-c", undo.format(uid=trent.uid))


@pytest.fixture(scope="module")
def trent(machine: Machine, machine_state: Path, machine_platform: Platform) -> Target:
    """An account on which refusals are tried."""
    return Wiper(machine_state, (), machine.prefix).grant(machine_platform.grant("trent"))


def test_accounts_that_were_not_granted_are_out_of_reach(
    machine: Machine, root_wiper: Wiper, machine_platform: Platform, neighbour: Callable[[], str]
) -> None:
    """The provider's own users and root, even with a perfect order."""
    before = neighbour()
    for name, uid, code in (("bob", 3000, Code.UNKNOWN_ACCOUNT), ("root", 0, Code.PROTECTED_ACCOUNT)):
        target = Target(username=name, uid=uid, generation="0" * 32)
        assert root_wiper.refusal(machine_platform.wipe(target)) == code
    assert root_wiper.refusal(machine_platform.grant("bob")) == Code.ACCOUNT_EXISTS
    assert neighbour() == before


def test_a_grant_that_the_systems_tool_refuses_is_a_signed_failure(
    machine: Machine, root_wiper: Wiper, machine_platform: Platform
) -> None:
    """A group of that name exists: useradd says no, and the answer stays the same."""
    machine.run("groupadd", "peggy")
    command = machine_platform.grant("peggy")
    failure = root_wiper.outcome(command, WorkFailure)
    assert failure.code == Code.ACCOUNT_FAILED
    assert "useradd" in failure.detail
    assert root_wiper.outcome(command, WorkFailure) == failure


def kill_after(wiper: Wiper, command: Command, delay_s: float) -> bytes:
    """Kill the wiper itself, not the tool that put it into the view, some time after it accepted."""
    process = wiper.start(command)
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(delay_s)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    return first + process.communicate()[0]


def test_a_wipe_killed_anywhere_ends_clean(
    machine: Machine,
    root_wiper: Wiper,
    machine_platform: Platform,
    neighbour: Callable[[], str],
    ask: Callable[[str], Target],
) -> None:
    """Cut off three times, in whatever step, then asked once more: clean, one evidence, the same bytes ever after."""
    chance = random.Random(11)
    target = ask("victor")
    machine.python(HOSTILE, str(target.uid), "/home/victor")
    before = neighbour()
    command = machine_platform.wipe(target)
    cut = [b'"result"' not in kill_after(root_wiper, command, chance.uniform(0, 1.2)) for _ in range(3)]
    final = root_wiper.raw(command).splitlines()[-1] + b"\n"
    assert root_wiper.raw(command) == final
    evidence = root_wiper.wipe(command)
    assert evidence.methods[0].reasons == (COMPROMISE,), told(evidence)
    assert len(evidence.attempts) > 1
    assert sum(one.ended_at is None for one in evidence.attempts) <= sum(cut)
    assert machine.python(LEFT, str(target.uid)) == ""
    assert neighbour() == before


def test_a_grant_killed_anywhere_makes_one_account(
    machine: Machine, root_wiper: Wiper, machine_platform: Platform
) -> None:
    """Whether useradd was before, at or after its work; the home is the tenant's in the end."""
    chance = random.Random(5)
    command = machine_platform.grant("walter")
    for _ in range(4):
        kill_after(root_wiper, command, chance.uniform(0, 0.15))
    target = root_wiper.outcome(command, GrantOutcome).target
    assert machine.run("grep", "-c", "^walter:", "/etc/passwd") == "1\n"
    assert machine.run("stat", "-c", "%u %a", "/home/walter", "/home/walter/.ssh") == f"{target.uid} 700\n" * 2


def test_without_root_only_a_simulated_machine_can_be_worked_on(machine: Machine) -> None:
    """An ordinary user runs the demo; the wiper of the real machine refuses him."""
    machine.run("sh", "-c", "mkdir -m 700 /var/tmp/user && chown 7000:7000 /var/tmp/user")
    out = machine.run(
        "setpriv", "--reuid=7000", "--regid=7000", "--clear-groups", *machine.python_argv(
            """
import json, subprocess, sys
from pathlib import Path
from tests.agent.wiper.harness import Platform, Wiper, state_for
from shared.codec import encode
platform, top = Platform(), Path('/var/tmp/user')
state = state_for(top / 'state', platform)
wiper = Wiper(state, ('--sandbox', str(top / 'machine')))
target = wiper.grant(platform.grant('alice'))
closed = top / 'machine/home/alice/closed/deeper'
closed.mkdir(parents=True)
(closed / 'x').write_text('x')
closed.chmod(0)
closed.parent.chmod(0)
evidence = wiper.wipe(platform.wipe(target))
refused = Wiper(state, ()).start(platform.wipe(target))
print(json.dumps([evidence.methods[0].status, evidence.simulated, refused.communicate()[0].decode(), refused.returncode]))
"""
        ),
    )  # fmt: skip
    assert json.loads(out) == ["success", True, "", 70]
    machine.run("rm", "-r", "/var/tmp/user")
