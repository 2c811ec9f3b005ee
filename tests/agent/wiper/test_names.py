"""Which lines of system files are about an account, and what becomes of them."""

import pytest

from agent.wiper.tenant import names

T = "tenant"
SAME = object()
CASES = [
    (names.cron_d, "* * * * * tenant /bin/x", None),
    (names.cron_d, "@reboot tenant /bin/x", None),
    (names.cron_d, "* * * * * root /bin/x tenant", SAME),
    (names.cron_d, "# * * * * tenant", SAME),
    (names.cron_d, "* * * * * tenant2 /bin/x", SAME),
    (names.first_field, "tenant hard nofile 10", None),
    (names.first_field, "tenant:100000:65536", None),
    (names.first_field, "tenants:100000:65536", SAME),
    (names.first_field, "root soft core tenant", SAME),
    (names.member, "sudo:x:27:bob,tenant,eve", "sudo:x:27:bob,eve"),
    (names.member, "sudo:x:27:tenant", "sudo:x:27:"),
    (names.member, "tenant:x:1001:", None),
    (names.member, "tenant:x:1001:bob", SAME),
    (names.member, "tenant:x:1001:tenant", None),
    (names.member, "adm:!:tenant,root:syslog,tenant", "adm:!:root:syslog"),
    (names.member, "tenants:x:1002:bob", SAME),
    (names.sudo, "tenant ALL=(ALL) NOPASSWD: ALL", None),
    (names.sudo, "tenant\tALL=(ALL) ALL", None),
    (names.sudo, "bob,tenant ALL=(ALL) ALL", "bob ALL=(ALL) ALL"),
    (names.sudo, "bob ALL=(tenant) ALL", SAME),
    (names.sudo, "User_Alias OPS = bob, tenant", "User_Alias OPS = bob"),
    (names.sudo, "User_Alias OPS = tenant", None),
    (names.sudo, "Defaults:tenant !authenticate", None),
    (names.sudo, "Defaults env_reset", SAME),
    (names.sudo, "#1001 ALL=(ALL) ALL", SAME),
    (names.sudo, "# tenant ALL=(ALL) ALL", SAME),
    (names.sudo, "%tenant ALL=(ALL) ALL", SAME),
    (names.sudo, "@includedir /etc/sudoers.d", SAME),
    (names.doas, "permit nopass tenant as root", None),
    (names.doas, "permit persist setenv { A B } tenant", None),
    (names.doas, "permit nopass bob as tenant", SAME),
    (names.access, "+ : tenant : ALL", None),
    (names.access, "+ : root tenant : LOCAL", "+ : root : LOCAL"),
    (names.access, "- : ALL : ALL", SAME),
]


@pytest.mark.parametrize(
    ("rule", "line", "expected"), CASES, ids=[f"{rule.__name__}: {line}" for rule, line, _ in CASES]
)
def test_a_line_about_the_account_goes_and_others_stay(rule, line, expected):
    """Dropped, shortened, or as it was to the byte."""
    assert rule(line, T) == (line if expected is SAME else expected)


def test_a_user_by_number_is_no_comment():
    """In sudoers "#1001" means the user with that id."""
    assert names.sudo("#1001 ALL=(ALL) ALL", "#1001") is None
    assert names.sudo("bob,#1001 ALL=(ALL) ALL", "#1001") == "bob ALL=(ALL) ALL"


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("/home/tenant/disk.img /mnt ext4 loop 0 0", False),
        ("UUID=1 /home/tenant/mnt ext4 defaults 0 0", False),
        ("/dev/sdb1 /home/tenant\\040x ext4 defaults 0 0", True),
        ("/dev/sdb1 /home ext4 defaults 0 0", True),
        ("# /home/tenant/x", True),
        ("none /mnt tmpfs noauto,uid=1001 0 0", False),
        ("none /mnt tmpfs noauto,uid=10010 0 0", True),
        ("uid=1001 /mnt tmpfs noauto 0 0", True),
    ],
)
def test_a_mount_in_the_home_is_forgotten(line, kept):
    """By source, by point or by the owner of all its files; a neighbour with a longer name or number is not meant."""
    assert (names.fstab(line, ("/home/tenant",), 1001) == line) is kept


@pytest.mark.parametrize(
    ("line", "his"),
    [
        ("3 3 * * * root /home/tenant/bin/report", True),
        ("ExecStart=-/home/tenant/daemon --all", True),
        ("ExecStart=/bin/sh -c 'exec /home/tenant/x'", True),
        ("@daily root tar c /home/tenant", True),
        ("@daily root tar c /home/tenant /home/bob", False),
        ("@daily root /home/tenant/x /home/bob", True),
        ("@daily root /home/bob/x /home/tenant", False),
        ("ExecStart=/home/tenant2/x", False),
        ("ExecStart=/srv/home/tenant/x", False),
        ("# @daily root /home/tenant/x", False),
    ],
)
def test_what_runs_out_of_the_home_is_his(line, his):
    """A line that only names his home beside others' is theirs."""
    assert names.runs_from(line, "/home/tenant", ("/home/bob",)) is his


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("d /run/x 0700 tenant tenant -", False),
        ("d /run/x 0700 root tenant -", False),
        ("d /run/tenant 0700 root root -", True),
        ("#d /run/x 0700 tenant tenant -", True),
        ("d /run/x", True),
    ],
)
def test_what_would_be_made_his_at_boot_is_forgotten(line, kept):
    """By its owner or group; a path may be called like him."""
    assert (names.tmpfiles(line, "tenant") == line) is kept


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('subject.user == "tenant"', True),
        ("Match User tenant", True),
        ("AllowUsers bob,tenant", True),
        ("# tenant", False),
        ("tenants", False),
        ("tenant-2", False),
        ("x.tenant.y", False),
        ("the tenant.", True),
    ],
)
def test_a_name_is_found_as_a_word(text, found):
    """Not as a part of another name, not in a comment."""
    assert names.mentions(text, T) is found
