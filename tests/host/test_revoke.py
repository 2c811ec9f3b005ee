"""Access that is cut on a booted machine: sshd, cron and the tenant's own service manager, each asked by itself."""

import json
import shlex
import time

import pytest

from shared.documents import GrantOutcome, RevokeOutcome, RevokeWork, Target, WipeEvidence, WipeWork
from shared.records import WipeMethod, WipeStatus
from tests.host.machines import Machine
from tests.host.units import Unit

pytestmark = [pytest.mark.root, pytest.mark.slow]

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f tenant"
PLAN = """
import sys
from agent.cli import commands
sys.argv = ['rackproof-agent', 'wipe', 'plan', 'dora', '--json']
commands()
"""
MINUTE_S = 75.0

LEAVE = """
set -e
echo precious > /home/{name}/data
chown {name}: /home/{name}/data
echo '* * * * * date >> /home/{name}/ticks' | crontab -u {name} -
loginctl enable-linger {name}
setsid runuser -u {name} -- sleep 3000 </dev/null >/dev/null 2>&1 &
"""


class Cut:
    """A tenant whose access was cut while he had all of these, and what the wiper says of it."""

    def __init__(self, unit: Unit) -> None:
        self.machine: Machine = unit.machine
        self.target: Target = unit.ask(unit.platform.grant("dora", KEY), GrantOutcome).target
        self.shell(LEAVE.format(name="dora"))
        self.ticked = self._waits_for_a_tick()
        self.lingered = self.shell("systemctl is-active user@$(id -u dora).service || true")
        order = unit.platform.order(RevokeWork(target=self.target))
        self.outcome: RevokeOutcome = unit.ask(unit.platform.command(order), RevokeOutcome)

    def shell(self, script: str) -> str:
        return self.machine.run("sh", "-c", script).strip()

    def ticks(self) -> int:
        return int(self.shell("cat /home/dora/ticks 2>/dev/null | wc -l"))

    def _waits_for_a_tick(self) -> bool:
        until = time.monotonic() + MINUTE_S
        while time.monotonic() < until and not self.ticks():
            time.sleep(1)
        return self.ticks() > 0


@pytest.fixture(scope="module")
def unit(machine) -> Unit:
    return Unit(machine)


@pytest.fixture(scope="module")
def cut(unit) -> Cut:
    return Cut(unit)


def test_it_is_cut_and_every_place_was_looked_at(cut):
    """Success needs all of them."""
    assert (cut.outcome.status, cut.outcome.reasons) == ("success", ()), cut.outcome.places
    assert [one.name for one in cut.outcome.places] == ["login", "keys", "sessions", "processes", "sshd"]


def test_sshd_let_his_key_in_before_and_refuses_it_now(cut):
    """By its own word, in both cases."""
    asked = next(place for place in cut.outcome.places if place.name == "sshd")
    assert (asked.state, asked.found, asked.left) == ("clean", 1, 0), asked
    assert asked.notes == ("1 of 1 keys would be let in", "0 of 1 keys would be let in")


def test_his_data_is_kept(cut):
    """His files with their owner, and his crontab."""
    assert cut.shell("cat /home/dora/data; stat -c %U /home/dora/data /home/dora") == "precious\ndora\ndora"
    assert "ticks" in cut.shell("cat /var/spool/cron/crontabs/dora")


def test_nothing_of_his_runs_nor_lingers(cut):
    """His service manager ran without a log-in before; now it does not, and cannot be started either."""
    assert cut.lingered == "active"
    uid = cut.target.uid
    assert cut.shell(f"pgrep -u {uid} || true") == ""
    assert cut.shell("ls /var/lib/systemd/linger") == ""
    manager = f"user@{uid}.service"
    assert cut.shell(f"systemctl start {manager} 2>/dev/null; systemctl is-active {manager} || true") == "failed"


def test_cron_does_not_run_his_table_any_more(cut):
    """It did before; now it asks for the account's expiry first, so that the table can be kept."""
    assert cut.ticked
    before = cut.ticks()
    time.sleep(MINUTE_S)
    assert cut.ticks() == before


def test_the_plan_lists_what_was_kept(cut):
    """By the installed program's own settings, as root types it; a wipe would leave nothing of it."""
    *items, summary = map(json.loads, cut.machine.python(PLAN).splitlines())
    goes = {one["where"] for one in items if one["goes"]}
    assert {"/home/dora/data", "/home/dora/ticks", "/var/spool/cron/crontabs/dora"} <= goes
    assert [one for one in items if not one["goes"]] == []
    assert (summary["would_be"], [one for one in summary["places"].values() if one["blind"]]) == ("carried_out", [])


def test_a_wipe_afterwards_is_as_any_other(unit, cut):
    """Not refused because something was done before; success, and nothing is left."""
    work = WipeWork(target=cut.target, methods=(WipeMethod.USER_DELETION,))
    evidence = unit.ask(unit.platform.command(unit.platform.order(work)), WipeEvidence)
    assert [one.status for one in evidence.methods] == [WipeStatus.SUCCESS], evidence
    left = (
        f"ls -d /home/dora /var/spool/cron/crontabs/dora 2>/dev/null; grep -c {shlex.quote('^dora:')} /etc/passwd; true"
    )
    assert cut.shell(left) == "0"
