"""What the system says of itself: failed units, who is logged in, and why it wants a reboot."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.health import read_one
from agent.indicators import system
from agent.indicators.system import (
    UNITS_EVERY_S,
    newest_kernel,
    parse_release,
    parse_session_user,
    parse_uptime_s,
    reboot_reason,
)
from shared.messages import Failed


def test_an_uptime_without_a_number_is_a_failure_in_words(bench: Callable) -> None:
    """Not an IndexError."""
    for text in ("", "\n", "soon"):
        with pytest.raises(ValueError, match=r"/proc/uptime: a number was expected"):
            parse_uptime_s(text)
    machine = bench("plain-vm")
    machine.write("/proc/uptime", "")
    outcome, _ = read_one(system.INDICATOR, machine.host, None)
    assert isinstance(outcome, Failed)
    assert "/proc/uptime: a number was expected" in outcome.error


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("6.1.0-9-amd64", "6.1.0-18-amd64"),
        ("5.15.0-122-generic", "5.15.0-130-generic"),
        ("6.1.0-18-cloud-amd64", "6.1.0-21-cloud-amd64"),
        ("5.14.0-427.el9.x86_64", "5.14.0-427.13.1.el9_4.x86_64"),
        ("6.8.0-45-generic", "6.11.0-8-generic"),
        ("6.18.44", "6.18.45"),
    ],
)
def test_kernels_are_compared_by_number(older: str, newer: str) -> None:
    """Not by text, in which 9 comes after 18."""
    assert parse_release(older) < parse_release(newer)
    assert newest_kernel(older, [newer, older]) == newer
    assert newest_kernel(newer, [older, newer]) == newer


def test_only_kernels_of_the_same_flavour_are_newer() -> None:
    """A debug or cloud kernel beside it is no update of this one, nor is a rescue image."""
    beside = ["6.5.0-1-cloud-amd64", "6.1.0-18-amd64", "0-rescue-5f0c", "linux"]
    assert newest_kernel("6.1.0-18-amd64", beside) == "6.1.0-18-amd64"
    assert newest_kernel("6.18.44-fc-v782", beside) is None


@given(st.text())
def test_any_release_can_be_compared(release: str) -> None:
    """Files in /boot have any names."""
    assert parse_release(release) <= parse_release(release)


def test_a_reboot_has_its_reasons() -> None:
    """Each, both, or none."""
    newer = "kernel 6.1.0-21-amd64 is installed, 6.1.0-18-amd64 runs"
    assert reboot_reason(False, None, "6.1.0-18-amd64", "6.1.0-18-amd64") is None
    assert reboot_reason(False, None, "6.1.0-18-amd64", "6.1.0-21-amd64") == newer
    assert reboot_reason(False, None, "6.1.0-21-amd64", "6.1.0-18-amd64") is None
    assert reboot_reason(True, None, "6.1.0-18-amd64", None) == "asked for by a package"
    assert reboot_reason(True, "libc6\nlibc6\n\nabc\n", None, None) == "asked for by abc, libc6"
    assert reboot_reason(True, "a\n", "6.1.0-18-amd64", "6.1.0-21-amd64") == f"{newer}; asked for by a"
    assert len(reboot_reason(True, "\n".join("x" * 99 + str(n) for n in range(99)), None, None) or "") <= 300


def test_failed_units_are_asked_for_once_a_minute(bench: Callable) -> None:
    """A program is started for it; in between the last answer stands."""
    machine = bench("plain-vm")
    machine.answer(monotonic_s=1000.0, failed_units=["a.service"])
    first = system.read(machine.host, None)
    machine.answer(monotonic_s=1000.0 + UNITS_EVERY_S - 1, failed_units=[])
    second = system.read(machine.host, first.kept)
    machine.answer(monotonic_s=1000.0 + UNITS_EVERY_S)
    third = system.read(machine.host, second.kept)
    assert [one.values["failed_units"] for one in (first, second, third)] == [1, 1, 0]
    assert [one.values.get("failed_unit_names") for one in (first, second, third)] == ["a.service", "a.service", None]


def test_without_a_service_manager_nothing_is_said_of_units(bench: Callable) -> None:
    """Unknown is not none."""
    machine = bench("plain-vm")
    machine.answer(failed_units=None)
    assert "failed_units" not in system.read(machine.host, None).values


def test_many_failed_units_are_counted_and_some_are_named(bench: Callable) -> None:
    """A report stays small."""
    machine = bench("plain-vm")
    machine.answer(failed_units=[f"{'x' * 60}{n}.service" for n in range(500)])
    values = system.read(machine.host, None).values
    assert values["failed_units"] == 500
    assert len(values["failed_unit_names"]) <= 300


def test_users_are_counted_once_each_by_logins_or_by_logind(bench: Callable) -> None:
    """Newer systems keep no record of logins; a greeter's or a service's session is nobody's."""
    machine = bench("plain-vm")
    machine.answer(users=None)
    assert "users_logged_in" not in system.read(machine.host, None).values
    for name, user, kind in (
        ("1", "ada", "user"),
        ("2", "ada", "user"),
        ("c1", "gdm", "greeter"),
        ("5", "bob", "user"),
    ):
        machine.write(f"/run/systemd/sessions/{name}", f"# private\nUID=1\nUSER={user}\nACTIVE=1\nCLASS={kind}\n")
    machine.write("/run/systemd/sessions/5.ref", "")
    assert system.read(machine.host, None).values["users_logged_in"] == 2
    assert parse_session_user("nonsense") is None
