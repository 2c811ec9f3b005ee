"""The instruments with which wipes are judged: hostile tenants, others' things, and the inspection from outside."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent.wiper.harness import Machine
from tests.host.tenant import inspector
from tests.host.tenant.traps import TRAPS

pytestmark = pytest.mark.root

PROLOGUE = """
import json, os, shutil, subprocess, sys
from collections import defaultdict
from pathlib import Path
from tests.host.tenant import inspector, kernel, sentinels, traps
os.umask(0o022)
traps.furnish()
subprocess.run(['useradd', '--create-home', '--uid', '3000', 'bob'], check=True)

def account(name, uid):
    subprocess.run(['useradd', '--create-home', '--uid', str(uid), name], check=True)
    keys = Path(f'/home/{name}/.ssh/authorized_keys')
    keys.parent.mkdir(mode=0o700)
    keys.write_text('ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI' + f'{uid}'.zfill(42) + f'A {name}@console\\n')
    for path in (keys, keys.parent):
        os.chown(path, uid, uid)
    for path in map(Path, ('/etc/subuid', '/etc/subgid')):  # of their own too, as keyrings are the whole kernel's
        rest = [line for line in path.read_text().splitlines() if not line.startswith(f'{name}:')]
        path.write_text('\\n'.join([*rest, f'{name}:{uid * 65536}:65536']) + '\\n')
    return inspector.describe(name)

def look(who, scope='user_deletion'):
    report = inspector.inspect(who, scope)
    return {'residues': report.residues, 'unseen': report.unseen, 'file_systems': report.file_systems}
"""

BASE = 20_000 + os.getpid() % 30_000
"""Keyrings belong to the whole kernel: a uid that no other test uses."""

Scene = Callable[..., Any]


@pytest.fixture
def scene(tmp_path: Path, missing) -> Iterator[Scene]:
    """Run Python in a fresh view of this machine that has bob; what it prints is JSON."""
    if os.geteuid() != 0:
        missing("root, to see this machine through a throw-away view")
    trial = ["unshare", "--mount", "--pid", "--ipc", "--fork", "true"]
    if subprocess.run(trial, capture_output=True, check=False).returncode:
        missing("mount, process and IPC namespaces")
    for name in ("view", "state"):
        (tmp_path / name).mkdir()
    machine = Machine(tmp_path / "view", tmp_path / "state")
    yield lambda code, *argv: json.loads(machine.python(PROLOGUE + code, *argv))
    machine.close()


def test_every_trap_is_found_in_its_category_and_harms_nobody(scene: Scene) -> None:
    """Four tenants with each a quarter of the traps, so that one trap's residue is not taken for another's."""
    told = scene(
        """
base, names, told = int(sys.argv[1]), list(traps.TRAPS), []
whose = [account(name, base + number) for number, name in enumerate(('mallory', 'trudy', 'eve', 'wendy'))]
others = sentinels.make('mallory')
try:
    for number, who in enumerate(whose):
        tenant = traps.tenant_of(who.name, neighbour='bob', files=300, levels=3000)
        planted = [vars(one) for one in traps.plant(tenant, names[number::len(whose)])]
        told.append({'planted': planted, 'name': who.name} | look(who))
finally:
    for who in whose:
        for uid in (who.uid, who.subuids[0][0] + 44):
            kernel.clear_keyrings(uid)
print(json.dumps({'tenants': told, 'damages': sentinels.verify(others)}))
""",
        str(BASE),
    )
    planted = [one for tenant in told["tenants"] for one in tenant["planted"]]
    assert {one["name"]: one["reason"] for one in planted if one["state"] == "failed"} == {}
    assert {one["name"] for one in planted} == set(TRAPS)
    blind = {one["name"]: one["reason"] for one in planted if one["state"] == "skipped"}
    assert "swap_file" in blind
    assert len(planted) - len(blind) >= 60, blind
    overlooked = [
        (one["name"], one["category"], mark)
        for tenant in told["tenants"]
        for one in tenant["planted"]
        for mark in one["marks"]
        if not any(
            category == one["category"] and (mark in where or mark in what)
            for category, where, what in tenant["residues"]
        )
    ]
    assert overlooked == []
    assert all(one["marks"] for one in planted if one["state"] == "set")
    assert told["damages"] == []
    if "hung_fuse" not in blind:
        assert any("fuse" in one for tenant in told["tenants"] for one in tenant["unseen"])


CLEANED = """
def drop(path):
    flags = kernel.flags_of(path)
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    kernel.set_flags(fd, 0)
    os.unlink(path)
    kernel.set_flags(fd, flags)
    os.close(fd)

def delete(who):
    for point in ('s-bind', 's-bind-ro'):
        kernel.umount(f'{who.home}/{point}')
    for path in Path(who.home).glob('s-hard-*'):
        drop(str(path))
    subprocess.run(['userdel', '--remove', who.name], check=True, capture_output=True)
    for name in ('passwd', 'shadow', 'group', 'gshadow', 'subuid', 'subgid'):
        Path(f'/etc/{name}-').unlink(missing_ok=True)
    os.chown('/var/lib/s-in-his-group', -1, 0)
    twin = kernel.acl((kernel.ACL_USER, 6, inspector.describe(who.name + '2').uid))
    os.setxattr('/var/lib/s-in-an-acl', 'system.posix_acl_access', twin)
"""


def test_nothing_is_found_of_a_tenant_who_is_gone(scene: Scene) -> None:
    """And bob, the account with a longer name and the log, which stay, are not taken for his."""
    told = scene(
        CLEANED
        + """
who = account('mallory', int(sys.argv[1]))
others = sentinels.make('mallory')
journal = Path(f'/var/log/journal/0/user-{who.uid}.journal')
journal.parent.mkdir(parents=True)
journal.touch()
os.setxattr(journal, 'system.posix_acl_access', kernel.acl((kernel.ACL_USER, 4, who.uid)))
before = look(who)
delete(who)
print(json.dumps({'before': before, 'after': look(who), 'damages': sentinels.verify(others)}))
""",
        str(BASE + 10),
    )
    assert {category for category, _where, _what in told["before"]["residues"]} >= {
        "account",
        "acl",
        "group_files",
        "home",
        "keys",
        "mounts",
    }
    assert told["after"]["residues"] == []
    assert told["after"]["unseen"] == []
    assert told["after"]["file_systems"] >= 4
    assert told["damages"] == []


def test_each_method_has_promised_what_the_one_before_has_and_more(scene: Scene) -> None:
    """Keys only; then all he stored, where an empty home may stay with the account; then names too."""
    told = scene(
        """
who = account('mallory', int(sys.argv[1]))
tenant = traps.tenant_of('mallory', neighbour='bob')
traps.plant(tenant, ['roots_keys', 'files_in_opt', 'cron_d', 'sudoers_by_uid', 'by_group_only', 'double_forked'])
found = {scope: look(who, scope)['residues'] for scope in inspector.PROMISED}
shutil.rmtree('/home/mallory/.ssh')
for path in Path('/home/mallory').iterdir():
    path.unlink()
found['emptied'] = look(who, 'home_directory_purge')['residues']
print(json.dumps(found))
""",
        str(BASE + 20),
    )
    found = {scope: {category for category, _where, _what in residues} for scope, residues in told.items()}
    assert found["ssh_key_removal"] == {"keys"}
    assert found["home_directory_purge"] == {"keys", "files", "home", "processes"}
    assert found["user_deletion"] >= found["home_directory_purge"] | {
        "account",
        "group_files",
        "privileges",
        "schedules",
    }
    assert found["emptied"] == {"keys", "files", "processes"}


DAMAGES = {
    "bob's tree of files": "Path('/home/bob/work/d1/file1').unlink()",
    "bob's file in /tmp": "Path('/tmp/s-bob').write_text('other')",
    "bob's file in /srv": "os.chown('/srv/s-bob', 0, 0)",
    "bob's file in /opt": "os.chmod('/opt/s-bob', 0o600)",
    "bob's file in /var/tmp": "os.utime('/var/tmp/s-bob', (1, 1))",
    "bob's file with attributes": "os.removexattr('/home/bob/s-attributes', 'user.origin')",
    "bob's pipe": "Path('/home/bob/s-fifo').unlink()",
    "a directory that the tenant has linked to and mounted": "shutil.rmtree('/var/lib/s-data/inner')",
    "bob's immutable file with a second name in the tenant's home": "unlock(others, 'immutable')",
    "root's append-only file with a second name in the tenant's home": "unlock(others, 'append-only')",
    "bob's file in the tenant's group": "os.chown('/var/lib/s-in-his-group', 0, 0)",
    "another's entry in the ACL of bob's file": "os.removexattr('/var/lib/s-in-an-acl', 'system.posix_acl_access')",
    "root's key 0": "drop_line('/root/.ssh/authorized_keys', 'admin@console')",
    "bob's key 1": "drop_line('/home/bob/.ssh/authorized_keys', 'command=')",
    "bob's crontab": "Path('/var/spool/cron/crontabs/bob').unlink()",
    "a line of the account with a longer name": "drop_line('/etc/cron.d/s-root', ' mallory2 ')",
    "bob in the group audio": "drop_member('audio', 'bob')",
    "the other rows of /etc/shadow": "drop_line('/etc/shadow', 'bob:')",
    "the other rows of /etc/passwd": "os.chmod('/etc/passwd', 0o600)",
    "bob's process": 'os.kill(pid(others, "bob\'s process"), 9)',
    "bob's shm": "subprocess.run(['ipcrm', '-M', '0x7c00'], check=True)",
    "bob's message queue": "kernel.libc.mq_unlink(b'/s-bob')",
    "a bind mount of others": "kernel.umount('/mnt/s-bind')",
    "bob's file system": "kernel.umount('/mnt/s-bob')",
    "root's setuid program with a capability": "os.chown('/usr/local/bin/s-program', 0, 3000)",
    "a line of the log about the tenant": "Path('/var/log/s-auth.log').unlink()",
    "the system's /dev/null": "os.chmod('/dev/null', 0o600)",
    "the system's /tmp": "os.chmod('/tmp', 0o755)",
}


def test_each_damage_to_others_is_told_in_words(scene: Scene) -> None:
    """One after the other; each tells of its own sentinel only what was done."""
    told = scene(
        """
import time

def drop_line(path, word):
    facts = os.stat(path)
    Path(path).write_text(''.join(line + '\\n' for line in kernel.system_lines(path) if word not in line))
    os.chmod(path, facts.st_mode)

def drop_member(group, name):
    subprocess.run(['gpasswd', '--delete', name, group], check=True, capture_output=True)

def unlock(others, word):
    fd = os.open(next(one.where for one in others if word in one.name), os.O_RDONLY)
    kernel.set_flags(fd, 0)
    os.close(fd)

def pid(others, name):
    return int(next(one.where for one in others if one.name == name))

account('mallory', int(sys.argv[1]))
others = sentinels.make('mallory')
assert len(others) >= 25, len(others)
sentinels.save(others, Path('/manifest'))
told, before = {}, sentinels.verify(sentinels.load(Path('/manifest')))
assert before == [], before
for name, damage in json.loads(sys.argv[2]).items():
    exec(damage)
    time.sleep(0.02)
    now = sentinels.verify(others)
    told[name] = [one for one in now if one not in before]
    before = now
print(json.dumps(told))
""",
        str(BASE + 30),
        json.dumps(DAMAGES),
    )
    silent = {name for name in DAMAGES if not any(text.startswith(f"{name} (") for text in told[name])}
    assert silent == set()
    assert "content was" in told["bob's file in /tmp"][0]
    assert told["bob's pipe"] == ["bob's pipe (/home/bob/s-fifo) is gone"]


@pytest.mark.parametrize("tool", ["rm -rf /home/mallory", "chown -R root /home/mallory"])
def test_the_usual_tools_leave_much_and_harm_others(tool: str, scene: Scene) -> None:
    """Both instruments together, on what is done everywhere."""
    told = scene(
        """
who = account('mallory', int(sys.argv[1]))
others = sentinels.make('mallory')
names = ['files_in_tmp', 'cron_d', 'roots_keys', 'shared_memory', 'deaf', 'backups']
traps.plant(traps.tenant_of('mallory', neighbour='bob'), names)
subprocess.run(sys.argv[2].split(), capture_output=True, check=False)
print(json.dumps({'damages': sentinels.verify(others)} | look(who)))
""",
        str(BASE + 40),
        tool,
    )
    left = {category for category, _where, _what in told["residues"]}
    assert left >= {"files", "ipc", "keys", "mounts", "privileges", "processes", "schedules"}
    assert any(text.startswith("a directory that the tenant has linked to and mounted") for text in told["damages"])


def test_a_home_that_was_only_moved_and_given_away_is_found(scene: Scene) -> None:
    """No uid tells of it any more; that it lies beside the home and is nobody's does."""
    told = scene(
        """
who = account('mallory', int(sys.argv[1]))
subprocess.run('mv /home/mallory /home/.away && chown -R root: /home/.away', shell=True, check=True)
subprocess.run(['userdel', 'mallory'], check=True, capture_output=True)
print(json.dumps(look(who, 'home_directory_purge')))
""",
        str(BASE + 60),
    )
    assert ["home", "/home/.away", "beside the home, and nobody's"] in told["residues"]


def test_they_run_as_scripts_beside_each_other(tmp_path: Path, scene: Scene) -> None:
    """As they are carried to a machine that has Python and nothing of the project."""
    told = scene(
        """
account('mallory', int(sys.argv[1]))
here, python = Path('/instruments'), sys.executable
shutil.copytree(Path(traps.__file__).parent, here)

def alone(*argv):
    argv = [python, f'{here}/{argv[0]}.py', *argv[1:]]
    done = subprocess.run(argv, capture_output=True, text=True, cwd='/', env={'PATH': os.environ['PATH']})
    assert not done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)

Path('/record').write_text(json.dumps(alone('inspector', 'describe', 'mallory')[1]))
alone('sentinels', 'make', 'mallory', '/manifest')
told = {
    'traps': alone('traps', 'mallory', '--furnish', '--only', 'cron_d,swap_file'),
    'list': alone('traps', '--list'),
    'look': alone('inspector', 'look', '/record', '--scope', 'user_deletion'),
    'verify': alone('sentinels', 'verify', '/manifest'),
}
print(json.dumps(told))
""",
        str(BASE + 50),
    )
    assert [one["state"] for one in told["traps"][1]] == ["set", "skipped"]
    assert {one["name"] for one in told["list"][1]} == {name for name, one in TRAPS.items() if not one.stubborn}
    assert told["look"][0] == 1
    assert any(one["category"] == "schedules" for one in told["look"][1]["residues"])
    assert told["verify"] == [0, []]


def test_a_swap_file_in_the_home_is_found() -> None:
    """From the kernel's own list, with its escapes; no other file's."""
    who = inspector.Record("mallory", 1001, 1001, "/home/mallory", [], [], [])
    lines = [
        "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority",
        "/swapfile                               file\t\t1024\t\t0\t\t-2",
        "/home/mallory2/swap                     file\t\t1024\t\t0\t\t-3",
        "/home/mallory/a\\040b\\040(deleted)       file\t\t1024\t\t0\t\t-4",
    ]
    assert [one.where for one in inspector.swapped(who, lines)] == ["/home/mallory/a b"]


def test_the_traps_cover_every_kind_of_place() -> None:
    """Each category that an inspection knows has at least one."""
    promised = frozenset().union(*inspector.PROMISED.values())
    assert {one.category for one in TRAPS.values()} == promised
    assert len(TRAPS) >= 60
    assert sys.version_info >= (3, 11)
