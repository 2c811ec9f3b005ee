"""The three methods on this machine seen through a throw-away view: what each takes away, and what it leaves."""

import base64
import time
import zlib
from collections.abc import Callable

import pytest

from shared.documents import PlaceReport, Target, WipeEvidence, WipeWork
from shared.records import WipeMethod, WipeStatus
from tests.agent.wiper.harness import Machine, Platform, Wiper

ALL = tuple(WipeMethod)
KEYS, HOME, USER = WipeMethod.SSH_KEY_REMOVAL, WipeMethod.HOME_DIRECTORY_PURGE, WipeMethod.USER_DELETION


def key(letter: str) -> str:
    """A well-formed public key that nobody has the other half of."""
    raw = b"\0\0\0\x0bssh-ed25519\0\0\0 " + letter.encode() * 32
    return f"ssh-ed25519 {base64.b64encode(raw).decode()}"


TENANT, ADMIN, FRIEND = key("t"), key("a"), key("f")

PLANT = """
set -e
name=$1 uid=$2 tenant="$3" admin="$4" friend="$5"
mkdir -p /root/.ssh /var/spool/cron/crontabs /var/spool/cron/atjobs /var/lib/systemd/linger /etc/cron.d /etc/sudoers.d \
  /etc/security/limits.d /run/sudo/ts /run/faillock /var/lib/systemd/coredump /etc/systemd/system/x.wants \
  /var/lib/AccountsService/users /etc/polkit-1/rules.d
id victor >/dev/null 2>&1 || useradd --create-home victor
mkdir -p /home/victor/.ssh; printf '%s\\n%s\\n' "$friend friend" "from=\\"*\\",cert-authority $tenant x" \
  > /home/victor/.ssh/authorized_keys; chown -R victor: /home/victor/.ssh
printf '# keys\\n%s root\\n%s\\n' "$admin" "$tenant" > /root/.ssh/authorized_keys; chmod 600 /root/.ssh/authorized_keys
echo "$admin" >> /home/$name/.ssh/authorized_keys
cp /home/$name/.ssh/authorized_keys /home/$name/.ssh/authorized_keys2; chown $name: /home/$name/.ssh/*
echo '* * * * * x' > /var/spool/cron/crontabs/$name; chown $name /var/spool/cron/crontabs/$name
echo x > /var/spool/cron/atjobs/a0001; chown $name /var/spool/cron/atjobs/a0001
echo x > /var/spool/cron/atjobs/a0002; chown victor /var/spool/cron/atjobs/a0002
touch /var/lib/systemd/linger/$name /var/lib/systemd/linger/victor
printf '* * * * * %s x\\n* * * * * victor y\\n' $name > /etc/cron.d/both
printf '# only his\\n* * * * * %s x\\n' $name > /etc/cron.d/his
printf '[Service]\\nUser=%s\\nExecStart=/bin/true\\n' $name > /etc/systemd/system/evil.service
printf '[Timer]\\nOnBootSec=1\\n' > /etc/systemd/system/evil.timer
ln -sf /etc/systemd/system/evil.service /etc/systemd/system/x.wants/evil.service
printf '[Service]\\nUser=victor\\nExecStart=/bin/true\\n' > /etc/systemd/system/good.service
echo "$name ALL=(ALL) NOPASSWD: ALL" > /etc/sudoers.d/his
echo "victor,$name ALL=(ALL) ALL" > /etc/sudoers.d/both
printf '%s hard nofile 10\\nvictor hard nofile 11\\n' $name > /etc/security/limits.d/both.conf
echo "polkit.addRule(function(a, s) { if (s.user == \\"$name\\") return polkit.Result.YES; });" \
  > /etc/polkit-1/rules.d/his.rules
echo x > /run/sudo/ts/$name; echo x > /run/faillock/$name; echo x > /var/lib/AccountsService/users/$name
echo x > /var/lib/systemd/coredump/core.a.b.$uid.0123456789abcdef0123456789abcdef.77.1700000000000000.zst
echo x > /var/lib/systemd/coredump/core.a.b.${uid}1.0123456789abcdef0123456789abcdef.77.1700000000000000.zst
groupadd -f shared; usermod -a -G shared,sudo $name; usermod -a -G shared victor
cp /etc/passwd /etc/passwd-; cp /etc/group /etc/group-; cp /etc/shadow /etc/shadow-
"""

VICTORS = "f=/var/tmp/victor.img; truncate -s 1M $f; losetup --show -f $f"

TRACES = """
name=$1 uid=$2
grep -rlw -- "$name" /etc /var/spool /run/sudo /run/faillock /var/lib/systemd /var/lib/AccountsService 2>/dev/null
find /var/spool /etc /run/sudo /run/faillock /var/lib /home /tmp /var/tmp -xdev \\( -name "$name" -o -uid $uid \\) 2>/dev/null
ls /var/lib/systemd/coredump | grep "[.]$uid[.]"
true
"""


@pytest.fixture
def wipe(root_wiper: Wiper, machine_platform: Platform) -> Callable[..., WipeEvidence]:
    """Order these methods for a target."""

    def order(target: Target, *methods: WipeMethod) -> WipeEvidence:
        work = WipeWork(target=target, methods=methods)
        return root_wiper.wipe(machine_platform.command(machine_platform.order(work)))

    return order


@pytest.fixture
def tenant(machine: Machine, root_wiper: Wiper, machine_platform: Platform, request) -> Target:
    """A tenant with a key, named after the test."""
    name = f"t{zlib.crc32(request.node.name.encode())}"
    machine.run("sh", "-c", "rm -rf /root/.ssh")
    return root_wiper.grant(machine_platform.grant(name, f"{TENANT} mine"))


def plant(machine: Machine, tenant: Target) -> None:
    machine.run("sh", "-c", PLANT, "sh", tenant.username, str(tenant.uid), TENANT, ADMIN, FRIEND)


def statuses(evidence: WipeEvidence) -> dict[WipeMethod, WipeStatus]:
    return {one.method: one.status for one in evidence.methods}


def place(evidence: WipeEvidence, name: str) -> PlaceReport:
    return next(one for one in evidence.places if one.name == name)


def test_keys_go_from_every_file_and_other_peoples_stay(machine, tenant, wipe):
    """The recorded key, with options too; the administrator's, which the tenant copied, stays with the administrator."""
    plant(machine, tenant)
    evidence = wipe(tenant, KEYS)
    assert {place.name: place.state for place in evidence.places if place.name != "baseline"} == {
        "keys": "clean",
        "sshd": "not_applicable",
    }
    assert statuses(evidence) == {KEYS: WipeStatus.PARTIAL}, "rules that only root writes came since the grant"
    assert machine.run("cat", "/root/.ssh/authorized_keys") == f"# keys\n{ADMIN} root\n"
    assert machine.run("cat", "/home/victor/.ssh/authorized_keys") == f"{FRIEND} friend\n"
    assert machine.run("stat", "-c", "%U %a", "/home/victor/.ssh/authorized_keys") == "victor 644\n"
    assert machine.run("ls", "-A", f"/home/{tenant.username}/.ssh") == ""
    assert machine.run("ls", f"/home/{tenant.username}") == "", "nothing else of the home is touched"


def test_a_key_that_was_there_before_the_tenant_stays(machine, root_wiper, machine_platform, wipe):
    """An order that grants the administrator's own key cannot be used to lock him out."""
    machine.run("sh", "-c", f"mkdir -p /root/.ssh; echo '{ADMIN} root' > /root/.ssh/authorized_keys")
    target = root_wiper.grant(machine_platform.grant("copycat", ADMIN))
    assert statuses(wipe(target, KEYS)) == {KEYS: WipeStatus.SUCCESS}
    assert machine.run("cat", "/root/.ssh/authorized_keys") == f"{ADMIN} root\n"


def test_keys_that_sshd_takes_from_elsewhere(machine, tenant, wipe, missing):
    """A directory of its own goes too; a program that still lets the key in is asked, and then access remains."""
    if not machine.run("sh", "-c", "command -v sshd || true"):
        missing("sshd (Debian: openssh-server)")
    machine.run("sh", "-c", "mkdir -p /etc/keys /etc/ssh/sshd_config.d; chmod 755 /etc/keys")
    machine.run("sh", "-c", f"echo '{TENANT}' | tee /etc/keys/{tenant.username} > /etc/keys/root")
    machine.run("sh", "-c", f"echo '{TENANT}' > /var/lib/given; chmod 644 /var/lib/given")
    program = '#!/bin/sh\n[ "$1" = root ] && [ "$2" = ssh-ed25519 ] && cat /var/lib/given || true\n'
    machine.python(f"import pathlib; pathlib.Path('/usr/bin/give-keys').write_text({program!r})")
    configuration = "AuthorizedKeysFile /etc/keys/%u .ssh/authorized_keys\nAuthorizedKeysCommandUser nobody\n"
    configuration += "AuthorizedKeysCommand /usr/bin/give-keys %u %t\n"
    machine.python(f"import pathlib; pathlib.Path('/etc/ssh/sshd_config.d/keys.conf').write_text({configuration!r})")
    machine.run("chmod", "755", "/usr/bin/give-keys")
    evidence = wipe(tenant, KEYS)
    assert machine.run("ls", "/etc/keys") == "root\n"
    assert machine.run("cat", "/etc/keys/root") == ""
    assert statuses(evidence) == {KEYS: WipeStatus.FAILED}
    assert place(evidence, "keys").left == 1, evidence.places
    program = f"#!/bin/sh\necho '{TENANT}'\necho '{FRIEND}'\n"
    machine.python(f"import pathlib; pathlib.Path('/usr/bin/give-keys').write_text({program!r})")
    evidence = wipe(tenant, KEYS)
    assert place(evidence, "keys").state == "clean"
    assert statuses(evidence) == {KEYS: WipeStatus.PARTIAL}, "sshd's settings are others than at the grant"
    given = machine.run("give-keys").splitlines()
    assert TENANT.split()[1] not in given[0]
    assert given[1] == FRIEND, "the program still runs for everybody else"
    machine.run("rm", "-r", "/etc/keys", "/etc/ssh/sshd_config.d/keys.conf", "/usr/bin/give-keys", "/var/lib/given")


def test_a_link_among_the_keys_hurts_nobody(machine, tenant, wipe):
    """`.ssh` leads to another user's directory: the link goes, the directory stays."""
    plant(machine, tenant)
    home = f"/home/{tenant.username}"
    machine.run("sh", "-c", f"rm -r {home}/.ssh; ln -s /home/victor/.ssh {home}/.ssh")
    wipe(tenant, KEYS)
    assert ".ssh" not in machine.run("ls", "-A", home)
    assert machine.run("cat", "/home/victor/.ssh/authorized_keys") == f"{FRIEND} friend\n"


def test_deletion_leaves_no_trace_of_the_name_and_takes_nothing_of_others(machine, tenant, wipe):
    """All three in one order; the rule for sudo and the group leave doubt for ever, so two of them are partial."""
    plant(machine, tenant)
    assert machine.run("sh", "-c", TRACES, "sh", tenant.username, str(tenant.uid)).count("\n") > 20
    evidence = wipe(tenant, *ALL)
    assert machine.run("sh", "-c", TRACES, "sh", tenant.username, str(tenant.uid)) == ""
    unclean = {place.name for place in evidence.places if place.state not in {"clean", "not_applicable"}}
    assert unclean == {"baseline"}, evidence.places
    assert statuses(evidence) == dict.fromkeys(ALL, WipeStatus.PARTIAL)
    reasons = " ".join(evidence.methods[0].reasons)
    assert "sudo" in reasons
    assert "in sudo" in reasons
    assert machine.run("cat", "/etc/cron.d/both") == "* * * * * victor y\n"
    assert machine.run("cat", "/etc/sudoers.d/both") == "victor ALL=(ALL) ALL\n"
    assert machine.run("cat", "/etc/security/limits.d/both.conf") == "victor hard nofile 11\n"
    assert machine.run("ls", "/etc/systemd/system/good.service", "/var/lib/systemd/linger/victor").count("\n") == 2
    assert machine.run("ls", "/var/spool/cron/atjobs") == "a0002\n"
    assert f".{tenant.uid}1." in machine.run("ls", "/var/lib/systemd/coredump")
    members = machine.run("getent", "group", "shared").strip().rpartition(":")[2].split(",")
    assert "victor" in members
    assert tenant.username not in members
    assert machine.run("sh", "-c", "visudo -c -q; pwck -rq; grpck -r; echo $?").endswith("0\n")


MARK = """
import ctypes, os, struct, sys
uid = int(sys.argv[1])
for name, mode in (('grouped', 0o2755), ('listed', 0o640), ('old', 0o640)):
    path = '/var/' + name
    open(path, 'w').write('of another')
    os.chown(path, 3456, uid if name == 'grouped' else 3456)
    os.chmod(path, mode)
entries = ((1, 6, 0xffffffff), (2, 6, uid), (2, 4, uid + 1), (4, 4, 0xffffffff), (8, 7, uid), (16, 7, 0xffffffff),
           (32, 0, 0xffffffff))
raw = struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *one) for one in entries)
os.setxattr('/var/listed', 'system.posix_acl_access', raw)
if os.fork() == 0:
    os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
    number = {'x86_64': 248, 'aarch64': 217}[os.uname().machine]
    assert ctypes.CDLL(None).syscall(number, b'user', b'secret', b'abc', 3, -4) > 0
    os._exit(0)
assert os.wait()[1] == 0
"""


def test_marks_on_files_of_others_and_keys_in_the_kernel_go(machine, tenant, wipe):
    """His group, his entries in access lists and his kernel keys; the files, their owner and other entries stay."""
    machine.python(MARK, str(tenant.uid))
    assert statuses(wipe(tenant, HOME)) == {HOME: WipeStatus.SUCCESS}
    look = "import os; print(os.getxattr('/var/listed', 'system.posix_acl_access').hex())"
    left = bytes.fromhex(machine.python(look))
    named = [left[at : at + 8] for at in range(4, len(left), 8)]
    assert [(entry[0], int.from_bytes(entry[4:], "little")) for entry in named if entry[0] in {2, 8}] == [
        (2, tenant.uid + 1)
    ]
    assert machine.run("stat", "-c", "%u %g %a", "/var/grouped") == "3456 0 755\n"
    assert machine.run("stat", "-c", "%u %g %a", "/var/old") == "3456 3456 640\n"
    assert machine.run("cat", "/var/grouped", "/var/listed") == "of another" * 2
    rows = [line.split() for line in machine.run("cat", "/proc/key-users").splitlines()]
    assert not [row for row in rows if row[0] == f"{tenant.uid}:" and not row[2].startswith("2/")]
    machine.run("rm", "/var/grouped", "/var/listed", "/var/old")


@pytest.mark.parametrize(
    "make",
    [
        "f=/home/$name/x; truncate -s 1M $f; losetup --show -f $f; rm $f",
        "f=/var/tmp/$name.img; truncate -s 1M $f; chown $name: $f; losetup --show -f $f",
    ],
    ids=["deleted", "elsewhere"],
)
def test_loop_devices_on_his_files_are_let_go(machine, tenant, wipe, missing, make):
    """On a file in the home that was deleted, and on one elsewhere; another user's stays."""
    nodes = "[ -e /dev/loop-control ] || mknod /dev/loop-control c 10 237; for n in $(seq 0 31); do"
    machine.run("sh", "-c", f"{nodes} [ -e /dev/loop$n ] || mknod /dev/loop$n b 7 $n; done")
    try:
        mine, victors = machine.run("sh", "-ec", f"name={tenant.username}; {make}; {VICTORS}").split()
    except AssertionError as error:
        missing(f"loop devices: {error}")
    try:
        assert f"{mine}:" in machine.run("losetup", "-a")
        assert statuses(wipe(tenant, HOME)) == {HOME: WipeStatus.SUCCESS}
        assert f"{mine}:" not in machine.run("losetup", "-a")
        assert f"{victors}:" in machine.run("losetup", "-a")
    finally:
        machine.run("losetup", "-d", victors)


def test_a_calm_tenant_is_deleted_with_success(machine, tenant, wipe):
    """Every place looked at and clean: success for all three, and the next account gets another uid."""
    machine.run("sh", "-c", f"echo hello > /home/{tenant.username}/file")
    evidence = wipe(tenant, *ALL)
    assert statuses(evidence) == dict.fromkeys(ALL, WipeStatus.SUCCESS), evidence
    assert machine.run("sh", "-c", f"grep -c ^{tenant.username}: /etc/passwd /etc/passwd-; true").count(":0") == 2


def test_a_purged_account_can_be_deleted_later(machine, tenant, wipe):
    """The purge locks it; the deletion is another order about the same generation."""
    assert statuses(wipe(tenant, HOME)) == {HOME: WipeStatus.SUCCESS}
    row = machine.run("getent", "shadow", tenant.username).split(":")
    assert row[1].startswith("!")
    assert int(row[7]) * 86_400 < time.time()
    assert machine.run("getent", "passwd", tenant.username).endswith(":/usr/sbin/nologin\n")
    assert statuses(wipe(tenant, USER)) == {USER: WipeStatus.SUCCESS}


def test_a_group_that_others_use_stays(machine, tenant, wipe):
    """It became another account's first group: the tenant's name in it is not his to take away."""
    machine.run("sh", "-c", f"useradd --gid {tenant.username} -M tim{tenant.uid}")
    wipe(tenant, *ALL)
    assert machine.run("id", "-gn", f"tim{tenant.uid}") == f"{tenant.username}\n"
