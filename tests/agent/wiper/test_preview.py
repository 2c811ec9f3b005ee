"""The dry run on a simulated machine: what it lists, what it refuses and why, and that it leaves everything as it was."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.wiper import history
from agent.wiper.journal import entries_of
from agent.wiper.policy import Policy
from agent.wiper.preview import Preview, Shown, Summary
from agent.wiper.steps import printable
from agent.wiper.system.ground import simulated_machine
from shared.codes import Code
from shared.documents import Target, WipeWork
from shared.records import WipeMethod
from tests.agent.wiper.harness import SOURCE, Platform, SimulatedWiper

USER = WipeMethod.USER_DELETION
Lines = Callable[..., tuple[list[Shown], Summary]]


@pytest.fixture
def granted(wiper: SimulatedWiper, platform: Platform) -> SimulatedWiper:
    """A wiper whose machine has the tenant alice."""
    wiper.grant(platform.grant("alice"))
    return wiper


@pytest.fixture
def lines(granted: SimulatedWiper) -> Lines:
    def preview(
        username: str = "alice", method: WipeMethod = USER, policy: Policy | None = None, now: datetime | None = None
    ) -> tuple[list[Shown], Summary]:
        ground = simulated_machine(granted.tree)
        shown = Preview(granted.state / "journal.db", ground, policy or Policy(), lambda: now or datetime.now(UTC))
        *items, summary = shown.lines(username, method)
        ground.close()
        assert isinstance(summary, Summary)
        return items, summary

    return preview


def plan(
    wiper: SimulatedWiper, username: str, *options: str, prefix: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    command = (
        *prefix,
        sys.executable,
        "-m",
        "agent",
        "wipe",
        "plan",
        username,
        "--wiper-dir",
        str(wiper.state),
        *options,
    )
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=SOURCE)


def sandbox(wiper: SimulatedWiper) -> tuple[str, str]:
    return "--sandbox", str(wiper.tree)


def tree_of(*directories: Path) -> list[tuple[str, int, int, int]]:
    found = [path for one in directories for path in (one, *sorted(one.rglob("*")))]
    facts = ((path, path.lstat()) for path in found)
    return [(str(path), one.st_size, one.st_mtime_ns, one.st_ctime_ns) for path, one in facts]


def test_every_name_in_the_home_is_listed_and_goes(lines: Lines, granted: SimulatedWiper) -> None:
    """Names with odd bytes are shown escaped, so that each is one line and can be told from every other."""
    home = granted.tree / "home/alice"
    (home / "deep").mkdir()
    (home / "deep/plain").touch()
    Path(os.fsdecode(os.fsencode(home) + b"/odd\xff\n\\")).touch()
    items, summary = lines(method=WipeMethod.HOME_DIRECTORY_PURGE)
    shown = [one.where for one in items if one.place == "home"]
    assert {"/home/alice", "/home/alice/deep", "/home/alice/deep/plain"} <= set(shown)
    assert "/home/alice/odd\\xff\\n\\\\" in shown
    assert all(one.goes for one in items)
    assert summary.places["home"].goes == len(shown)
    assert (summary.would_be, summary.uid, summary.left_alone) == (
        "carried_out",
        1000,
        ("privileges", "account", "directory"),
    )


def test_what_would_stay_is_told_with_its_reason(lines: Lines, granted: SimulatedWiper, platform: Platform) -> None:
    """A simulated machine has no tool that deletes accounts: the plan says so, and so does the wipe."""
    items, summary = lines()
    assert [(one.place, one.where, one.why) for one in items if not one.goes] == [
        ("account", "/etc/passwd, line 1", "a simulated machine has no userdel")
    ]
    assert (summary.places["account"].goes, summary.places["account"].stays) == (0, 1)
    target = Target(username="alice", uid=1000, generation=generation_of(granted))
    evidence = granted.wipe(platform.command(platform.order(WipeWork(target=target, methods=(USER,)))))
    assert [one.name for one in evidence.places if one.left] == ["account"]


def generation_of(wiper: SimulatedWiper) -> str:
    return history.read(entries_of(wiper.state / "journal.db")).tenants["alice"].generation


def test_a_method_lists_only_the_places_that_it_promises(lines: Lines) -> None:
    """And names the others."""
    items, summary = lines(method=WipeMethod.SSH_KEY_REMOVAL)
    assert {one.place for one in items} == {"keys"}
    assert tuple(summary.places) == ("baseline", "keys", "sshd")
    assert {"home", "elsewhere", "account", "processes"} <= set(summary.left_alone)


@pytest.mark.parametrize(
    ("username", "code"),
    [
        ("root", Code.PROTECTED_ACCOUNT),
        ("rackproof", Code.PROTECTED_ACCOUNT),
        ("daemon", Code.UNKNOWN_ACCOUNT),
        ("../alice", Code.BAD_ACCOUNT_NAME),
        ("*", Code.BAD_ACCOUNT_NAME),
        ("", Code.BAD_ACCOUNT_NAME),
    ],
)
def test_an_account_that_no_order_may_touch_is_refused_by_its_code(lines: Lines, username: str, code: Code) -> None:
    """With its meaning and what to do; nothing of it is listed."""
    items, summary = lines(username)
    assert (items, summary.would_be, summary.code, summary.places) == ([], "refused", code, {})
    assert summary.meaning
    assert summary.remedy


def test_an_account_that_shares_its_user_id_is_refused(lines: Lines, granted: SimulatedWiper) -> None:
    """As an order would be."""
    with (granted.tree / "etc/passwd").open("a") as rows:
        rows.write("twin:x:1000:1000::/home/twin:/bin/sh\n")
    assert lines()[1].code is Code.SHARED_UID


def test_a_home_that_is_a_link_is_refused(lines: Lines, granted: SimulatedWiper) -> None:
    """As an order would be."""
    home = granted.tree / "home/alice"
    home.rename(granted.tree / "home/moved")
    home.symlink_to("moved")
    assert lines()[1].code is Code.UNSAFE_HOME


@pytest.mark.parametrize("policy", [Policy(dry_run=True), Policy(kinds=("access_grant",)), Policy(wipes_per_day=0)])
def test_what_the_policy_refuses_is_still_listed(lines: Lines, policy: Policy) -> None:
    """A provider who tries things out sees both: what there is, and that it would be refused."""
    items, summary = lines(policy=policy)
    assert (summary.would_be, summary.code) == ("refused", Code.NOT_ALLOWED)
    assert items


def test_a_clock_that_went_back_refuses(lines: Lines) -> None:
    """As it would an order."""
    assert lines(now=datetime.now(UTC) - timedelta(days=1))[1].code is Code.CLOCK_UNTRUSTED


def test_nothing_is_changed_by_listing(lines: Lines, granted: SimulatedWiper) -> None:
    """Neither the machine nor the wiper's directory, down to the times."""
    before = tree_of(granted.tree, granted.state)
    lines()
    assert tree_of(granted.tree, granted.state) == before


def test_the_command_prints_a_line_an_item_and_a_summary(granted: SimulatedWiper) -> None:
    """Exit code 0: it would be carried out, and nothing would stay."""
    done = plan(granted, "alice", "--json", "--method=home_directory_purge", *sandbox(granted))
    assert done.returncode == 0, done.stderr
    *items, summary = map(json.loads, done.stdout.splitlines())
    assert {one["type"] for one in items} == {"item"}
    assert (summary["type"], summary["would_be"], summary["username"]) == ("summary", "carried_out", "alice")


def test_people_see_the_first_items_of_each_place_and_how_many_more(granted: SimulatedWiper) -> None:
    """Unless they ask for all of them."""
    for number in range(40):
        (granted.tree / f"home/alice/file{number}").touch()
    few = plan(granted, "alice", *sandbox(granted)).stdout
    every = plan(granted, "alice", "--all", *sandbox(granted)).stdout
    assert "more that go" in few
    assert few.count("/home/alice/file") <= 5
    assert every.count("/home/alice/file") == 40
    assert "would be carried out; nothing was changed" in few


def test_what_would_stay_ends_with_exit_code_1(granted: SimulatedWiper) -> None:
    """Though the order would be carried out."""
    done = plan(granted, "alice", *sandbox(granted))
    assert done.returncode == 1, done.stderr
    assert "STAYS" in done.stdout
    assert "would be carried out" in done.stdout


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_refusal_ends_with_exit_code_1(granted: SimulatedWiper, options: tuple[str, ...]) -> None:
    """And tells its code."""
    done = plan(granted, "somebody", *options, *sandbox(granted))
    assert done.returncode == 1, done.stderr
    assert "unknown_account" in done.stdout


def test_a_simulated_machine_that_is_not_there_is_not_made(granted: SimulatedWiper, tmp_path: Path) -> None:
    """Trouble of the configuration, on stderr."""
    done = plan(granted, "alice", "--sandbox", str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (78, "")
    assert "bad_configuration" in done.stderr
    assert not (tmp_path / "none").exists()


def test_a_journal_that_was_changed_is_not_believed(granted: SimulatedWiper) -> None:
    """Nothing is listed from it."""
    journal = granted.state / "journal.db"
    journal.write_bytes(journal.read_bytes().replace(b'"name":"alice"', b'"name":"malic"'))
    done = plan(granted, "alice", *sandbox(granted))
    assert (done.returncode, done.stdout) == (78, "")
    assert "state_corrupt" in done.stderr


def test_without_root_a_real_machine_is_not_looked_at(granted: SimulatedWiper, missing) -> None:
    """A clear error with its exit code; nothing on stdout."""
    # Nobody, who may read what the interpreter needs wherever it is installed.
    able = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    prefix = ("setpriv", "--reuid=65534", "--clear-groups", *able) if os.geteuid() == 0 else ()
    if prefix and not shutil.which(prefix[0]):
        missing("setpriv")
    done = plan(granted, "alice", prefix=prefix)
    assert (done.returncode, done.stdout) == (77, "")
    assert "forbidden" in done.stderr
    assert "sudo" in done.stderr


@pytest.mark.parametrize(
    ("name", "shown"), [("a b", "a b"), ("a\nb", "a\\nb"), ("a\\nb", "a\\\\nb"), ("\udcff", "\\xff")]
)
def test_what_is_shown_is_printable_and_unmistakable(name: str, shown: str) -> None:
    """An escape that stands in the name itself is escaped too."""
    assert printable(name) == shown
