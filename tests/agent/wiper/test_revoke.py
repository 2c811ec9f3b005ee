"""Cutting access and keeping data, on this machine seen through a throw-away view and on a simulated one."""

import sqlite3
import subprocess
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wiper import history
from agent.wiper.journal import entries_of
from agent.wiper.plan import REVOKED
from agent.wiper.status import judge_revoke
from shared.documents import PlaceReport, RevokeOutcome, RevokeWork, Target, WipeWork
from shared.messages import Command
from shared.records import WipeMethod, WipeStatus
from tests.agent.wiper.harness import Machine, Platform, SimulatedWiper, Wiper
from tests.agent.wiper.test_methods import ADMIN, TENANT

LEAVE = """
set -e
name=$1 tenant="$2" admin="$3"
mkdir -p /root/.ssh /var/spool/cron/crontabs /var/lib/systemd/linger
printf '%s\\n%s\\n' "$admin root" "$tenant" > /root/.ssh/authorized_keys
echo precious > /home/$name/data; echo more > /var/tmp/$name-more; chown $name: /home/$name/data /var/tmp/$name-more
echo '* * * * * x' > /var/spool/cron/crontabs/$name; chown $name /var/spool/cron/crontabs/$name
touch /var/lib/systemd/linger/$name
"""


def revoke(platform: Platform, target: Target) -> Command:
    return platform.command(platform.order(RevokeWork(target=target)))


@pytest.fixture
def tenant(machine: Machine, root_wiper: Wiper, machine_platform: Platform, request) -> Target:
    """A tenant with a key, named after the test."""
    machine.run("sh", "-c", f"rm -rf /root/.ssh; mkdir /root/.ssh; echo '{ADMIN} root' > /root/.ssh/authorized_keys")
    name = f"r{zlib.crc32(request.node.name.encode())}"
    return root_wiper.grant(machine_platform.grant(name, f"{TENANT} mine"))


def test_access_is_cut_and_data_is_kept(machine, tenant, root_wiper, machine_platform):
    """Processes end, keys go, the door is shut; files in the home and elsewhere and the crontab stay as they were."""
    name = tenant.username
    machine.run("sh", "-c", LEAVE, "sh", name, TENANT, ADMIN)
    sleeper = subprocess.Popen([*machine.prefix, "setpriv", f"--reuid={tenant.uid}", "--clear-groups", "sleep", "900"])
    kept = f"/home/{name}/data /var/tmp/{name}-more /var/spool/cron/crontabs/{name}"
    facts = machine.run("sh", "-c", f"stat -c '%n %u %a %s %Z' {kept}")
    time.sleep(0.5)
    outcome = root_wiper.outcome(revoke(machine_platform, tenant), RevokeOutcome)
    assert (outcome.status, outcome.reasons) == ("success", ()), outcome
    assert sleeper.wait(10) != 0
    assert machine.run("sh", "-c", f"stat -c '%n %u %a %s %Z' {kept}") == facts
    assert machine.run("cat", "/root/.ssh/authorized_keys") == f"{ADMIN} root\n"
    assert machine.run("ls", "-A", f"/home/{name}/.ssh") == ""
    shadow = machine.run("grep", f"^{name}:", "/etc/shadow").split(":")
    assert (shadow[1][:1], shadow[7]) == ("!", "1")
    assert machine.run("ls", "/var/lib/systemd/linger") == ""
    places = {one.name: one for one in outcome.places}
    assert (places["processes"].removed, places["keys"].removed) == (1, 2)
    assert {one.state for one in outcome.places} <= {"clean", "not_applicable"}


def test_a_wipe_afterwards_ends_in_success(machine, tenant, root_wiper, machine_platform):
    """By all three methods; nothing that the order before did is in its way."""
    machine.run("sh", "-c", LEAVE, "sh", tenant.username, TENANT, ADMIN)
    assert root_wiper.outcome(revoke(machine_platform, tenant), RevokeOutcome).status == "success"
    work = WipeWork(target=tenant, methods=tuple(WipeMethod))
    evidence = root_wiper.wipe(machine_platform.command(machine_platform.order(work)))
    assert {one.status for one in evidence.methods} == {WipeStatus.SUCCESS}, evidence
    left = f"ls -d /home/{tenant.username} /var/tmp/{tenant.username}-more 2>/dev/null; true"
    assert machine.run("sh", "-c", left) == ""


def test_a_unit_of_the_systems_that_runs_as_him_leaves_access_open(machine, tenant, root_wiper, machine_platform):
    """It is told and kept: it is not for this order to take files away, so that it cannot say that access is cut."""
    unit = f"/etc/systemd/system/{tenant.username}.service"
    text = f"[Service]\\nUser={tenant.username}\\nExecStart=/bin/true\\n"
    machine.run("sh", "-c", f"mkdir -p /etc/systemd/system; printf '{text}' > {unit}")
    outcome = root_wiper.outcome(revoke(machine_platform, tenant), RevokeOutcome)
    machine.run("rm", unit)
    assert outcome.status == "failed"
    assert any(reason.startswith("sessions: 1") for reason in outcome.reasons), outcome.reasons


def test_a_home_that_a_wipe_may_have_taken_over_is_none_that_a_revoke_has(wiper: SimulatedWiper, platform: Platform):
    """Only a wipe loosens what a later order checks; to cut access does not."""
    target = wiper.grant(platform.grant("alice"))
    assert wiper.outcome(revoke(platform, target), RevokeOutcome).status == "success"
    assert history.read(entries_of(wiper.state / "journal.db")).touched == frozenset()
    wiper.wipe(platform.wipe(target))
    assert history.read(entries_of(wiper.state / "journal.db")).touched == {target.generation}


def test_it_counts_among_no_day_s_wipes(wiper: SimulatedWiper, platform: Platform):
    """A dispute must not use up what the policy allows of wipes."""
    target = wiper.grant(platform.grant("alice"))
    wiper.outcome(revoke(platform, target), RevokeOutcome)
    assert history.read(entries_of(wiper.state / "journal.db")).wipes_taken_at == ()


def test_the_same_order_again_has_the_same_answer(wiper: SimulatedWiper, platform: Platform):
    """Byte by byte."""
    command = revoke(platform, wiper.grant(platform.grant("alice")))
    assert wiper.ask(command) == wiper.ask(command)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"generation": "another"}, "stale_account"),
        ({"uid": 1234}, "account_mismatch"),
        ({"username": "root", "uid": 0}, "protected_account"),
        ({"username": "bob"}, "unknown_account"),
        ({"username": "../x"}, "bad_account_name"),
    ],
)
def test_it_is_checked_as_a_wipe_is(wiper: SimulatedWiper, platform: Platform, change: dict, code: str):
    """Before anything is touched."""
    target = wiper.grant(platform.grant("alice"))
    given = {"username": target.username, "uid": target.uid, "generation": target.generation}
    assert wiper.refusal(revoke(platform, Target(**(given | change)))) == code


def test_one_that_was_begun_and_may_not_go_on_fails(wiper: SimulatedWiper, platform: Platform):
    """The account was changed meanwhile: nothing was looked at, and the outcome says why."""
    target = wiper.grant(platform.grant("alice"))
    command = revoke(platform, target)
    wiper.ask(command)
    # As if it had been cut off before its answer was written.
    forget_answer(wiper)
    with (wiper.tree / "etc/passwd").open("a") as rows:
        rows.write(f"twin:x:{target.uid}:1000::/home/twin:/bin/sh\n")
    outcome = wiper.outcome(command, RevokeOutcome)
    assert outcome.status == "failed"
    assert outcome.reasons[0].startswith("shared_uid")
    assert {one.state for one in outcome.places} == {"not_examined"}
    assert len(outcome.attempts) == 2


def test_it_goes_on_where_it_was_cut_off(wiper: SimulatedWiper, platform: Platform):
    """Asked again without an answer on record, it takes a second attempt and says so."""
    command = revoke(platform, wiper.grant(platform.grant("alice")))
    wiper.ask(command)
    forget_answer(wiper)
    outcome = wiper.outcome(command, RevokeOutcome)
    assert (outcome.status, len(outcome.attempts)) == ("success", 2)


def forget_answer(wiper: SimulatedWiper) -> None:
    """Take the last entry, the answer, out of the journal: a power cut before it leaves the journal like that."""
    with sqlite3.connect(wiper.state / "journal.db") as db:
        db.execute("DELETE FROM entry WHERE number = (SELECT max(number) FROM entry)")
    db.close()


CLEAN = {name: PlaceReport(name=name, state="clean") for name in REVOKED}


def test_all_clean_is_success_and_a_machine_without_sshd_too():
    """Nobody can be let in by what is not there."""
    without = CLEAN | {"sshd": PlaceReport(name="sshd", state="not_applicable")}
    assert judge_revoke(CLEAN, simulated=False) == judge_revoke(without, simulated=False) == ("success", ())


@given(st.sampled_from(REVOKED), st.sampled_from(["residue", "not_examined"]))
def test_any_place_that_is_not_clean_fails(name: str, state: str):
    """Whether something is left or nobody could look."""
    places = CLEAN | {name: PlaceReport(name=name, state=state, left=int(state == "residue"))}
    assert judge_revoke(places, simulated=False)[0] == "failed"


@given(st.sampled_from(REVOKED))
def test_a_place_that_was_not_looked_at_fails(name: str):
    """Silence is no proof."""
    status, reasons = judge_revoke({one: CLEAN[one] for one in REVOKED if one != name}, simulated=False)
    assert (status, reasons) == ("failed", (f"{name}: not looked at",))


def test_a_tenant_who_had_root_may_have_any_other_way_in():
    """Nothing on such a machine proves that his access is cut."""
    assert judge_revoke(CLEAN, simulated=False, findings=("the tenant had root",))[0] == "failed"
    assert judge_revoke(CLEAN, simulated=False, findings=("he left a note",))[0] == "success"
