"""Programs of the system's that are asked: bounded in time and output, and gone afterwards."""

import errno
import time

import psutil
import pytest

from agent.host import programs, systemd


def ask(script: str, *, deadline_s: float = 10.0, most_bytes: int = 1000) -> list[bytes]:
    return list(programs.lines("sh", "-c", script, deadline_s=deadline_s, most_bytes=most_bytes))


def children() -> list[psutil.Process]:
    return [
        one
        for one in psutil.Process().children()
        if one.status() != psutil.STATUS_ZOMBIE and one.name() in {"sh", "sleep"}
    ]


def test_lines_come_without_their_ends() -> None:
    """The last one may lack it."""
    assert ask("printf 'a\\n\\nb'") == [b"a", b"", b"b"]
    assert ask("true") == []


def test_lines_come_before_the_program_ends() -> None:
    """Whoever has enough ends it."""
    found = programs.lines("sh", "-c", "echo a; exec sleep 60", deadline_s=10, most_bytes=1000)
    assert next(found) == b"a"
    found.close()  # type: ignore[attr-defined]  # a generator
    assert children() == []


@pytest.mark.parametrize(
    ("script", "number"),
    [
        ("exit 3", errno.EIO),
        ("exec sleep 60", errno.ETIMEDOUT),
        ("exec yes", errno.EFBIG),
        ("exec head -c 9999999 /dev/zero", errno.EFBIG),
    ],
)
def test_what_fails_hangs_or_floods_is_an_error_and_gone(script: str, number: int) -> None:
    """Within its deadline."""
    began_s = time.monotonic()
    with pytest.raises(OSError, match="sh ") as raised:
        ask(script, deadline_s=0.5)
    assert raised.value.errno == number
    assert time.monotonic() - began_s < 3
    assert children() == []


def test_a_program_that_is_not_there_is_an_error() -> None:
    """Machines without systemd have no journalctl."""
    with pytest.raises(FileNotFoundError):
        list(programs.lines("no-such-program", deadline_s=1, most_bytes=10))


def test_a_program_gets_nothing_of_the_agent_s() -> None:
    """No variables, no standard input."""
    lines = ask("env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD= | sort; cat; pwd")
    assert lines == [b"LC_ALL=C", b"PATH=/usr/sbin:/usr/bin:/sbin:/bin", b"/"]


def test_unit_names_are_the_first_words() -> None:
    """Of lines such as systemctl prints."""
    lines = (
        b"smartd.service loaded failed failed Self Monitoring and Reporting Technology (SMART) Daemon",
        b"",
        b"x.mount",
    )
    assert systemd.parse_units(lines) == ("smartd.service", "x.mount")
