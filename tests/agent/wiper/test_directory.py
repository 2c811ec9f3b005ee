"""Whether an account lives on in a directory service."""

import pytest

from agent.wiper.steps.directory import judged, listeners, parse

UNIX = b"""\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 21504 /var/lib/sss/pipes/nss
0000000000000000: 00000002 00000000 00010000 0001 01 21505 /var/run/nslcd/socket
0000000000000000: 00000003 00000000 00000000 0001 03 21506 /run/samba/winbindd/pipe
0000000000000000: 00000003 00000000 00000000 0001 03 21507
0000000000000000: 00000002 00000000 00010000 0001 01 21508 @/abstract name
"""


def test_services_for_accounts_are_read_in_order_without_actions() -> None:
    """Of accounts and groups only; the account files are looked at elsewhere."""
    text = """\
# passwd: nis
passwd:         files [NOTFOUND=return SUCCESS=continue] sss systemd # ldap
group:          files[UNAVAIL=return]winbind sss
hosts:          files dns
shadow:files nis
"""
    assert parse(text) == ("sss", "systemd", "winbind")
    assert parse("") == ()


def test_only_who_listens_answers() -> None:
    """A daemon's clients and what has no path are none; /var/run is /run."""
    assert listeners(UNIX) == {"/var/lib/sss/pipes/nss", "/run/nslcd/socket", "@/abstract name"}


def test_a_socket_named_over_several_lines_hides_nobody() -> None:
    """Anybody may give a socket such a name, and leave it there for ever."""
    odd = b"0000000000000000: 00000002 00000000 00010000 0001 01 21509 @a\n0 0 0 zz 0 0 0 /x\n"
    assert listeners(UNIX + odd) == {*listeners(UNIX), "@a"}


@pytest.mark.parametrize(
    ("answers", "state", "left"),
    [
        ({}, "not_applicable", 0),
        ({"systemd": "not_applicable"}, "not_applicable", 0),
        ({"systemd": "not_applicable", "sss": "clean"}, "clean", 0),
        ({"sss": "clean", "ldap": "not_examined"}, "not_examined", 0),
        ({"sss": "residue", "ldap": "not_examined"}, "residue", 1),
    ],
)
def test_one_that_knows_him_or_is_silent_is_never_clean(answers: dict[str, str], state: str, left: int) -> None:
    """The account lives on where a service knows it, and perhaps where one does not answer."""
    looked = judged(answers)
    assert (looked.state, looked.left) == (state, left)
