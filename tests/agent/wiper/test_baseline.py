"""What only root writes is compared with what it was at the grant: a change leaves a doubt, an upgrade does not."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wiper.root.baseline import PIPE, PROGRAM, SETTING, Baseline, Entry, changes, keep, recall
from agent.wiper.root.packages import recorded
from agent.wiper.tenant.accounts import Tenant
from shared.documents import Target, WipeEvidence, WipeWork
from shared.records import WipeMethod, WipeStatus
from tests.agent.wiper.harness import Machine, Platform, Wiper
from tests.agent.wiper.test_methods import key

ENTRIES = st.dictionaries(
    st.sampled_from(["/etc/a", "/etc/b", "/usr/bin/c", "/usr/bin/d"]), st.sampled_from(["1", "2", "3"])
)


def of(files: dict[str, str]) -> Baseline:
    kinds = {path: PROGRAM if path.startswith("/usr") else SETTING for path in files}
    return Baseline(tuple(Entry(path, kinds[path], digest) for path, digest in sorted(files.items())))


@given(before=ENTRIES, now=ENTRIES)
def test_every_difference_is_a_change_but_for_programs_that_went(before: dict[str, str], now: dict[str, str]) -> None:
    """Each path once, with how it differs; nothing else."""
    found = {one.path: one.how for one in changes(of(before), of(now))}
    expected = dict.fromkeys(now.keys() - before.keys(), "new")
    expected |= {path: "changed" for path in now.keys() & before.keys() if now[path] != before[path]}
    expected |= {path: "gone" for path in before.keys() - now.keys() if not path.startswith("/usr")}
    assert found == expected


def test_what_is_kept_is_recalled_and_a_damaged_one_is_not(tmp_path) -> None:
    """Nor one that is whole and another than the one of the record."""
    one, other = of({"/etc/a": "1"}), of({"/etc/a": "2"})
    keep(tmp_path, "g1", one)
    keep(tmp_path, "g2", other)
    assert recall(tmp_path, tenant("g1", one.sha256)) == one
    assert recall(tmp_path, tenant("g2", one.sha256)) is None
    assert recall(tmp_path, tenant("g3", one.sha256)) is None
    assert recall(tmp_path, tenant("g1", None)) is None
    (tmp_path / "baselines/g1").write_bytes(one.write()[:-3])
    assert recall(tmp_path, tenant("g1", one.sha256)) is None


def tenant(generation: str, baseline: str | None) -> Tenant:
    now = datetime.now(UTC)
    return Tenant(
        name="t",
        uid=2000,
        home="/home/t",
        generation=generation,
        booking_id=None,
        command_id="g",
        granted_at=now,
        baseline=baseline,
    )


@pytest.mark.parametrize(
    ("path", "digest"), [("/usr/bin/a", "1"), ("/etc/b c", "2"), ("/usr/bin/", None), ("/bin/a", None)]
)
def test_a_packages_list_has_one_digest_a_path(path: str, digest: str | None) -> None:
    """The whole path, blanks included."""
    assert recorded("1  usr/bin/a\n2  etc/b c\n", path) == digest


@pytest.fixture
def grant(root_wiper: Wiper, machine_platform: Platform) -> Callable[..., Target]:
    return lambda name, *keys: root_wiper.grant(machine_platform.grant(name, *keys))


@pytest.fixture
def wipe(root_wiper: Wiper, machine_platform: Platform) -> Callable[[Target], WipeEvidence]:
    def order(target: Target) -> WipeEvidence:
        work = WipeWork(target=target, methods=(WipeMethod.USER_DELETION,))
        return root_wiper.wipe(machine_platform.command(machine_platform.order(work)))

    return order


def reasons(evidence: WipeEvidence) -> tuple[str, ...]:
    return evidence.methods[0].reasons


@pytest.mark.root
def test_a_quiet_booking_leaves_no_doubt(machine: Machine, grant, wipe) -> None:
    """Nothing that only root writes has changed, though another tenant came meanwhile."""
    target, other = grant("quiet1"), grant("quiet2", key("q"))
    evidence = wipe(target)
    assert evidence.methods[0].status is WipeStatus.SUCCESS, evidence.places
    assert next(one for one in evidence.places if one.name == "baseline").state == "clean"
    assert wipe(other).methods[0].status is WipeStatus.SUCCESS


CAPABLE = (
    'import os, sys; os.setxattr(sys.argv[1], "security.capability", bytes.fromhex("0100000200200000") + bytes(12))'
)
DEEP = (
    'import os, shutil; os.makedirs("/srv/b"); os.chdir("/srv/b"); '
    '[(os.mkdir("a" * 200), os.chdir("a" * 200)) for _ in range(30)]; '
    'shutil.copy("/bin/true", "new"); os.chmod("new", 0o4755)'
)
LIBRARIES = "/etc/ld.so.conf.d"
CHANGES = {
    "a setuid program": ("install -m 4755 /bin/true /usr/local/bin/b-new", "rm /usr/local/bin/b-new"),
    "a setuid program where none belong": ("install -D -m 4755 /bin/true /srv/b/new", "rm -r /srv/b"),
    "a program with a capability": (
        f"install -m 755 /bin/true /usr/local/bin/b-cap; python3 -c '{CAPABLE}' /usr/local/bin/b-cap",
        "rm /usr/local/bin/b-cap",
    ),
    "a setgid program": ("install -D -g shadow -m 2755 /bin/true /srv/b/new", "rm -r /srv/b"),
    "a device among the programs": ("mknod -m 666 /usr/lib/b-disk b 7 99", "rm /usr/lib/b-disk"),
    "a setuid program among the devices": ("install -m 4755 /bin/true /dev/b-new", "rm /dev/b-new"),
    "a setuid program in a mount among the programs": (
        "mkdir /opt/b; mount -t tmpfs b /opt/b; install -m 4755 /bin/true /opt/b/new",
        "umount /opt/b; rmdir /opt/b",
    ),
    "a setuid program under a mount among the programs": (
        "install -D -m 4755 /bin/true /opt/b/new; mount -t tmpfs b /opt/b",
        "umount /opt/b; rm -r /opt/b",
    ),
    "a setuid program deeper than a path can say": (f"python3 -c '{DEEP}'", "rm -r /srv/b"),
    "a password for root": (
        "cp -p /etc/shadow /etc/b-shadow; sed -i 's/^root:[^:]*:/root:$6$b$b:/' /etc/shadow",
        "mv /etc/b-shadow /etc/shadow",
    ),
    "a password file that all may write": ("chmod 666 /etc/passwd", "chmod 644 /etc/passwd"),
    "a program that is started for each crash": (
        f"echo '|/srv/b' > /srv/b-pattern; mount --bind /srv/b-pattern {PIPE}",
        f"umount {PIPE}; rm /srv/b-pattern",
    ),
    "a packaged program that became setuid": ("chmod 4755 /bin/bash", "chmod 755 /bin/bash"),
    "a packaged setting that all may write": ("chmod 666 /etc/login.defs", "chmod 644 /etc/login.defs"),
    "a device": ("mkdir -p /srv/b; mknod /srv/b/disk b 7 99", "rm -r /srv/b"),
    "a second root": ("echo 'b-toor:x:0:0::/root:/bin/sh' >> /etc/passwd", "sed -i /b-toor/d /etc/passwd"),
    "a member of a powerful group": ("usermod -a -G sudo nobody", "gpasswd -d nobody sudo"),
    "a key of nobody's we know": (
        f"mkdir -p /root/.ssh; echo '{key('x')}' >> /root/.ssh/authorized_keys",
        "sed -i '$d' /root/.ssh/authorized_keys",
    ),
    "a job": ("mkdir -p /etc/cron.d; echo '* * * * * root x' > /etc/cron.d/b-job", "rm /etc/cron.d/b-job"),
    "a module of PAM": ("echo 'auth sufficient pam_permit.so' > /etc/pam.d/b-new", "rm /etc/pam.d/b-new"),
    "a place for libraries": (f"mkdir -p {LIBRARIES}; echo /srv > {LIBRARIES}/b.conf", f"rm {LIBRARIES}/b.conf"),
    "a unit, by a link": ("ln -s /dev/null /etc/systemd/system/b.service", "rm /etc/systemd/system/b.service"),
    "a directory of jobs that all may write": ("mkdir -p /etc/cron.d; chmod 777 /etc/cron.d", "chmod 755 /etc/cron.d"),
    "a unit among the packages'": ("echo > /usr/lib/systemd/system/b.service", "rm /usr/lib/systemd/system/b.service"),
    "a unit that is gone": ("rm /etc/systemd/system/b-there.service", "true"),
}  # fmt: skip
ROOTS = {
    "a setgid program",
    *("a setuid program", "a setuid program where none belong", "a program with a capability", "a device"),
    *("a packaged program that became setuid", "a device among the programs", "a setuid program among the devices"),
    *("a setuid program in a mount among the programs", "a setuid program under a mount among the programs"),
    *("a setuid program deeper than a path can say", "a program that is started for each crash"),
}


TWICE = {"a setuid program", "a setuid program where none belong", "a job"}


@pytest.mark.root
@pytest.mark.parametrize("what", CHANGES)
def test_what_only_root_does_leaves_a_doubt_for_good(machine: Machine, grant, wipe, what: str) -> None:
    """Also when it is undone before a second order; what makes root asks for a new installation."""
    machine.run(
        "sh", "-c", "mkdir -p /etc/systemd/system; mkdir -p /etc/cron.d; touch /etc/systemd/system/b-there.service"
    )
    target = grant(f"rooted{list(CHANGES).index(what)}")
    change, undo = CHANGES[what]
    machine.run("sh", "-c", change)
    evidence = wipe(target)
    assert evidence.methods[0].status is WipeStatus.PARTIAL, evidence.places
    assert evidence.reimage_recommended == (what in ROOTS)
    assert any("since the grant" in one for one in evidence.findings)
    machine.run("sh", "-c", undo)
    if what in TWICE:
        again = wipe(target)
        assert again.findings == evidence.findings
        assert again.methods[0].status is WipeStatus.PARTIAL


@pytest.mark.root
def test_an_upgrade_is_no_doubt(machine: Machine, grant, wipe, missing) -> None:
    """A program of root's that changes to just what its package brought was changed by the package manager."""
    if "md5sums" not in machine.run("sh", "-c", "ls /var/lib/dpkg/info/passwd.md5sums || true"):
        missing("dpkg, with the package passwd")
    machine.run(
        "sh", "-c", "cp -a /usr/bin/chfn /usr/bin/chfn.new; echo old >> /usr/bin/chfn; chmod 4755 /usr/bin/chfn"
    )
    target = grant("upgraded")
    machine.run("sh", "-c", "mv /usr/bin/chfn.new /usr/bin/chfn")
    evidence = wipe(target)
    assert evidence.methods[0].status is WipeStatus.SUCCESS, reasons(evidence)


@pytest.mark.root
def test_a_neighbour_who_lets_the_tenant_in_leaves_no_doubt(machine: Machine, grant, wipe) -> None:
    """That takes no root, and his key goes; one of somebody unknown in the same file does."""
    machine.run("sh", "-c", "id b-victor || useradd --create-home b-victor; mkdir -p /home/b-victor/.ssh")
    mine, friends, keys = key("m"), key("f"), "/home/b-victor/.ssh/authorized_keys"
    machine.run("sh", "-c", f"echo '{friends}' > {keys}; chown -R b-victor: /home/b-victor")
    target = grant("guest", mine)
    machine.run("sh", "-c", f"echo '{mine}' >> {keys}")
    evidence = wipe(target)
    assert evidence.methods[0].status is WipeStatus.SUCCESS, reasons(evidence)
    assert machine.run("cat", keys) == f"{friends}\n"


@pytest.mark.root
def test_a_lost_baseline_is_told(machine: Machine, grant, wipe, machine_state) -> None:
    """What cannot be compared is not called unchanged."""
    target = grant("unknown1")
    (machine_state / "baselines" / target.generation).unlink()
    evidence = wipe(target)
    assert evidence.methods[0].status is WipeStatus.PARTIAL
    assert reasons(evidence) == ("baseline: what it was at the grant is not on record",)
