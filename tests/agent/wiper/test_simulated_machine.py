"""The whole program on a simulated machine: no root needed, nothing outside its directory can be touched."""

import hashlib
import os
import random
import signal
import sqlite3
import stat
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared.codec import decode, encode
from shared.codes import Code
from shared.documents import GrantOutcome, Target, WipeEvidence, WipeWork
from shared.messages import Command, Refused, Result
from shared.records import WipeStatus
from tests.agent.wiper.harness import PURGE, SOURCE, Platform, SimulatedWiper, Wiper

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43 + " me@home"


def snapshot(top: Path) -> dict[str, tuple[Any, ...]]:
    """Every name with its inode, owner, mode, and content or target."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in sorted(top.rglob("*")):
        facts = path.lstat()
        content = ""
        if stat.S_ISREG(facts.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISLNK(facts.st_mode):
            content = str(path.readlink())
        found[str(path)] = (facts.st_ino, facts.st_uid, facts.st_mode, content)
    return found


@pytest.fixture
def tenant(wiper: Wiper, platform: Platform, tree: Path) -> Target:
    target = wiper.grant(platform.grant("alice", KEY))
    (tree / "home/alice/papers").mkdir()
    (tree / "home/alice/papers/data").write_text("secret")
    return target


def status(evidence: WipeEvidence) -> WipeStatus:
    return evidence.methods[0].status


def test_a_grant_makes_account_home_and_keys(wiper: Wiper, platform: Platform, tree: Path) -> None:
    """And says who was made, signed."""
    target = wiper.grant(platform.grant("alice", KEY))
    row = f"alice:x:{target.uid}:{target.uid}::/home/alice:/bin/bash\n"
    assert (tree / "etc/passwd").read_text() == row
    assert (tree / "home/alice/.ssh/authorized_keys").read_text() == KEY.removesuffix(" me@home") + "\n"
    assert stat.S_IMODE((tree / "home/alice").stat().st_mode) == 0o700
    assert len(target.generation) == 32


def test_a_wipe_empties_the_home_and_says_it_was_simulated(
    wiper: Wiper, platform: Platform, tenant: Target, tree: Path
) -> None:
    """Success, with the places a simulated machine lacks named as such; no file name of the tenant is in it."""
    evidence = wiper.wipe(platform.wipe(tenant))
    assert status(evidence) is WipeStatus.SUCCESS
    assert evidence.simulated
    assert list((tree / "home").iterdir()) == []
    places = {place.name: place for place in evidence.places}
    assert places["keys"].found == places["keys"].removed == 1
    assert places["home"].found == places["home"].removed == 5
    assert places["processes"].state == "not_applicable"
    assert b"work" not in msgspec.json.encode(evidence.places)


def test_the_same_order_gives_the_same_bytes(wiper: Wiper, platform: Platform, tenant: Target) -> None:
    """Once done it is answered from the journal, even after its expiry and after other orders."""
    command = platform.wipe(tenant, expires_at=datetime.now(UTC) + timedelta(seconds=2))
    first = wiper.raw(command).splitlines()[-1]
    wiper.grant(platform.grant("bob"))
    time.sleep(2)
    assert wiper.raw(command) == first + b"\n"


def test_progress_comes_between_acceptance_and_result(wiper: Wiper, platform: Platform, tenant: Target) -> None:
    """Accepted, progress, exactly one result."""
    kinds = [type(decode(line)).__name__ for line in wiper.raw(platform.wipe(tenant)).splitlines()]
    assert kinds[0] == "Accepted"
    assert kinds[-1] == "Result"
    assert set(kinds[1:-1]) == {"Progress"}


def test_a_second_wipe_of_the_same_account_finds_nothing(wiper: Wiper, platform: Platform, tenant: Target) -> None:
    """The home is gone; that is clean, not an error."""
    wiper.wipe(platform.wipe(tenant))
    evidence = wiper.wipe(platform.wipe(tenant))
    assert status(evidence) is WipeStatus.SUCCESS
    assert {place.name: place.found for place in evidence.places}["home"] == 0


def test_links_lead_nowhere(wiper: Wiper, platform: Platform, tenant: Target, tree: Path, tmp_path: Path) -> None:
    """Symbolic links go, what they point to stays; a file with another name elsewhere stays under that one."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("precious")
    home = tree / "home/alice"
    (home / "dir").symlink_to(outside)
    (home / "file").symlink_to(outside / "file")
    (home / "up").symlink_to("../..")
    os.link(outside / "file", home / "hard")
    (home / "closed").mkdir()
    (home / "closed/x").write_text("x")
    (home / "closed").chmod(0)
    os.mkfifo(home / "fifo")
    home.chmod(0o500)
    before = snapshot(outside)
    assert status(wiper.wipe(platform.wipe(tenant))) is WipeStatus.SUCCESS
    assert snapshot(outside) == before
    assert not home.exists()


def rewrite(tree: Path, text: str) -> None:
    (tree / "etc/passwd").write_text(text)


def make_home_a_link(tree: Path) -> None:
    (tree / "home/alice").rename(tree / "home/other")
    (tree / "home/alice").symlink_to("other")


def make_home_a_file(tree: Path) -> None:
    (tree / "home/alice").rename(tree / "home/other")
    (tree / "home/alice").write_text("")


def make_homes_a_link(tree: Path) -> None:
    (tree / "home").rename(tree / "etc/homes")
    (tree / "home").symlink_to("etc/homes")


ROW = "alice:x:1000:1000::/home/alice:/bin/bash\n"
REFUSED = {
    "another uid": (lambda tree: rewrite(tree, ROW.replace("1000:1000", "1001:1000")), Code.ACCOUNT_MISMATCH),
    "another gid": (lambda tree: rewrite(tree, ROW.replace("1000:1000", "1000:1")), Code.ACCOUNT_MISMATCH),
    "another home": (lambda tree: rewrite(tree, ROW.replace("/home/alice", "/etc")), Code.ACCOUNT_MISMATCH),
    "broken row": (lambda tree: rewrite(tree, ROW + "bob\n"), Code.ACCOUNT_MISMATCH),
    "shared uid": (lambda tree: rewrite(tree, ROW + ROW.replace("alice", "bob")), Code.SHARED_UID),
    "other's home": (lambda tree: rewrite(tree, ROW + "bob:x:1001:1001::/home/alice/b:/x\n"), Code.UNSAFE_HOME),
    "home a link": (make_home_a_link, Code.UNSAFE_HOME),
    "home a file": (make_home_a_file, Code.UNSAFE_HOME),
    "home root a link": (make_homes_a_link, Code.UNSAFE_HOME),
    "home root open to all": (lambda tree: (tree / "home").chmod(0o777), Code.UNSAFE_HOME),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_doubtful_account_is_refused_and_nothing_changes(
    case: str, wiper: Wiper, platform: Platform, tenant: Target, tree: Path
) -> None:
    """The refusal is for good: mending the machine later does not bring the old order back to life."""
    change, code = REFUSED[case]
    change(tree)
    before = snapshot(tree)
    command = platform.wipe(tenant)
    assert wiper.refusal(command) == code
    assert wiper.refusal(command) == code
    assert snapshot(tree) == before


def test_a_doubtful_order_is_refused_and_nothing_changes(
    wiper: Wiper, platform: Platform, tenant: Target, tree: Path
) -> None:
    """Each objection has its code; not one byte of the machine differs afterwards."""
    now = datetime.now(UTC)
    old = platform.wipe(Target(username="nobody-here", uid=1000, generation="x"), seq=1)
    reused = platform.order(WipeWork(target=tenant, methods=PURGE))
    first = platform.command(reused)
    before = snapshot(tree)
    rename = {"username": tenant.username, "uid": tenant.uid, "generation": tenant.generation}
    wipes = {
        Code.BAD_ACCOUNT_NAME: Target(**(rename | {"username": "../alice"})),
        Code.PROTECTED_ACCOUNT: Target(**(rename | {"username": "root", "uid": 0})),
        Code.UNKNOWN_ACCOUNT: Target(**(rename | {"username": "bob"})),
        Code.STALE_ACCOUNT: Target(**(rename | {"generation": "0" * 32})),
        Code.ACCOUNT_MISMATCH: Target(**(rename | {"uid": tenant.uid + 1})),
    }
    for code, target in wipes.items():
        assert wiper.refusal(platform.wipe(target)) == code
    assert wiper.refusal(platform.wipe(tenant, aud="hw_other")) == Code.WRONG_MACHINE
    assert wiper.refusal(platform.wipe(tenant, expires_at=now)) == Code.EXPIRED
    assert wiper.refusal(platform.wipe(tenant, issued_at=now + timedelta(minutes=6))) == Code.CLOCK_UNTRUSTED
    assert wiper.refusal(old) == Code.REPLAYED
    assert wiper.refusal(Platform().wipe(tenant)) == Code.BAD_SIGNATURE
    assert snapshot(tree) == before
    wiper.wipe(first)
    assert wiper.refusal(platform.wipe(tenant, command_id=reused.command_id)) == Code.ID_REUSE


def test_a_policy_can_forbid_wipes(
    wiper: Wiper, platform: Platform, tenant: Target, tree: Path, tmp_path: Path
) -> None:
    """The provider has the last word on his machine."""
    policy = tmp_path / "policy.toml"
    policy.write_text("dry_run = true\n")
    policy.chmod(0o600)
    before = snapshot(tree)
    strict = SimulatedWiper(wiper.state, tree, policy)
    assert strict.refusal(platform.wipe(tenant)) == Code.NOT_ALLOWED
    policy.write_text('protected = ["alice"]\n')
    assert strict.refusal(platform.wipe(tenant)) == Code.PROTECTED_ACCOUNT
    assert snapshot(tree) == before


def test_a_grant_takes_nothing_that_exists(wiper: Wiper, platform: Platform, tenant: Target, tree: Path) -> None:
    """Neither the name, nor a directory in the way, nor a doubtful key."""
    (tree / "home/bob").mkdir()
    before = snapshot(tree)
    assert wiper.refusal(platform.grant("alice")) == Code.ACCOUNT_EXISTS
    assert wiper.refusal(platform.grant("bob")) == Code.UNSAFE_HOME
    assert wiper.refusal(platform.grant("-rf")) == Code.BAD_ACCOUNT_NAME
    assert wiper.refusal(platform.grant("root")) == Code.PROTECTED_ACCOUNT
    assert wiper.refusal(platform.grant("carol", f"command=x {KEY}")) == Code.INVALID
    assert snapshot(tree) == before


def test_a_uid_is_never_given_again(wiper: Wiper, platform: Platform, tenant: Target, tree: Path) -> None:
    """Not even when the account has been deleted by hand."""
    wiper.wipe(platform.wipe(tenant))
    rewrite(tree, "")
    again = wiper.grant(platform.grant("alice"))
    assert again.uid > tenant.uid
    assert again.generation != tenant.generation
    assert wiper.refusal(platform.wipe(tenant)) == Code.STALE_ACCOUNT


@pytest.mark.parametrize("journal", ["garbage", "directory", "edited"])
def test_without_a_sound_journal_there_is_no_wipe(
    journal: str, wiper: Wiper, platform: Platform, tenant: Target, tree: Path
) -> None:
    """Refused, and nothing changes."""
    path = wiper.state / "journal.db"
    if journal == "edited":
        with sqlite3.connect(path) as db:
            db.execute("UPDATE entry SET at = '2020-01-01T00:00:00+00:00' WHERE number = 1")
        db.close()
    else:
        path.unlink()
        path.write_bytes(b"x" * 10_000) if journal == "garbage" else path.mkdir(0o700)
    before = snapshot(tree)
    expected = Code.JOURNAL_UNWRITABLE if journal == "directory" else Code.STATE_CORRUPT
    assert wiper.refusal(platform.wipe(tenant)) == expected
    assert snapshot(tree) == before


def test_a_full_disk_stops_a_wipe_before_it_begins(
    wiper: Wiper, platform: Platform, tenant: Target, tree: Path
) -> None:
    """A tenant can fill the disk; a wipe that could not be journalled is not begun."""
    command = platform.wipe(tenant)
    before = snapshot(tree)
    argv = ["prlimit", "--fsize=4096", *wiper.argv()]
    done = subprocess.run(
        argv,
        input=encode(command) + b"\n",
        capture_output=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
    )
    answer = decode(done.stdout.splitlines()[-1])
    assert isinstance(answer, Refused)
    assert answer.code == Code.JOURNAL_UNWRITABLE
    assert snapshot(tree) == before
    assert status(wiper.wipe(command)) is WipeStatus.SUCCESS


def test_state_that_others_can_write_is_not_believed(wiper: Wiper, platform: Platform, tenant: Target) -> None:
    """What is pinned there decides whom this machine obeys."""
    (wiper.state / "pinned.json").chmod(0o666)
    process = wiper.start(platform.wipe(tenant))
    out, errors = process.communicate()
    assert (process.returncode, out) == (70, b"")
    assert b"state_corrupt" in errors


@pytest.mark.parametrize("request_line", [b"", b"{}", b"garbage", b'{"type":"receipt","command_id":"c"}\n', b"\xff\n"])
def test_anything_but_a_command_ends_with_70(wiper: Wiper, request_line: bytes) -> None:
    """And one JSON line on stderr, nothing on stdout."""
    env = os.environ | {"PYTHONPATH": str(SOURCE)}
    done = subprocess.run(wiper.argv(), input=request_line, capture_output=True, check=False, env=env)
    assert (done.returncode, done.stdout) == (70, b"")
    assert done.stderr.startswith(b"{")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("content", ["bin", "etc/../var"])
def test_a_directory_that_holds_more_is_no_simulated_machine(
    wiper: Wiper, platform: Platform, tree: Path, content: str
) -> None:
    """It could be a real one's root."""
    (tree / "etc").mkdir(parents=True)
    (tree / content).mkdir(parents=True)
    process = wiper.start(platform.grant("alice"))
    assert process.communicate()[0] == b""
    assert process.returncode == 70


def test_the_root_directory_is_no_simulated_machine(wiper: Wiper, platform: Platform) -> None:
    """Not even for root."""
    process = Wiper(wiper.state, ("--sandbox", "/")).start(platform.grant("alice"))
    assert process.communicate()[0] == b""
    assert process.returncode == 70


def fill(home: Path, count: int) -> None:
    for number in range(count):
        folder = f"{home}/d{number // 400}/e{number // 20}"
        if number % 20 == 0:
            Path(folder).mkdir(parents=True)
        os.close(os.open(f"{folder}/f{number}", os.O_CREAT | os.O_WRONLY, 0o600))


def cut_off(wiper: Wiper, command: Command, after_s: float, sign: bytes = b"accepted") -> bytes:
    """Start a command, kill its process some time after it wrote this, and return what it wrote since."""
    process = wiper.start(command)
    assert process.stdout is not None
    while (line := process.stdout.readline()) and sign not in line:
        continue
    time.sleep(after_s)
    process.kill()
    return line + process.communicate()[0]


def test_a_wipe_goes_on_when_nobody_listens(wiper: Wiper, platform: Platform, tenant: Target, tree: Path) -> None:
    """The agent died; its wiper ends its work, and the next request gets the stored result."""
    fill(tree / "home/alice", 3000)
    command = platform.wipe(tenant)
    process = wiper.start(command)
    assert process.stdout is not None
    assert process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    assert process.wait(timeout=60) == 0
    assert process.stderr is not None
    process.stderr.close()
    lines = wiper.raw(command).splitlines()
    assert len(lines) == 1
    assert isinstance(decode(lines[0]), Result)
    assert list((tree / "home").iterdir()) == []


def test_one_at_a_time_and_the_same_command_waits(wiper: Wiper, platform: Platform, tenant: Target, tree: Path) -> None:
    """Another command is refused as busy; the same one, asked again, gets the first one's answer."""
    fill(tree / "home/alice", 2000)
    command = platform.wipe(tenant)
    first = wiper.start(command)
    assert first.stdout is not None
    accepted = first.stdout.readline()
    os.kill(first.pid, signal.SIGSTOP)
    again, other = wiper.start(command), wiper.start(platform.wipe(tenant))
    refused = other.communicate()[0]
    os.kill(first.pid, signal.SIGCONT)
    out = first.communicate()[0]
    assert again.communicate()[0] == out.splitlines()[-1] + b"\n"
    assert b"accepted" in accepted
    answer = decode(refused.splitlines()[-1])
    assert isinstance(answer, Refused)
    assert answer.code == Code.BUSY


def test_a_wipe_killed_anywhere_ends_clean(wiper: Wiper, platform: Platform, tenant: Target, tree: Path) -> None:
    """Cut off at random moments and asked again: clean, one evidence, which counts its attempts."""
    chance = random.Random(7)
    fill(tree / "home/alice", 6000)
    neighbour = tree / "home/bob"
    fill(neighbour, 50)
    before = snapshot(neighbour)
    command = platform.wipe(tenant)
    kills = 0
    for _ in range(5):
        kills += b'"result"' not in cut_off(wiper, command, chance.uniform(0, 0.12))
    final = wiper.raw(command)
    assert wiper.raw(command) == final.splitlines()[-1] + b"\n"
    evidence = wiper.wipe(command)
    assert status(evidence) is WipeStatus.SUCCESS
    assert kills > 0
    assert sum(attempt.ended_at is None for attempt in evidence.attempts) <= kills
    assert [path.name for path in (tree / "home").iterdir()] == ["bob"]
    assert snapshot(neighbour) == before


def test_a_grant_killed_anywhere_makes_one_account(wiper: Wiper, platform: Platform, tree: Path) -> None:
    """The same generation and uid in every answer, one row in the file."""
    chance = random.Random(3)
    command = platform.grant("alice", KEY)
    for _ in range(6):
        cut_off(wiper, command, chance.uniform(0, 0.03))
    outcome = wiper.outcome(command, GrantOutcome)
    assert len((tree / "etc/passwd").read_text().splitlines()) == 1
    assert [path.name for path in (tree / "home/alice/.ssh").iterdir()] == ["authorized_keys"]
    assert status(wiper.wipe(platform.wipe(outcome.target))) is WipeStatus.SUCCESS


def test_a_begun_wipe_that_may_not_go_on_has_failed(
    wiper: Wiper, platform: Platform, tenant: Target, tree: Path
) -> None:
    """Somebody changed the account while it was cut off: signed evidence says failed, and nothing more is touched."""
    fill(tree / "home/alice", 3000)
    command = platform.wipe(tenant)
    cut_off(wiper, command, 0.01, b'"home"')
    rewrite(tree, ROW + ROW.replace("alice", "bob"))
    before = snapshot(tree)
    evidence = wiper.wipe(command)
    assert status(evidence) is WipeStatus.FAILED
    assert "shared_uid" in evidence.methods[0].reasons[0]
    assert {place.state for place in evidence.places} == {"not_examined"}
    assert snapshot(tree) == before
